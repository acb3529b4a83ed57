"""Tables IX and X of the UBT paper: numbers of poisons, and sizes of D. Their cases are those of Figs. 7 and 6, and of
a fixed number of poisons.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ubt.cases.presets import CC3M
from ubt.cases.presets import POISONS as PAPERS
from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE, case, row, table
from ubt.reports.paper.separation_figures import COUNTS, PAIRS, SIZES
from ubt.reports.paper.table import Row, Table

METHODS = (CLEAN, NO_DEFENCE, "ubt_published", "ubt")
POISONS = 200
"""What stands for the paper's 1,500: the default's."""
_THEIRS = (750, 1000, 1500, 2000, 3000, 5000)
"""The paper's numbers of poisons."""
_CLEAN_PAIRS = {"250K": 250_000, "500K": CC3M, "750K": 750_000, "1M": 1_000_000}
"""The paper's sizes of D."""


def _counted(clean: int, poisons: int) -> dict[str, Any]:
    """So many poisons beside so many clean pairs."""
    return {"data__pairs": clean + poisons, "attack__rate": poisons / (clean + poisons)}


def _poisons() -> Iterator[Row]:
    for theirs, ours in zip(_THEIRS, COUNTS, strict=True):
        of, at = partial(case, attack__rate=ours / PAIRS), (f"{theirs:,}", f"{ours:,}")
        yield from (row("9", at, method, of, paper=_counted(CC3M, theirs)) for method in METHODS)


def _sizes(number: str, poisons: Callable[[int], int], fixed: Callable[[int], dict[str, float]]) -> Table:
    """Table X; `poisons`: the paper's number of them beside so many clean pairs; `fixed`: ours as settings, by size."""
    rows = (
        row(
            "10",
            (theirs, f"{ours:,}"),
            method,
            partial(case, data__pairs=ours, **fixed(ours)),
            paper=_counted(clean, poisons(clean)),
        )
        for (theirs, clean), ours in zip(_CLEAN_PAIRS.items(), SIZES, strict=True)
        for method in METHODS
    )
    return table(number, ("pairs, paper", "pairs", "method"), rows, poisons=POISONS)


TABLES = {
    "9": table("9", ("poisons, paper", "poisons", "method"), _poisons(), pairs=PAIRS),
    "10": _sizes("10", lambda clean: PAPERS, lambda size: {"attack__rate": POISONS / size}),
    "10-rate": _sizes("10-rate", lambda clean: clean * PAPERS // CC3M, lambda size: {}),
}
"""By the paper's number."""
