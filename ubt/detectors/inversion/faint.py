"""For every class, the faint pattern over the whole image that leads to it: what Blended, SIG, SSBA and WaNet leave in
a model has no small mask.

The order of work, a cheap look at all classes, is that of InverTune and CLIP-Inspector (arXiv 2506.12411, 2604.09101).
"""

from functools import partial

from ubt.clip.trigger_optimizer import Faint
from ubt.core.run import Run
from ubt.core.settings import setting
from ubt.detectors.inversion.base import Given, Inverted, InvertSettings, Sought, by_class


class FaintSettings(InvertSettings):
    """The faint patterns."""

    steps: int = setting(60, "optimiser steps", low=1)
    lr: float = setting(0.1, "peak learning rate", low=0)
    rms: float = setting(0.048, "root mean square of the pattern over all pixels, of 1", low=1e-4, high=1)


def invert(given: Given, settings: FaintSettings, run: Run) -> Inverted:
    """A pattern for every class; the evidence is its margin.

    Raises:
        UbtError, Cancelled: see `by_class`.
    """
    height, width = given.images.shape[1:3]
    overlay = partial(_overlay, height=height, width=width, rms=settings.rms)
    return by_class(given, Sought(overlay, lambda o: 0.0, lambda m: m["margin"]), settings, run)


def _overlay(count: int, seed: int, height: int, width: int, rms: float) -> Faint:
    return Faint(count, height, width, rms, seed)
