"""For every class, the smallest pattern under a mask that leads to it (Neural Cleanse; DECREE's form of the trigger):
patches, wherever they lie.
"""

import numpy as np

from ubt.clip.trigger_optimizer import Masked
from ubt.core.run import Run
from ubt.core.settings import setting
from ubt.detectors.inversion.base import Given, Inverted, InvertSettings, Sought, by_class

LEAST_ASR = 1.0
"""Percent below which an ASR counts as this much, so that its logarithm is finite."""


class MaskedSettings(InvertSettings):
    """The patterns under masks."""

    steps: int = setting(130, "optimiser steps", low=1)
    lr: float = setting(0.2, "peak learning rate, in units of the tanh of pixels and masks", low=0)
    size: float = setting(40.0, "what a mask over the whole image costs, against the cross-entropy", low=0)


def invert(given: Given, settings: MaskedSettings, run: Run) -> Inverted:
    """A mask and a pattern for every class; the evidence is the logarithm of its ASR over its size.

    Raises:
        UbtError, Cancelled: see `by_class`.
    """
    height, width = given.images.shape[1:3]
    sought = Sought(
        lambda count, seed: Masked(count, height, width, seed),
        lambda overlay: settings.size * overlay.size(),
        lambda m: np.log(m["asr"].clip(lower=LEAST_ASR)) - np.log(m["size"]),
    )
    return by_class(given, sought, settings, run)
