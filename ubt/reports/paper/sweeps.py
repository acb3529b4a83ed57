"""The sweeps: what the paper argues for (IV-D), what users tune, and the factors by which each baseline's own claim is
examined.
"""

import math

from ubt.cases.presets import papers
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings
from ubt.reports.paper.sweep import Factor, Measure, Sweep

PAIRS = 10_000
"""Size of D in every cell: the embedded default."""
_PAPER = papers(PAIRS)
_MEASURED = "Measured: the embedded default, mean ± standard deviation over seeds; CA, ASR and recall in percent."
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
    title: str,
    group: str,
    settings: UnlearnSettings,
    whom: str,
    stage: str,
    said: str,
    times: tuple[float, ...],
    paper: bool = False,
) -> Sweep:
    lr, steps = (f"{group}.{name}" for name in ("lr", "steps"))
    return Sweep(
        title,
        f"{said} {_MEASURED}",
        (
            Factor(lr, "peak learning rate", _times(settings.lr, *times), _PAPER[lr] if paper else None),
            Factor(steps, "optimiser steps", _times(settings.steps, *times), _PAPER[steps] if paper else None),
        ),
        _after(whom, stage, recall=True),
    )


def _poisons(rates: tuple[float, ...]) -> Factor:
    return Factor("attack.rate", f"poisons, of {PAIRS:,} pairs", rates, shown=lambda rate: round(rate * PAIRS))


SWEEPS: dict[str, Sweep] = {
    "susp-k": Sweep(
        "Size of D_susp and k",
        "Few samples suffice, the paper argues (IV-D): D_susp of 1 % of D, and k the square root of 1 % of the size of"
        f" D. Where the verdict sees no poison in D_topk, the model is left as it came. {_MEASURED}",
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
    "lr-steps": _unlearning(
        "Learning rate and steps of our unlearning",
        "unlearn",
        UnlearnSettings(),
        "ours",
        "evaluate_purified",
        "The last step is kept.",
        (0.25, 0.5, 1, 2),
    ),
    "lr-steps-published": _unlearning(
        "Learning rate and steps of unlearning as published",
        "published",
        PublishedSettings(),
        "as published",
        "evaluate_published",
        f"Eq. 7 alone. The paper's choice is its learning rate and its five epochs, {_PAPER['published.steps']} steps"
        " at k = 10.",
        (1, 2, 4),
        paper=True,
    ),
    "abl-lr": Sweep(
        "ABL: learning rate of its ascent",
        "ABL leaves poisons in D_normal, and descends the loss on them, which strengthens the backdoor, UBT's paper"
        f" holds (V-C): their similarity and ASR should then rise where ABL moves the model at all. {_MEASURED}"
        " Similarity: mean cosine of the pairs that were not isolated.",
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
    "cleanclip-weight": Sweep(
        "CleanCLIP: weight of self-supervision",
        "The first of three factors in CleanCLIP's paper: self-supervision within each modality; 0 leaves InfoNCE on"
        f" clean pairs alone. {_MEASURED}",
        (Factor("cleanclip.weight", "weight of self-supervision", (0.0, 0.5, 1.0, 2.0, 4.0), 1.0),),
        (*_BEFORE, *_after("CleanCLIP", "evaluate_cleanclip")),
    ),
    "cleanclip-data": Sweep(
        "CleanCLIP: size of its clean data",
        "The second: as many epochs on each size, so that more pairs are more steps. The paper's choice: a fifth of D,"
        f" as 100K beside 500K. {_MEASURED}",
        (Factor("clean.pairs", "clean pairs", (500, 1000, 2000, 4000), PAIRS // 5),),
        (*_BEFORE, *_after("CleanCLIP", "evaluate_cleanclip")),
    ),
    "cleanclip-poisons": Sweep(
        "CleanCLIP: number of poisons",
        f"The third: the same clean pairs and steps, whatever number of poisons M_bd was trained on. {_MEASURED}",
        (_poisons((0.01, 0.013, 0.02, 0.04, 0.06)),),
        (*_BEFORE, *_after("CleanCLIP", "evaluate_cleanclip")),
    ),
    "roclip-rate": Sweep(
        "RoCLIP: rate of poisoning",
        f"RoCLIP, which trains in M_bd's place, helps less at high rates, UBT's paper holds (V-C). {_MEASURED}",
        (
            Factor("roclip.lr", "peak learning rate of RoCLIP", (1e-4, 5e-4)),
            Factor("attack.rate", "poisoned, % of D", (0.005, 0.02, 0.05), shown=lambda rate: round(100 * rate, 6)),
        ),
        (*_BEFORE, *_after("RoCLIP", "evaluate_roclip")),
    ),
}
"""By name."""
