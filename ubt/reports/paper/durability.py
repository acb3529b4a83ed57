"""Durability, a table of our own: does the backdoor return when somebody trains a purified model on?"""

from functools import partial

from ubt.cases.keys import every_key
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.evaluation.stages import durability_name
from ubt.reports.paper.defense_tables import ATTACKS, METHODS, case, judged, title
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import Row, Table

BEFORE = "before"
GROUPS = {"clean": "after clean pairs", "left": "after D_normal"}
"""How training on again is headed, by `ubt.cases.catalog.AGAIN`."""


def left_over(store: Store, settings: CaseSettings, where: Compute) -> int:
    """How many poisons the split left in D_normal."""
    names = every_key(settings, where)
    truth, split = store.open(names["attack"])["truth"], store.open(names["split"])["split"]
    return int((truth["poisoned"] & ~split["suspicious"]).sum())


def _models(name: str) -> dict[str, str]:
    before = judged(name)
    return {BEFORE: before} | {group: durability_name(kind, before) for kind, group in GROUPS.items()}


TABLE = Table(
    *headed("table", "durability"),
    ("attack", "method"),
    (BEFORE, *GROUPS.values()),
    tuple(
        Row((attack, title(name)), {}, partial(case, attack=attack), _models(name))
        for attack in ATTACKS
        for name in METHODS
    ),
    {"ca": "CA", "asr": "ASR"},
    {"poisons in D_normal": left_over},
)
