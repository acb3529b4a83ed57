"""What CLIP's work takes, in seconds on two cores, to be scaled by what a machine is found to do."""

from typing import Any

from ubt.data.scenes import CLASSES

DRAWN, SCORED = 3e-4, 5e-4
"""Drawing a scene or decoding an image; encoding a pair."""


def trained(steps: int, batch: int) -> float:
    """So many steps of training."""
    return 7e-4 * steps * batch


def classes(settings: Any) -> int:
    """Classes of a case's test set: as many as ImageNet has where its 80 templates are asked for."""
    return 1000 if settings.own.test and settings.own.templates == "80" else len(CLASSES)


def scored(settings: Any) -> float:
    """All of D under one model."""
    return SCORED * settings.data.pairs


def measured(settings: Any) -> float:
    """A model on the test set: once as it is, and once or thrice with each trigger."""
    rounds = 1 + sum(1 + 2 * bool(planted.word) for planted in settings.attacks)
    return SCORED * rounds * settings.test.per_class * classes(settings)
