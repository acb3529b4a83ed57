"""Every attack, a table of our own: what each does, what the stages of UBT see of it, and what unlearning leaves."""

from collections.abc import Mapping
from typing import Any

from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.reports.paper.defense_tables import ATTACKS, case
from ubt.reports.paper.grid import Grid
from ubt.reports.paper.published import headed

PLANTED: dict[str, dict[str, Any]] = {a: {"attack": a} for a in (*ATTACKS, "wanet", "label_consistent")} | {
    "covering": {"attack": "label_consistent"},
    "joined": {"attack__caption": "joined"},
    "more than D_susp": {"attack__rate": 0.1},
}
"""What is planted: every attack in its profile `embedded`; the label-consistent one in its profile `covering`; and
BadNet with captions that fit as well, and with more poisons than D_susp has pairs.
"""
MODELS = {"clean": "natural", "poisoned": "no defence", "purified": "ours", "published": "published"}
MEASURES: Mapping[str, str] = (
    {f"{model} asr": f"ASR, {said}" for model, said in MODELS.items()}
    | {f"{model} ca": f"CA, {said}" for model, said in MODELS.items() if model != "clean"}
    | {"purified ra": "RA, ours"}
    | {f"{model} target_recall": f"target recall, {said}" for model, said in MODELS.items() if model != "clean"}
    | {"split recall": "split recall", "select auroc": "AUROC in D_susp", "select precision": "precision at k"}
    | {"flagged precision": "flagged: precision", "flagged recall": "flagged: recall"}
    | {"verdict score": "score", "verdict displaced": "displaced", "verdict apart": "separated"}
)
SHARES = ("split", "select", "flagged", "verdict")
"""Their measures are of 0 to 1, or ratios."""


def planted(seed: int, name: str) -> CaseSettings:
    """The case of what is planted under a name."""
    if name == "covering":
        return CaseSettings.preset("demo", "label_consistent", "covering").with_values({"seed": seed})
    return case(seed, **PLANTED[name])


def _work(seed: int, attack: str, method: str) -> Work:
    return planted(seed, attack), None


def _values(store: Store, settings: CaseSettings, where: Compute, method: str) -> dict[str, float]:
    """The measures of a finished case; those of percent are in percent."""
    metrics = store.case(settings.name(where)).metrics
    found = {key: metrics[key.split()[0]].get(key.split()[1]) for key in MEASURES}
    return {key: value for key, value in found.items() if value is not None}


TABLE = Grid(
    *headed("table", "attacks"),
    "method",
    tuple(PLANTED),
    {"ubt": "UBT"},
    MEASURES,
    _work,
    _values,
    {key: 3 for key in MEASURES if key.split()[0] in SHARES},
)
