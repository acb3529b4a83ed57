"""What each stage takes, in seconds on two cores, to be scaled by what a machine is found to do: for the time left of a
job.
"""

from collections.abc import Callable

from ubt.cases.catalog import EVERY
from ubt.cases.settings import CaseSettings
from ubt.data.scenes import CLASSES
from ubt.defenses.poisoncam import STRATEGIES
from ubt.defenses.token_unlearning.split import suspicious_count


def cost(stage: str, settings: CaseSettings) -> float:
    """Seconds that a stage takes; 0.1 for one that is not known to take any."""
    if stage == "poison" and settings.own.audits:
        return 0.1
    return WORK[stage](settings) if stage in WORK else 0.1


def _trained(steps: int, batch: int) -> float:
    return 7e-4 * steps * batch


def _folded(settings: CaseSettings) -> float:
    """Models trained on all parts of D but one."""
    return _trained(settings.folds.epochs * (settings.folds.folds - 1), settings.data.pairs)


def _classes(settings: CaseSettings) -> int:
    """Classes of the test set: as many as ImageNet has where its 80 templates are asked for."""
    return 1000 if settings.own.test and settings.own.templates == "80" else len(CLASSES)


def _measured(settings: CaseSettings) -> float:
    return (
        5e-4
        * (1 + sum(1 + 2 * bool(a.trigger.word) for a in settings.attacks))
        * settings.test.per_class
        * _classes(settings)
    )


def _shown(settings: CaseSettings) -> int:
    """Images of the labelled set downstream, as many as scenes have where nothing says how many."""
    return (settings.downstream.per_class or settings.test.per_class) * len(CLASSES)


def _masked(settings: CaseSettings) -> float:
    slow = {"relevance": 2e-3, "input gradient": 6e-3, "leave one out": 8e-2}[settings.mask.method]
    return 0.4 + slow * (settings.k + sum(a.attack.poisons(settings.data.pairs) for a in settings.attacks))


WORK: dict[str, Callable[[CaseSettings], float]] = {
    "take": lambda s: 3e-4 * s.data.pairs,
    "attack": lambda s: 5e-5 * s.data.pairs,
    "data": lambda s: 6e-4 * s.data.pairs,
    "score": lambda s: 5e-4 * s.data.pairs + (_folded(s) if s.own.audits and not s.own.reference else 0.0),
    "poison": lambda s: _trained(s.poison.epochs, s.data.pairs),
    "score_poisoned": lambda s: 5e-4 * s.data.pairs,
    "test": lambda s: 3e-4 * s.test.per_class * _classes(s),
    **{stage.name: _measured for stage in EVERY if stage.name.startswith(("evaluate_", "kl_"))},
    "overfit": lambda s: _trained(
        s.overfit.steps, 2 * min(s.overfit.batch, suspicious_count(s.data.pairs, s.split.fraction))
    ),
    "score_overfit": lambda s: 5e-4 * s.data.pairs,
    "mask": _masked,
    "mask_published": _masked,
    "score_inside": lambda s: 5e-4 * suspicious_count(s.data.pairs, s.split.fraction),
    "retain": lambda s: 4e-4 * (suspicious_count(s.data.pairs, s.split.fraction) + s.retain.pool + s.retain.anchors),
    "unlearn": lambda s: _trained(s.unlearn.steps, s.unlearn.batch + s.unlearn.keep_batch + s.unlearn.anchor_batch),
    "unlearn_published": lambda s: _trained(s.published.steps, 2 * s.k),
    "clean": lambda s: 3e-4 * s.clean.pairs,
    "labelled": lambda s: 3e-4 * s.clean.per_class * _classes(s),
    "abl_early": lambda s: _trained(s.isolate.steps, s.isolate.batch),
    **{n: lambda s: 5e-4 * s.data.pairs for n in ("score_abl", "score_after_abl")},
    **{n: lambda s: _trained(s.abl.steps, 2 * s.abl.batch) for n in ("abl", "abl_masked")},
    "cleanclip": lambda s: _trained(s.cleanclip.epochs, (1 + (s.cleanclip.weight > 0)) * s.clean.pairs),
    "supervised": lambda s: _trained(s.supervised.epochs, s.clean.per_class * _classes(s)),
    "gentle": lambda s: _trained(s.roclip.epochs, s.data.pairs),
    "roclip": lambda s: _trained(s.roclip.epochs, 1.4 * s.data.pairs),
    "poisoncam_locate": lambda s: (
        5e-4 * s.locate.images * (1 / s.locate.side * 2) ** 2 * (1 if s.locate.strategy == STRATEGIES[0] else 0.5)
    ),
    "poisoncam_classify": lambda s: _trained(s.classify.steps, s.classify.batch),
    **{n: lambda s: _trained(s.poison.epochs, s.data.pairs) for n in ("poisoncam", "retrain")},
    "control": lambda s: _trained(s.control.steps, s.control.batch),
    "estimate": lambda s: 1e-3 * min(s.data.pairs, 2000),
    "downstream": lambda s: 3e-4 * _shown(s),
    **{stage.name: lambda s: 1e-3 * _shown(s) for stage in EVERY if stage.name.startswith("zeroshot_")},
    "captions": lambda s: 6e-4 * (s.downstream.images or 1000),
    **{
        stage.name: lambda s: 3e-3 * (s.downstream.images or 1000)
        for stage in EVERY
        if stage.name.startswith("retrieval_")
    },
    "later": lambda s: 3e-4 * s.again.pairs,
    **{
        stage.name: lambda s: _trained(s.again.steps, s.again.batch)
        for stage in EVERY
        if stage.name.startswith("again_")
    },
}
