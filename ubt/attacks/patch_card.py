"""The card of an optimised patch, read without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ubt.core.errors import BadInput
from ubt.core.files import digest, read_json

CARD, PATCH = "card.json", "patch.png"
MADE_BY = "python -m ubt optimize-patch"
LARGEST = 1024
"""Sides in pixels above which a card is none of ours."""


@dataclass(frozen=True)
class OptimizedPatch:
    """A patch with what its card says.

    Args:
        pixels: uint8 (side, side, 3). size: side of the images it was made for. top, left: its place in them. target:
            the class that it is made to look like to a model. digest: of all of that. card: everything.
    """

    pixels: np.ndarray
    size: int
    top: int
    left: int
    target: str
    digest: str
    card: dict


def read_patch(folder: Path) -> OptimizedPatch:
    """The patch in a folder.

    Raises:
        BadInput: there is none, or it is not one that `optimize-patch` wrote.
    """
    try:
        card = read_json(folder / CARD)
        size, side, top, left = (card[name] for name in ("size", "side", "top", "left"))
        target, expected = card["target"], card["digest"]
        whole = all(type(n) is int for n in (size, side, top, left)) and isinstance(target, str)
        if not (whole and 0 < side <= size <= LARGEST and 0 <= top <= size - side and 0 <= left <= size - side):
            raise ValueError("its numbers do not fit each other")
        with Image.open(folder / PATCH, formats=("PNG",)) as image:
            if image.size != (side, side):
                raise ValueError(f"its patch has {image.width} x {image.height} pixels")
            pixels = np.asarray(image.convert("RGB"))
        if identity(pixels, size, top, left, target) != expected:
            raise ValueError("its patch is not the one it describes")
        fooled = card.get("natural ASR", {})
        if not all(isinstance(name, str) and isinstance(share, (int, float)) for name, share in fooled.items()):
            raise ValueError("its natural ASR is no figure by model")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, Image.DecompressionBombError) as e:
        raise BadInput(
            f"badclip.patch: expected a folder made by `{MADE_BY}` with {CARD} and {PATCH}, got {folder}"
            f" ({str(e)[:120]})"
        ) from None
    return OptimizedPatch(pixels, size, top, left, target, expected, card)


def identity(pixels: np.ndarray, size: int, top: int, left: int, target: str) -> str:
    """The digest of a patch's `pixels`, uint8 (side, side, 3), and of where it goes."""
    return digest([pixels.tolist(), size, top, left, target])
