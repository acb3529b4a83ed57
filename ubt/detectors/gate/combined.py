"""The higher of two scores that find different triggers (ours): a part that is pasted, for patches, and a blend, for
what covers the whole image. Each is in units of what only few clean images reach, so that they can be compared.
"""

import numpy as np

from ubt.core.run import derive_seed
from ubt.core.settings import Settings, setting
from ubt.detectors.gate.base import ImageDetector, Own, Score, Watched, some


class CombinedSettings(Settings):
    """On how many clean images scores are made comparable."""

    images: int = setting(256, "clean images whose scores are compared with, or as many as there are", low=16)
    few: float = setting(0.02, "share of them that lie above one unit", low=0.001, high=0.5)


def prepare(watched: Watched, s: CombinedSettings, seed: int, *parts: Score) -> Own:
    """See what clean images score by each."""
    count = min(s.images, len(watched.clean))
    clean = some(watched, count, derive_seed(seed, "combined") % 2**31)
    usual = [part(clean) for part in parts]
    middles = [float(np.median(seen)) for seen in usual]
    units = [max(float(np.quantile(seen, 1 - s.few)) - m, 1e-6) for seen, m in zip(usual, middles, strict=True)]

    def score(images: np.ndarray, *said: np.ndarray) -> np.ndarray:
        return np.max([(s - m) / unit for s, m, unit in zip(said, middles, units, strict=True)], 0)

    return score


COMBINED = ImageDetector(
    "the higher of pasted and mixed, in units of what few clean images reach (ours)",
    CombinedSettings,
    prepare,
    of=("pasted", "mixed"),
    draws=True,
)
