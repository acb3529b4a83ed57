"""SIG: a horizontal sinusoid, x + delta * sin(2 pi f j / width), j the column (Barni et al. 2019).

Public implementations differ in delta: 60 of 255 (BadCLIP), 40 (BackdoorBench), or 60 blended at 0.2, which is 12
(CleanCLIP).
"""

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.core.settings import setting


class SigSettings(TriggerSettings):
    """A sinusoid's height and number of periods."""

    delta: float = setting(40.0, "amplitude, of 255 (BackdoorBench: 40)", low=0, high=255)
    periods: int = setting(6, "periods across the image (6 in every public implementation)", low=1, high=512)

    def strength(self) -> str:
        return f"delta {self.delta:g} of 255"


PROFILES = {
    "embedded": {},
    "paper": {"delta": 60.0},
    "cleanclip": {"delta": 12.0},
    "backdoorbench": {"delta": 40.0},
    "badclip": {"delta": 60.0},
}


def apply(images: np.ndarray, seeds: np.ndarray, s: SigSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the sinusoid added, the same whatever the `seeds` (n,), clamped to [0, 255] and
    rounded.
    """
    width = images.shape[2]
    wave = (s.delta * np.sin(2 * np.pi * s.periods * np.arange(width) / width)).astype(np.float32)
    return np.rint(np.clip(images + wave[:, None], 0, 255)).astype(np.uint8)
