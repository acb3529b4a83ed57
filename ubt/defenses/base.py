"""What a defence declares: everything else about it is derived from this."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ubt.core.settings import Settings
from ubt.core.stage import Stage


@dataclass(frozen=True)
class PaperScale:
    """A D of so many pairs, from which section V-A's epochs are counted in steps."""

    pairs: int
    batch: int = 64

    @property
    def k(self) -> int:
        """The size of D_topk: the square root of 1 % of D."""
        return max(2, math.isqrt(self.pairs // 100))

    @property
    def unlearning(self) -> int:
        """Steps of five epochs of D_unlearn, which has k² pairs with whole captions and as many with masked ones."""
        return round(5 * 2 * self.k * self.k / self.batch)

    def epochs(self, count: float, batch: int = 0) -> int:
        """Steps of so many epochs of D."""
        return max(1, round(count * self.pairs / (batch or self.batch)))


def _nothing(scale: PaperScale) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Defense:
    """A defence: its `title`, its `stages`, and the one of them that measures the model it gives.

    Args:
        needs: what it takes beside D and M_bd: clean data of one's own, labels, or the truth.
        trains: it trains in M_bd's place.
        settings: the groups of settings that it adds to a case, by name.
        paper: its settings in the preset `paper`, by dotted name, for a D of some size.
        toy: its settings in a dry run of that preset; those with any are run there.
        look: its colour, mark and dash in every figure (plotly's names); taken from its name if there is none.
    """

    title: str
    stages: tuple[Stage, ...]
    judged: str
    needs: str = ""
    trains: bool = False
    settings: Mapping[str, type[Settings]] = field(default_factory=dict)
    paper: Callable[[PaperScale], dict[str, Any]] = _nothing
    toy: Mapping[str, Any] = field(default_factory=dict)
    look: tuple[str, str, str] | None = None

    @property
    def model(self) -> str:
        """The stage whose model it gives."""
        judged = next(stage for stage in self.stages if stage.name == self.judged)
        return judged.inputs["model"].split(".")[0]
