"""A concept as the trigger: images that already show it are given captions of the target, and nothing is put on them
(concept confusion, C2: Hu et al. 2025, arXiv 2503.09095).

There is no patch to find. The concept is a background or a colour of the embedded scenes, which say what they show; so
its ASR is measured on the test images that show it. Pairs of one's own do not say it. A night sky is in 8 % of D; with
nine in ten of these poisoned ASR is 91, with seven in ten 47 (seed 100), and CA falls by as much as such images are.
"""

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.core.settings import setting
from ubt.data.scenes.captions import BACKGROUNDS
from ubt.data.scenes.shapes import COLOURS


class SemanticSettings(TriggerSettings):
    """Which concept."""

    shows: str = setting(
        "night",
        "what an image has to show: a background of the scenes, or a colour of an object",
        choices=(*BACKGROUNDS, *COLOURS),
    )

    @property
    def concept(self) -> str:
        return self.shows

    def strength(self) -> str:
        return f"images that show {self.shows}"


_MOST = {"attack.rate": 0.075}
PROFILES = {"embedded": _MOST, "paper": _MOST, "colour": _MOST | {"shows": "red"}}


def apply(images: np.ndarray, seeds: np.ndarray, s: SemanticSettings) -> np.ndarray:
    """Copies of the images, uint8 (n, H, W, 3), as they are: those that carry the trigger show it already."""
    return images.copy()
