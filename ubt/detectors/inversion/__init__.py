"""Trigger inversion: detectors of a model alone, one file a method.

A method is `invert(given, settings, run)` (`ubt.detectors.inversion.base`); adding one is one file and one line in
`METHODS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ubt.core.settings import Settings
from ubt.detectors.base import CLASSES, CLEAN
from ubt.detectors.inversion import faint, masked, target_free
from ubt.detectors.inversion.base import Inverted


@dataclass(frozen=True)
class Method:
    """A method by name: what it looks for, its settings, its function; whether it has a trigger for every class, so
    that its evidence can be compared from class to class; the kinds of data that it needs.
    """

    about: str
    settings: type[Settings]
    invert: Callable[..., Inverted]
    by_class: bool = True
    needs: tuple[str, ...] = (CLEAN, CLASSES)

    scope: ClassVar[str] = "model"


METHODS = {
    "faint": Method("a faint pattern over the whole image, for every class", faint.FaintSettings, faint.invert),
    "masked": Method("the smallest pattern under a mask, for every class", masked.MaskedSettings, masked.invert),
    "target_free": Method(
        "a pattern that makes features of different images alike, without a target",
        target_free.TargetFreeSettings,
        target_free.invert,
        by_class=False,
        needs=(CLEAN,),
    ),
}
