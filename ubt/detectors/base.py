"""What detectors share: their settings, and the form of their answer."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.core.errors import UbtError
from ubt.core.settings import Settings, setting


@dataclass(frozen=True)
class DetectSettings(Settings):
    """Detectors that score pairs without training."""

    k: int = setting(16, "neighbours that density and caption detectors look at (paper: 16)", low=2)
    gallery: int = setting(
        64,
        "pairs of D among which density detectors seek neighbours, so few that few poisons meet: D in random parts",
        low=8,
    )
    trees: int = setting(100, "trees of the isolation forest", low=1)


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
