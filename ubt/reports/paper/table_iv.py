"""Table IV of the UBT paper: what else than whole pairs is unlearned. Reported on CC3M (500K pairs, CLIP ViT-B/32),
zero-shot on ImageNet.
"""

from functools import partial

from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE, case
from ubt.reports.paper.published import headed, reported
from ubt.reports.paper.table import Row, Table

STRATEGIES = {
    "GA": "none",
    "image mask + GA": "image",
    "image mask + text mask + GA": "image and text",
    "UBT (text mask + GA)": "text",
}
"""The paper's name to the setting `masked`. GA: gradient ascent on whole pairs, Algorithm 1, line 5."""
ATTACKS = ("badnet", "blended")
PUBLISHED, OURS = "as published", "ours"


def _rows(attack: str):
    for name in (CLEAN, NO_DEFENCE, *STRATEGIES):
        whole = {CLEAN: "evaluate_clean", NO_DEFENCE: "evaluate_poisoned"}.get(name)
        models = {PUBLISHED: whole or "evaluate_published", OURS: whole or "evaluate_purified"}
        masked = STRATEGIES.get(name, "text")
        yield Row(
            (attack, name),
            reported("4", attack, name),
            partial(case, attack=attack, unlearn__masked=masked, published__masked=masked),
            models,
        )


TABLE = Table(
    *headed("table", "4"),
    ("attack", "method"),
    (PUBLISHED, OURS),
    tuple(row for attack in ATTACKS for row in _rows(attack)),
)
