"""The higher of two scores that find different triggers (ours): a part that is pasted, for patches, and a blend, for
what covers the whole image. Each is in units of what only few clean images reach, so that they can be compared.
"""

import numpy as np

from ubt.core.run import derive_seed
from ubt.core.settings import Settings, setting
from ubt.detectors.gate.base import ImageDetector, Score, Watched, some
from ubt.detectors.gate.mixed import MIXED
from ubt.detectors.gate.pasted import PASTED

OF = (PASTED, MIXED)


class CombinedSettings(Settings):
    """On how many clean images scores are made comparable."""

    images: int = setting(256, "clean images whose scores are compared with, or as many as there are", low=16)
    few: float = setting(0.02, "share of them that lie above one unit", low=0.001, high=0.5)


def prepare(watched: Watched, s: CombinedSettings, seed: int) -> Score:
    """Prepare both, and see what clean images score."""
    scores = [one.prepare(watched, one.settings(), seed) for one in OF]
    count = min(s.images, len(watched.clean))
    usual = [score(some(watched, count, derive_seed(seed, "combined") % 2**31)) for score in scores]
    middles = [float(np.median(seen)) for seen in usual]
    units = [max(float(np.quantile(seen, 1 - s.few)) - m, 1e-6) for seen, m in zip(usual, middles, strict=True)]

    def score(images: np.ndarray) -> np.ndarray:
        return np.max([(f(images) - m) / unit for f, m, unit in zip(scores, middles, units, strict=True)], 0)

    return score


COMBINED = ImageDetector(
    "the higher of pasted and mixed, in units of what few clean images reach (ours)", CombinedSettings, prepare
)
