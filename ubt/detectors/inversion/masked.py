"""For every class, the smallest pattern under a mask that leads to it (Neural Cleanse; DECREE's form of the trigger):
patches, wherever they lie.
"""

import numpy as np
import pandas as pd

from ubt.clip.trigger_optimizer import Masked
from ubt.core.run import Run
from ubt.core.settings import setting
from ubt.detectors.inversion.base import Given, Inverted, InvertSettings, Sought, by_class

LEAST_ASR, LEAST_SIZE = 1.0, 0.005
"""Percent below which an ASR counts as this much, and the share of the image below which a size does: of a class that
the search has given up both are next to nothing, and say nothing.
"""


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
        lambda count, seed: Masked(count, height, width, seed), lambda overlay: settings.size * overlay.size(), evidence
    )
    return by_class(given, sought, settings, run)


def evidence(measures: pd.DataFrame) -> pd.Series:
    """The logarithm of ASR over size, of each class (`ubt.detectors.inversion.base.Inverted.measures`)."""
    return np.log(measures["asr"].clip(lower=LEAST_ASR)) - np.log(measures["size"].clip(lower=LEAST_SIZE))
