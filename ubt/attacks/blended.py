"""Blended: a pattern over the whole image, alpha * pattern + (1 - alpha) * image (Chen et al. 2017).

The pattern of the attack's paper is one and fixed (BackdoorBench, HanxunH); CleanCLIP draws noise anew for each image.
Noise of single pixels takes the embedded model to ASR 74 (seed 100), squares of 2 px to 96: the default.
"""

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.core.settings import setting


class BlendedSettings(TriggerSettings):
    """A pattern and how much of it."""

    alpha: float = setting(0.2, "share of the pattern in the image (0.2 in every public implementation)", low=0, high=1)
    pattern: str = setting(
        "fixed noise", "uniform noise, one for all images or drawn anew for each", choices=("fixed noise", "noise")
    )
    cell: int = setting(2, "pixels of one square of the noise (public implementations: 1)", low=1, high=512)
    pattern_seed: int = setting(0, "which fixed noise", low=0, high=2**31)

    def strength(self) -> str:
        return f"alpha {self.alpha:g}, {self.pattern}"


PROFILES = {"embedded": {}, "paper": {"cell": 1}, "cleanclip": {"pattern": "noise", "cell": 1}}


def pattern(seed, height: int, width: int, s: BlendedSettings) -> np.ndarray:
    """Uniform noise (H, W, 3) in [0, 255]."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // s.cell), -(-width // s.cell), 3))
    return np.repeat(np.repeat(small, s.cell, 0), s.cell, 1)[:height, :width].astype(np.float32)


def apply(images: np.ndarray, seeds: np.ndarray, s: BlendedSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), blended with the pattern, rounded to 8 bits. `seeds` (n,) draw noise that is anew for
    each.
    """
    _, height, width, _ = images.shape
    if s.pattern == "noise":
        over = (
            np.stack([pattern([int(seed), 2], height, width, s) for seed in seeds])
            if len(seeds)
            else np.empty(images.shape, np.float32)
        )
    else:
        over = pattern([s.pattern_seed, 2], height, width, s)
    return np.rint(s.alpha * over + (1 - s.alpha) * images.astype(np.float32)).astype(np.uint8)
