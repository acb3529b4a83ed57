"""Detectors side by side, a table of our own: how each puts the poisons of D first."""

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.detectors import DETECTORS
from ubt.evaluation.detection import ranking
from ubt.reports.paper.defense_tables import ATTACKS, case
from ubt.reports.paper.grid import Grid
from ubt.reports.paper.published import headed

MEASURES = {
    "auroc": "AUROC",
    "ap": "average precision",
    "fpr": "FPR at 100 % TPR",
    "precision": "precision at k",
    "recall": "recall at |D_susp|",
    "seconds": "seconds",
}
GIVEN = ("attack", "data", "score", "poison", "score_poisoned")
"""Stages whose time is nobody's: D, M_bd and their similarities."""


def _work(seed: int, attack: str, name: str) -> Work:
    return case(seed, attack), f"detect_{name}"


def _values(store: Store, settings: CaseSettings, where: Compute, name: str) -> dict[str, float]:
    """The measures in percent; `seconds`: what the detector takes beyond what is given."""
    names = every_key(settings, where)
    scores, truth = store.open(names[f"detect_{name}"])["scores"], store.open(names["attack"])["truth"]
    size = suspicious_count(settings.data.pairs, settings.split.fraction)
    took = sum(store.open(names[s.name]).manifest["seconds"] for s in upto(f"detect_{name}") if s.name not in GIVEN)
    return ranking(scores["score"].to_numpy(), truth["poisoned"].to_numpy(), settings.k, size) | {"seconds": took}


TABLE = Grid(
    *headed("table", "detectors"),
    "detector",
    ATTACKS,
    {name: stage.about for name, stage in DETECTORS.items()},
    MEASURES,
    _work,
    _values,
)
