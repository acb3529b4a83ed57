"""Durability, a table of our own: does the backdoor return when somebody trains a purified model on?"""

from functools import partial

from ubt.cases.keys import every_key
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.evaluation.stages import durability_name
from ubt.reports.paper.defense_tables import ATTACKS, METHODS, case, judged, title
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
    "Durability: whether the backdoor returns",
    "Percent: each model before, after training on with InfoNCE on fresh clean pairs, and on D_normal, in which the"
    " split left some poisons; alike for all. The clean reference shows what those poisons teach a model that never had"
    " a backdoor. Measured: the embedded default, mean ± standard deviation over seeds.",
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
