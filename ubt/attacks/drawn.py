"""A patch that somebody drew, square by square: for a class that tries to beat a defence, and for an analyst's own
hypothesis.

A drawing is text, so that it can be a setting: a character a square, row by row; `.` lets the image show, `0` to `f`
are the colours of `PALETTE`.
"""

import math

import numpy as np
from PIL import Image

from ubt.attacks import badnet
from ubt.core.errors import BadInput
from ubt.core.settings import setting

PALETTE = {
    "0": ("black", "#000000"),
    "1": ("white", "#ffffff"),
    "2": ("grey", "#808080"),
    "3": ("red", "#ff0000"),
    "4": ("orange", "#ff8c00"),
    "5": ("yellow", "#ffff00"),
    "6": ("green", "#00a000"),
    "7": ("light green", "#80ff00"),
    "8": ("cyan", "#00ffff"),
    "9": ("blue", "#0000ff"),
    "a": ("dark blue", "#000080"),
    "b": ("purple", "#8000ff"),
    "c": ("magenta", "#ff00ff"),
    "d": ("pink", "#ffb0c8"),
    "e": ("brown", "#804000"),
    "f": ("skin", "#f0c8a0"),
}
"""The colours of a drawing: name and RGB."""
CLEAR = "."
SMALLEST, LARGEST = 2, 16
"""Squares a side."""
CROSS = "1000001010001000101000001000001010001000101000001"


class DrawnSettings(badnet.PatchSettings):
    """A drawn patch: its squares, size, place and strength."""

    squares: str = setting(CROSS, "the drawing, a character a square, row by row: . shows the image, 0 to f a colour")

    def check(self, height: int, width: int) -> None:
        side = badnet.patch_side(height, width, self)
        if not resized(pixels(self.squares), side, side)[..., 3].any():
            raise BadInput("squares: expected at least one that is painted, got none; draw something")

    def strength(self) -> str:
        return f"{math.isqrt(len(self.squares))} squares a side, opacity {self.opacity:g}"


PROFILES = {"embedded": {}, "paper": {"side": 16 / 224}, "large": {"side": 0.25}}


def pixels(squares: str) -> np.ndarray:
    """A drawing as pixels, uint8 (side, side, 4), one a square; its opacity is 0 where the image shows, else 255.

    >>> pixels("1.3.").tolist()
    [[[255, 255, 255, 255], [0, 0, 0, 0]], [[255, 0, 0, 255], [0, 0, 0, 0]]]

    Raises:
        BadInput: it is no square of such characters.
    """
    side = math.isqrt(len(squares))
    if side * side != len(squares) or not SMALLEST <= side <= LARGEST:
        raise BadInput(
            f"squares: expected {SMALLEST} x {SMALLEST} to {LARGEST} x {LARGEST} characters, got {len(squares)}; draw"
            " it again"
        )
    if unknown := sorted({*squares} - {*PALETTE, CLEAR}):
        raise BadInput(f"squares: expected the characters {CLEAR}{''.join(PALETTE)} alone, got {unknown[0]!r}")
    of = {c: [*bytes.fromhex(rgb[1:]), 255] for c, (_, rgb) in PALETTE.items()} | {CLEAR: [0] * 4}
    return np.array([of[c] for c in squares], np.uint8).reshape(side, side, 4)


def resized(patch: np.ndarray, height: int, width: int) -> np.ndarray:
    """A patch, uint8 (h, w, 3 or 4), at another size: pixels are repeated, or where it becomes smaller, averaged."""
    shrinks = height < patch.shape[0] or width < patch.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(patch).resize((width, height), how))


def stamp(image: np.ndarray, patch: np.ndarray, top: int, left: int, opacity: float = 1.0) -> None:
    """Put a patch, uint8 (h, w, 3), or (h, w, 4) with its own opacity, on an image (H, W, 3) where it lies."""
    under = image[top : top + patch.shape[0], left : left + patch.shape[1]]
    share = opacity * (patch[..., 3:].astype(np.float32) / 255 if patch.shape[2] == 4 else np.float32(1))
    under[:] = np.rint(share * patch[..., :3] + (1 - share) * under)


def places(seeds: np.ndarray, height: int, width: int, s: DrawnSettings) -> np.ndarray:
    """Top, left, height and width of the patch in each image, (n, 4), in pixels."""
    return badnet.places(seeds, height, width, s)


def apply(images: np.ndarray, seeds: np.ndarray, s: DrawnSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the drawing; `seeds` (n,) decide its place where that varies."""
    out, drawing = images.copy(), pixels(s.squares)
    for image, (top, left, height, width) in zip(out, places(seeds, *images.shape[1:3], s), strict=True):
        stamp(image, resized(drawing, height, width), top, left, s.opacity)
    return out
