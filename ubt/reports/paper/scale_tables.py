"""Tables IX and X of the UBT paper: numbers of poisons, and sizes of D. Their cases are those of Figs. 7 and 6, and of
a fixed number of poisons.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from ubt.cases.presets import CC3M
from ubt.cases.presets import POISONS as PAPERS
from ubt.cases.settings import CaseSettings
from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE, case, judged, title
from ubt.reports.paper.separation_figures import COUNTS, PAIRS, SIZES
from ubt.reports.paper.table import Row, Table

METHODS = (CLEAN, NO_DEFENCE, "ubt_published", "ubt")
POISONS = 200
"""What stands for the paper's 1,500: the default's."""
_IX = {
    750: ((62.80, 66.92), (61.87, 0.08)),
    1000: ((62.79, 72.45), (61.81, 0.02)),
    1500: ((62.61, 80.92), (61.51, 0.00)),
    2000: ((62.72, 81.00), (61.95, 0.06)),
    3000: ((62.29, 84.69), (62.08, 0.00)),
    5000: ((62.74, 89.20), (61.77, 0.00)),
}
"""The paper's number of poisons to CA, ASR without a defence and after UBT."""
_X = {
    "250K": ((62.69, 65.80), (62.29, 0.32)),
    "500K": ((62.61, 80.92), (61.51, 0.00)),
    "750K": ((62.98, 80.02), (62.17, 0.04)),
    "1M": ((62.73, 86.79), (62.32, 0.46)),
}
"""The paper's size of D to the same."""
_SOURCE = (
    "Percent. Reported: CC3M, CLIP ViT-B/32, BadNet, zero-shot on ImageNet. Measured: scenes, mean ± standard deviation"
    " over seeds."
)

Line = tuple[
    tuple[str, str], tuple[tuple[float, float], tuple[float, float]], Callable[[int], CaseSettings], dict[str, Any]
]
"""The paper's value and ours, the paper's figures, our case, and what of it is otherwise at the paper's scale."""
_CLEAN_PAIRS = {"250K": 250_000, "500K": CC3M, "750K": 750_000, "1M": 1_000_000}


def _counted(clean: int, poisons: int) -> dict[str, Any]:
    """So many poisons beside so many clean pairs."""
    return {"data__pairs": clean + poisons, "attack__rate": poisons / (clean + poisons)}


def _rows(lines: Iterable[Line]) -> Iterator[Row]:
    for labels, (before, after), of, paper in lines:
        for method in METHODS:
            figures = {NO_DEFENCE: before, "ubt_published": after}.get(method, ())
            yield Row(
                (*labels, title(method)),
                dict(zip(("ca", "asr"), figures, strict=False)),
                of,
                {"measured": judged(method)},
                paper,
            )


def _sizes(of: Callable[[int], Callable[[int], CaseSettings]], poisons: Callable[[int], int]) -> tuple[Row, ...]:
    return tuple(
        _rows(
            ((theirs, f"{ours:,}"), figures, of(ours), _counted(clean := _CLEAN_PAIRS[theirs], poisons(clean)))
            for (theirs, figures), ours in zip(_X.items(), SIZES, strict=True)
        )
    )


TABLES = {
    "9": Table(
        "Table IX: number of poisons",
        f"{_SOURCE} The paper: of 500K pairs; here of {PAIRS:,}, in about the proportions of the paper's numbers to its"
        " 1,500; the last is the size of D_susp, there and here.",
        ("poisons, paper", "poisons", "method"),
        ("measured",),
        tuple(
            _rows(
                (
                    (f"{theirs:,}", f"{ours:,}"),
                    figures,
                    partial(case, attack__rate=ours / PAIRS),
                    _counted(CC3M, theirs),
                )
                for (theirs, figures), ours in zip(_IX.items(), COUNTS, strict=True)
            )
        ),
    ),
    "10": Table(
        "Table X: size of D, the number of poisons fixed",
        f"{_SOURCE} The paper's caption fixes 1,500 poisons, its prose and Fig. 6 the rate; here {POISONS} poisons at"
        " every size (of a fixed rate: `10-rate`).",
        ("pairs, paper", "pairs", "method"),
        ("measured",),
        _sizes(lambda size: partial(case, data__pairs=size, attack__rate=POISONS / size), lambda clean: PAPERS),
    ),
    "10-rate": Table(
        "Table X, fixed rate: size of D",
        f"{_SOURCE} The paper's caption fixes 1,500 poisons, its prose and Fig. 6 the rate; here 2 % of D at every"
        " size, the cases of Fig. 6 (of a fixed number: `10`).",
        ("pairs, paper", "pairs", "method"),
        ("measured",),
        _sizes(lambda size: partial(case, data__pairs=size), lambda clean: clean * PAPERS // CC3M),
    ),
}
"""By the paper's number."""
