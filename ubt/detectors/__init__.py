"""Detectors, one file each: every one gives each pair of D a suspicion score, higher = more suspicious, and none gets
the ground truth. Adding one is one file and one line in `DETECTORS`.
"""

from ubt.detectors import density, forest, loss, restored, similarity, text
from ubt.detectors.base import Detector

DETECTORS: dict[str, Detector] = {
    "reference": similarity.REFERENCE,
    "text": text.CAPTIONS,
    "poisoned": similarity.POISONED,
    "overfit": similarity.OVERFIT,
    "loss": loss.EARLY_LOSS,
    "restored": restored.RESTORED,
    "k_distance": density.K_DISTANCE,
    "slof": density.SLOF,
    "dao": density.DAO,
    "forest": forest.FOREST,
    "poisoncam": similarity.POISONCAM,
}
"""By name."""
