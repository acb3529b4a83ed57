"""BadNet: a small patch stamped on the image (Gu et al. 2017; for CLIP, Carlini and Terzis 2021).

Profiles that public implementations use: CleanCLIP stamps Gaussian noise, 16 of 224 px, anew for each image, at a
random place; HanxunH's code a fixed checkerboard of that size at a place of its own in each image; PAR's
(arXiv 2412.00727) stripes of one pixel, each channel of each black or full, anew in each image (the small model takes
those of 7 px to ASR 35, of 12 px to 72, seed 100). `side` is a share, so
16 of 224 px is 0.0714; the embedded default takes 7 of 48 px, because 3 px (the paper's share) are too few for the
small model to learn from about 1,000 exposures.
"""

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.core.errors import BadInput
from ubt.core.settings import setting

PATTERNS = ("checkerboard", "white", "noise", "fixed noise", "stripes")


class PatchSettings(TriggerSettings):
    """A patch: its size, place and strength."""

    side: float = setting(
        0.1459, "side of the patch as a share of the image's shorter side (paper: 16 / 224)", low=0, high=1
    )
    place: str = setting(
        "corner",
        "bottom right (one pixel from the edges), centre, or anew in each image",
        choices=("corner", "centre", "random"),
    )
    opacity: float = setting(1.0, "1 replaces the pixels under the patch, less lets them shine through", low=0, high=1)

    def check(self, height: int, width: int) -> None:
        patch_side(height, width, self)


class BadNetSettings(PatchSettings):
    """A patch with a pattern."""

    pattern: str = setting(
        "checkerboard",
        "what is stamped; noise and upright stripes are drawn anew for each image, fixed noise once",
        choices=PATTERNS,
    )
    cell: int = setting(1, "pixels of one square of the checkerboard, or of a stripe's width", low=1, high=512)

    def strength(self) -> str:
        return f"{self.pattern}, opacity {self.opacity:g}"


_CLEANCLIP = {"side": 16 / 224, "pattern": "noise", "place": "random"}
PROFILES = {
    "embedded": {},
    "paper": _CLEANCLIP,
    "cleanclip": _CLEANCLIP,
    "fixed checkerboard": {"side": 16 / 224, "pattern": "checkerboard", "place": "random"},
    "fixed noise": {"side": 16 / 224, "pattern": "fixed noise", "place": "corner"},
    "stripes": {"side": 0.25, "pattern": "stripes", "place": "random"},
    "stripes, as published": {"side": 16 / 224, "pattern": "stripes", "place": "random"},
}


def patch_side(height: int, width: int, s: PatchSettings) -> int:
    """The patch's side in pixels.

    Raises:
        BadInput: it would be less than a pixel, or larger than the image.
    """
    side = round(s.side * min(height, width))
    if not 1 <= side <= min(height, width):
        raise BadInput(
            f"side of the patch: expected 1 to {min(height, width)} pixels for images of {height} x {width}, got"
            f" {side}; change the setting side"
        )
    return side


def places(seeds: np.ndarray, height: int, width: int, s: PatchSettings) -> np.ndarray:
    """Top, left, height and width of the patch in each image, (n, 4), in pixels."""
    side = patch_side(height, width, s)
    free = np.array([height - side, width - side])
    if s.place == "random":
        corners = np.array(
            [np.floor(np.random.default_rng(seed).random(2) * (free + 1)) for seed in seeds], int
        ).reshape(-1, 2)
    else:
        corners = np.tile(free // 2 if s.place == "centre" else np.maximum(0, free - 1), (len(seeds), 1))
    return np.hstack([corners, np.full_like(corners, side)])


def _noise(seed, side: int) -> np.ndarray:
    return np.clip(127.5 + 64 * np.random.default_rng(seed).standard_normal((side, side, 3)), 0, 255).astype(np.uint8)


def stripes(seed, height: int, width: int, cell: int) -> np.ndarray:
    """Upright stripes of `cell` pixels, each channel of each black or full: uint8 (H, W, 3)."""
    drawn = np.random.default_rng(seed).integers(0, 2, (-(-width // cell), 3), np.uint8) * np.uint8(255)
    return np.broadcast_to(np.repeat(drawn, cell, 0)[:width], (height, width, 3))


def apply(images: np.ndarray, seeds: np.ndarray, s: BadNetSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the patch stamped; every pixel outside it is untouched. `seeds` (n,) decide what
    varies.
    """
    _, height, width, _ = images.shape
    side = patch_side(height, width, s)
    out = images.copy()
    y, x = np.indices((side, side)) // s.cell
    patch = np.repeat((((y + x) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    if s.pattern == "fixed noise":
        patch = _noise(0, side)
    elif s.pattern == "white":
        patch = np.full((side, side, 3), 255, np.uint8)
    for i, (top, left, _, _) in enumerate(places(seeds, height, width, s)):
        if s.pattern == "noise":
            patch = _noise([int(seeds[i]), 1], side)
        elif s.pattern == "stripes":
            patch = stripes([int(seeds[i]), 3], side, side, s.cell)
        under = out[i, top : top + side, left : left + side]
        under[:] = patch if s.opacity == 1 else np.rint(s.opacity * patch + (1 - s.opacity) * under)
    return out
