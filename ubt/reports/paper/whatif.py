"""What if: one setting of the default case at a time takes other values, each a case of its own, measured like any
other.
"""

from ubt.reports.paper.sweep import Factor, Measure, Sweep

_SOURCE = (
    "Measured: the embedded default, BadNet, seed 0, one setting changed at a time; the others keep their defaults."
)
MEASURES = (
    Measure("CA", "M_bd", "evaluate_poisoned", "ca"),
    Measure("ASR", "M_bd", "evaluate_poisoned", "asr", rising=False),
    Measure("CA", "ours", "evaluate_purified", "ca"),
    Measure("ASR", "ours", "evaluate_purified", "asr", rising=False),
    Measure("split recall", "", "judge", "recall", entry="detection", scale=100),
    Measure("precision@k", "", "judge", "precision", entry="detection", scale=100),
)
"""In percent. Where nothing is poisoned, the split has no recall."""


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _sweep(title: str, factor: Factor) -> Sweep:
    return Sweep(title, _SOURCE, (factor,), MEASURES)


WHAT_IF: dict[str, Sweep] = {
    "rate": _sweep("Rate", Factor("attack.rate", "poisoned, % of D", (0.0, 0.002, 0.005, 0.01), shown=_percent)),
    "strength": _sweep(
        "Strength",
        Factor("badnet.side", "side of the patch, px of 48", (2 / 48, 4 / 48), shown=lambda side: round(48 * side)),
    ),
    "mismatched": _sweep(
        "Mismatched", Factor("data.mismatched", "mismatched, % of the clean captions", (0.0, 0.1), shown=_percent)
    ),
    "fraction": _sweep("Fraction", Factor("split.fraction", "D_susp, % of D", (0.02, 0.04, 0.1), shown=_percent)),
    "k": _sweep("k", Factor("select.k", "k", (5, 20, 40), shown=lambda k: k or 10)),
    "retention": _sweep("Retention", Factor("unlearn.keep", "weight of retention", (0.0, 1.0, 16.0))),
}
"""By the name that the address bar holds."""
