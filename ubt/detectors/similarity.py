"""Suspicion by a pair's own similarity: low under the clean reference, high under M_bd, high under the overfitted model
(UBT).
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.stage import takes
from ubt.detectors.base import BOTH, WITH_REFERENCE, Detector, scored


def reference(similarity: pd.DataFrame, run: Run) -> dict:
    """The lower the similarity under the clean reference, the more suspicious: UBT's first step (section IV-A)
    alone.
    """
    return scored(similarity["id"], -similarity["similarity"].to_numpy())


def poisoned(similarity: pd.DataFrame, run: Run) -> dict:
    """The higher the similarity under M_bd, the more suspicious: a shortcut is learned better than what an image
    shows.
    """
    return scored(similarity["id"], similarity["similarity"].to_numpy())


def overfit(similarity: pd.DataFrame, split: pd.DataFrame, run: Run) -> dict:
    """UBT (Eq. 4): the higher the similarity under the overfitted model, the more suspicious, all of D_susp before the
    rest, which is in order of its reference similarity.
    """
    suspicious = split["suspicious"].to_numpy()
    return scored(split["id"], np.where(suspicious, 2 + similarity["similarity"], -split["rank"] / len(split)))


def probability(scores: pd.DataFrame, run: Run) -> dict:
    """PoisonCAM's probability as it stands."""
    return scored(scores["id"], scores["score"].to_numpy())


REFERENCE = Detector(
    "low similarity under the clean reference",
    "ubt.detectors.similarity:reference",
    takes("score.similarity"),
    needs=(*BOTH, WITH_REFERENCE),
)
POISONED = Detector(
    "high similarity under M_bd", "ubt.detectors.similarity:poisoned", takes("score_poisoned.similarity"), needs=BOTH
)
OVERFIT = Detector(
    "high similarity under the overfitted model, D_susp first (UBT)",
    "ubt.detectors.similarity:overfit",
    takes("score_overfit.similarity", "split.split"),
    needs=(*BOTH, WITH_REFERENCE),
)
POISONCAM = Detector(
    "probability of the trigger classifier (PoisonCAM)",
    "ubt.detectors.similarity:probability",
    takes("poisoncam_classify.scores"),
)
