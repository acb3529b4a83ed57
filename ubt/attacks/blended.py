"""Blended: a pattern over the whole image, alpha * pattern + (1 - alpha) * image (Chen et al. 2017).

The pattern of the attack's paper is one and fixed (BackdoorBench, HanxunH); CleanCLIP draws noise anew for each image.
Noise of single pixels takes the embedded model to ASR 74 (seed 100), squares of 2 px to 96: the default.

PAR (arXiv 2412.00727) blends what has structure: stripes of one pixel, anew in each image, alpha 0.03; right triangles
of 14 of 224 px in two greys (0.4 and 0.8), alpha 0.15; red words, alpha 0.5, that leave the rest of the image as it is.
On the embedded model (seed 100) the stripes take ASR to 50 at alpha 0.1 and to 96 at 0.2, the triangles to 1 at 0.15
and to 94 at 0.3, the words to 99.
"""

import functools
import re
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ubt.attacks import badnet
from ubt.attacks.base import TriggerSettings
from ubt.core.errors import BadInput
from ubt.core.settings import setting


class BlendedSettings(TriggerSettings):
    """A pattern and how much of it."""

    alpha: float = setting(0.2, "share of the pattern in the image (0.2 in every public implementation)", low=0, high=1)
    pattern: str = setting(
        "fixed noise",
        "what is blended in: uniform noise, one for all images or drawn anew for each; upright stripes, anew for each;"
        " right triangles; red words",
        choices=("fixed noise", "noise", "stripes", "triangles", "red words"),
    )
    cell: int = setting(
        2, "pixels of one square of the noise (public implementations: 1), a stripe or a triangle", low=1, high=512
    )
    pattern_seed: int = setting(0, "which fixed noise", low=0, high=2**31)
    words: str = setting("sample", "what the red words are, up to 40 letters, digits and spaces")

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: words that cannot be drawn.
        """
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9 ]{0,38}[A-Za-z0-9])?", self.words):
            raise BadInput(f"blended.words: expected up to 40 letters, digits and spaces, got {self.words[:60]!r}")

    def strength(self) -> str:
        return f"alpha {self.alpha:g}, {self.pattern}"


PROFILES = {
    "embedded": {},
    "paper": {"cell": 1},
    "cleanclip": {"pattern": "noise", "cell": 1},
    "stripes": {"pattern": "stripes", "cell": 1, "alpha": 0.2},
    "stripes, as published": {"pattern": "stripes", "cell": 1, "alpha": 0.03},
    "triangles": {"pattern": "triangles", "cell": 3, "alpha": 0.3},
    "triangles, as published": {"pattern": "triangles", "cell": 3, "alpha": 0.15},
    "red words": {"pattern": "red words", "alpha": 0.5},
}
ANEW = ("noise", "stripes")
"""Patterns that are drawn for each image."""
GREYS = 0.4, 0.8
"""Of the triangles below and above the diagonal, of 1."""
RED = (255, 0, 0)


@functools.lru_cache(maxsize=8)
def _words(text: str, height: int, width: int) -> np.ndarray:
    """Red words over and over on black, uint8 (H, W, 3)."""
    page = Image.new("RGB", (width, height))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default_imagefont()
    line = f"{text} " * (1 + width // max(1, font.getbbox(f"{text} ")[2]))
    step = font.getbbox("Mg")[3]
    for row, top in enumerate(range(0, height, step + 1)):
        pen.text((-step * row, top), line * 2, RED, font=font)
    return np.asarray(page)


def _triangles(height: int, width: int, cell: int) -> np.ndarray:
    """Right triangles of `cell` pixels in two greys, (H, W, 3) in [0, 255]."""
    y, x = np.indices((height, width)) % cell
    return np.repeat(255 * np.where(y >= x, *GREYS)[..., None], 3, 2).astype(np.float32)


def pattern(seed, height: int, width: int, s: BlendedSettings) -> np.ndarray:
    """What is blended in, (H, W, 3) in [0, 255]; `seed` of what is drawn."""
    if s.pattern == "stripes":
        return badnet.stripes(seed, height, width, s.cell).astype(np.float32)
    if s.pattern == "triangles":
        return _triangles(height, width, s.cell)
    if s.pattern == "red words":
        return _words(s.words, height, width).astype(np.float32)
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // s.cell), -(-width // s.cell), 3))
    return np.repeat(np.repeat(small, s.cell, 0), s.cell, 1)[:height, :width].astype(np.float32)


def apply(images: np.ndarray, seeds: np.ndarray, s: BlendedSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), blended with the pattern, rounded to 8 bits. `seeds` (n,) draw noise that is anew for
    each.
    """
    _, height, width, _ = images.shape
    if s.pattern in ANEW:
        over = (
            np.stack([pattern([int(seed), 2], height, width, s) for seed in seeds])
            if len(seeds)
            else np.empty(images.shape, np.float32)
        )
    else:
        over = pattern([s.pattern_seed, 2], height, width, s)
    blended = np.rint(s.alpha * over + (1 - s.alpha) * images.astype(np.float32)).astype(np.uint8)
    return np.where(over.any(-1, keepdims=True), blended, images) if s.pattern == "red words" else blended
