"""What detectors share: what each declares, their settings, and the form of their answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd

from ubt.core.errors import UbtError
from ubt.core.settings import Settings, setting
from ubt.core.stage import Stage, takes

CLEAN, CLASSES, WITH_REFERENCE = "clean images", "names of classes", "a clean reference"
PAIRS, TEXTS, TRAINING = "D's images", "D's captions", "M_bd's training"
"""Kinds of data that a detector may need."""


class DetectSettings(Settings):
    """Detectors that score pairs without training."""

    k: int = setting(16, "neighbours that density and caption detectors look at (paper: 16)", low=2)
    gallery: int = setting(
        64,
        "pairs of D among which density detectors seek neighbours, so few that few poisons meet: D in random parts",
        low=8,
    )
    trees: int = setting(100, "trees of the isolation forest", low=1)


IMAGES = takes("score_poisoned.image_features", "data.pairs")
"""The inputs of detectors that look at images under M_bd alone."""
DETECT = {"reads": {"settings": "detect"}, "settings": {"detect": DetectSettings}}
"""Of a `Detector` that goes by `DetectSettings`."""
BOTH = (PAIRS, TEXTS)
"""The needs of detectors that look at how well captions fit."""


@dataclass(frozen=True)
class Detector:
    """A detector of pairs.

    Args:
        about: what it takes for suspicious, in a line.
        function: `module:function`, which gives every pair of D a score (`scored`).
        inputs: as of a stage. reads: argument name to the group of settings that it takes.
        settings: the groups of settings that it adds to a case, by name. needs: kinds of data.
    """

    about: str
    function: str
    inputs: Mapping[str, str]
    reads: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, type[Settings]] = field(default_factory=dict)
    needs: tuple[str, ...] = (PAIRS,)

    scope: ClassVar[str] = "pair"

    def stage(self, name: str) -> Stage:
        """Its stage, `detect_NAME`; the entry `scores` is a frame of id and score."""
        return Stage(f"detect_{name}", self.about, self.function, self.inputs, self.reads, gives=("scores",))


def scored(ids: pd.Series, score: np.ndarray) -> dict:
    """A detector's answer: `scores`, a frame of id and score, higher = more suspicious, in the order of D.

    Args:
        score: (n,), a number a pair.

    Raises:
        UbtError: not one finite score a pair.
    """
    score = np.asarray(score, np.float64)
    if score.shape != (len(ids),) or not np.isfinite(score).all():
        raise UbtError(
            f"detector: expected a finite score for each of {len(ids)} pairs, got {score.shape} with"
            f" {int((~np.isfinite(score)).sum())} not finite"
        )
    return {"scores": pd.DataFrame({"id": ids, "score": score})}
