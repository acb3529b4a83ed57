"""BadNet: a small patch stamped on the image (Gu et al. 2017; for CLIP, Carlini and Terzis 2021).

Profiles that public implementations use: CleanCLIP stamps Gaussian noise, 16 of 224 px, anew for each image, at a random
place; HanxunH's code a fixed checkerboard of that size. `side` is a share, so 16 of 224 px is 0.0714; the embedded default
takes 7 of 48 px, because 3 px (the paper's share) are too few for the small model to learn from about 1,000 exposures.
"""

from dataclasses import dataclass

import numpy as np

from ubt.config import BadInput, Settings, setting


@dataclass(frozen=True)
class BadNetSettings(Settings):
    """A patch: its size, pattern and place."""

    side: float = setting(0.1459, "side of the patch as a share of the image's shorter side (paper: 16 / 224)", low=0, high=1)
    pattern: str = setting("checkerboard", "what is stamped", choices=("checkerboard", "noise"))
    cell: int = setting(1, "pixels of one square of the checkerboard", low=1)
    place: str = setting("corner", "bottom right corner (one pixel from the edges) or a random place in each image", choices=("corner", "random"))


def patch_side(height: int, width: int, s: BadNetSettings) -> int:
    """The patch's side in pixels."""
    side = round(s.side * min(height, width))
    if not 1 <= side <= min(height, width):
        raise BadInput(f"badnet.side: expected a patch of 1 to {min(height, width)} pixels for images of {height} x {width}, got {side}; change badnet.side")
    return side


def places(seeds: np.ndarray, height: int, width: int, s: BadNetSettings) -> np.ndarray:
    """Top and left of the patch in each image, (n, 2)."""
    side = patch_side(height, width, s)
    if s.place == "corner":
        edge = [max(0, height - side - 1), max(0, width - side - 1)]
        return np.tile(edge, (len(seeds), 1))
    free = np.array([height - side + 1, width - side + 1])
    return np.array([np.floor(np.random.default_rng(seed).random(2) * free) for seed in seeds], int).reshape(-1, 2)


def apply(images: np.ndarray, seeds: np.ndarray, s: BadNetSettings) -> np.ndarray:
    """Images with the patch stamped; every pixel outside it is untouched."""
    _, height, width, _ = images.shape
    side = patch_side(height, width, s)
    out = images.copy()
    y, x = np.indices((side, side)) // s.cell
    board = np.repeat((((y + x) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    for i, (top, left) in enumerate(places(seeds, height, width, s)):
        patch = board
        if s.pattern == "noise":
            values = 127.5 + 64 * np.random.default_rng([int(seeds[i]), 1]).standard_normal((side, side, 3))
            patch = np.clip(values, 0, 255).astype(np.uint8)
        out[i, top : top + side, left : left + side] = patch
    return out
