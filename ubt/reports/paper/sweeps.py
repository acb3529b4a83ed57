"""The sweeps: what the paper argues for (IV-D), what users tune, and the factors by which each baseline's own claim is
examined.
"""

import math

from ubt.cases.presets import papers
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings
from ubt.reports.paper.published import headed
from ubt.reports.paper.sweep import Factor, Measure, Sweep

PAIRS = 10_000
"""Size of D in every cell: the embedded default."""
_PAPER = papers(PAIRS)
_BEFORE = (
    Measure("CA", "M_bd", "evaluate_poisoned", "ca"),
    Measure("ASR", "M_bd", "evaluate_poisoned", "asr", rising=False),
)


def _after(whom: str, stage: str, recall: bool = False) -> tuple[Measure, ...]:
    found = Measure("CA", whom, stage, "ca"), Measure("ASR", whom, stage, "asr", rising=False)
    return (*found, Measure("target recall", whom, stage, "target_recall")) if recall else found


def _times(value: float, *factors: float) -> tuple[float, ...]:
    """Multiples of a default, whole where it is.

    >>> _times(80, 0.5, 1), _times(2e-4, 0.5, 1)
    ((40, 80), (0.0001, 0.0002))
    """
    return tuple(type(value)(value * factor) for factor in factors)


def _unlearning(
    name: str,
    group: str,
    settings: UnlearnSettings,
    after: tuple[str, str],
    times: tuple[float, ...],
    paper: bool = False,
) -> Sweep:
    lr, steps = (f"{group}.{setting}" for setting in ("lr", "steps"))
    return Sweep(
        *headed("sweep", name, steps=_PAPER["published.steps"]),
        (
            Factor(lr, "peak learning rate", _times(settings.lr, *times), _PAPER[lr] if paper else None),
            Factor(steps, "optimiser steps", _times(settings.steps, *times), _PAPER[steps] if paper else None),
        ),
        _after(*after, recall=True),
    )


def _cleanclip(name: str, factor: Factor) -> Sweep:
    return Sweep(*headed("sweep", name), (factor,), (*_BEFORE, *_after("CleanCLIP", "evaluate_cleanclip")))


def _poisons(rates: tuple[float, ...]) -> Factor:
    return Factor("attack.rate", f"poisons, of {PAIRS:,} pairs", rates, shown=lambda rate: round(rate * PAIRS))


SWEEPS: dict[str, Sweep] = {
    "susp-k": Sweep(
        *headed("sweep", "susp-k"),
        (
            Factor(
                "split.fraction",
                "D_susp, % of D",
                (0.01, 0.02, 0.04, 0.06, 0.1),
                _PAPER["split.fraction"],
                lambda share: round(100 * share, 6),
            ),
            Factor("select.k", "k", (5, 0, 20, 40), 0, lambda k: k or math.isqrt(PAIRS // 100)),
        ),
        (
            Measure("split recall", "", "judge", "recall", entry="detection", scale=100),
            Measure("precision@k", "", "judge", "precision", entry="detection", scale=100),
            *_after("ours", "evaluate_purified"),
        ),
    ),
    "lr-steps": _unlearning("lr-steps", "unlearn", UnlearnSettings(), ("ours", "evaluate_purified"), (0.25, 0.5, 1, 2)),
    "lr-steps-published": _unlearning(
        "lr-steps-published",
        "published",
        PublishedSettings(),
        ("as published", "evaluate_published"),
        (1, 2, 4),
        paper=True,
    ),
    "abl-lr": Sweep(
        *headed("sweep", "abl-lr"),
        (Factor("abl.lr", "peak learning rate", (2e-6, 2e-5, 1e-4, 3e-4)),),
        tuple(
            Measure(what, whom, f"left_{model}", key, rising, unit=unit)
            for what, key, rising, unit in (
                ("CA", "ca", True, "percent"),
                ("ASR", "asr", False, "percent"),
                ("similarity of the poisons left", "poisoned", False, "cosine"),
                ("similarity of the clean pairs left", "clean", True, "cosine"),
            )
            for whom, model in (("M_bd", "poisoned"), ("ABL", "abl"))
        ),
    ),
    "cleanclip-weight": _cleanclip(
        "cleanclip-weight", Factor("cleanclip.weight", "weight of self-supervision", (0.0, 0.5, 1.0, 2.0, 4.0), 1.0)
    ),
    "cleanclip-data": _cleanclip(
        "cleanclip-data", Factor("clean.pairs", "clean pairs", (500, 1000, 2000, 4000), PAIRS // 5)
    ),
    "cleanclip-poisons": _cleanclip("cleanclip-poisons", _poisons((0.01, 0.013, 0.02, 0.04, 0.06))),
    "roclip-rate": Sweep(
        *headed("sweep", "roclip-rate"),
        (
            Factor("roclip.lr", "peak learning rate of RoCLIP", (1e-4, 5e-4)),
            Factor("attack.rate", "poisoned, % of D", (0.005, 0.02, 0.05), shown=lambda rate: round(100 * rate, 6)),
        ),
        (*_BEFORE, *_after("RoCLIP", "evaluate_roclip")),
    ),
}
"""By name."""
