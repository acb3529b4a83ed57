"""Named settings: the defaults, and the paper's."""

from typing import Any

from ubt.defenses import DEFENSES
from ubt.defenses.base import PaperScale

CC3M, POISONS = 500_000, 1_500
"""Clean pairs and poisons of the paper's D."""


def papers(pairs: int = CC3M + POISONS, rate: float = POISONS / (CC3M + POISONS)) -> dict[str, Any]:
    """The settings of section V-A for a D of so many pairs, a share `rate` of them poisons, with every baseline as its
    own paper has it, steps counted from the paper's epochs.
    """
    scale = PaperScale(pairs)
    found = {
        "data.pairs": pairs,
        "test.per_class": 50,
        "attack.rate": rate,
        "poison.epochs": 3,
        "poison.batch": 128,
        "poison.lr": 1e-6,
        "clean.pairs": max(2, pairs // 5),
        "clean.per_class": 50,
        "again.pairs": max(2, pairs),
        "again.steps": max(1, 2 * pairs // 128),
        "again.lr": 1e-6,
        "own.templates": "80",
    }
    for defense in DEFENSES.values():
        found |= defense.paper(scale)
    return found


SCRATCH = {
    "poison.start": "scratch",
    "poison.shifts": True,
    "poison.epochs": 32,
    "poison.lr": 1.5e-3,
    "poison.weight_decay": 0.1,
}
"""M_bd trained from nothing on D, as long as eight minutes on two cores last for 10,000 scenes."""
PRESETS = ("demo", "paper", "scratch")
"""Names of presets. `demo`: the defaults, scaled to the embedded scenes, and the attack's profile
`embedded`. `paper`: CC3M's 500K pairs with 1,500 poisons, for ViT-B/32, and the attack's profile `paper`; see `papers`
for a D of another size. `scratch`: `demo` with an M_bd that is trained from nothing on D.
"""


def preset(name: str, pairs: int = 0) -> dict[str, Any]:
    """A preset's changes to the defaults, for a D of so many pairs, or of its own size."""
    if name == "paper":
        return papers(pairs) if pairs else papers()
    return (SCRATCH if name == "scratch" else {}) | ({"data.pairs": pairs} if pairs else {})
