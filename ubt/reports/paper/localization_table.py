"""PoisonCAM's masking strategies side by side, a table of our own: how well each locates triggers, and what it
takes.
"""

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.defenses.poisoncam import STRATEGIES
from ubt.evaluation.localization import located, summary
from ubt.reports.paper.defense_tables import ATTACKS, case
from ubt.reports.paper.grid import Grid
from ubt.reports.paper.published import headed

STAGE = "poisoncam_locate"
MEASURES = {
    "windows": "windows",
    "seconds": "seconds",
    "poisoned": "poisoned images",
    "top": "poisoned among the top, %",
    "first": "poisoned before the first clean",
    "iou": "IoU",
    "reachable": "highest IoU of such a window",
    "inside": "of the trigger inside, %",
}


def _work(seed: int, attack: str, strategy: str) -> Work:
    return case(seed, attack, locate__strategy=strategy), STAGE


def _values(store: Store, settings: CaseSettings, where: Compute, strategy: str) -> dict[str, float]:
    names = every_key(settings, where)
    artefact, planted = store.open(names[STAGE]), store.open(names["attack"])
    size = store.open(names["data"])["images"].shape[1:3]
    found = located(artefact["candidates"], planted["truth"]["poisoned"].to_numpy(), planted["manifest"], size)
    made = summary(artefact["candidates"], found, settings.locate.top)
    percent = {name: 100 * made[name] for name in ("top", "inside") if name in made}
    return made | percent | {"windows": len(artefact["windows"]), "seconds": artefact.manifest["seconds"]}


TABLE = Grid(
    *headed("table", "poisoncam"),
    "strategy",
    ATTACKS,
    {name: name for name in STRATEGIES},
    MEASURES,
    _work,
    _values,
    {"windows": 0, "seconds": 1, "poisoned": 1, "top": 1, "first": 1, "inside": 1},
)
