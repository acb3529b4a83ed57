"""Where on images a patch works, and how large and how strong it has to be: its ASR by place, size and opacity, on
images whose truth nobody needs to know.

The ASR is the share of the images that a model takes for something else as they are and for the target with the patch.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ubt.attacks.drawn import resized, stamp
from ubt.core.run import Progress, silent
from ubt.core.settings import Settings, setting
from ubt.evaluation.backdoor import interval

PLACE, SIZE, OPACITY = "place", "size", "opacity"
COLUMNS = ["by", "top", "left", "side", "opacity", "asr", "low", "high", "images"]
"""Of `measure`: what is varied, where the patch lies and how long its longer side is in pixels, its opacity, the ASR
and its 95 % interval (Wilson) in percent, of how many images."""


class PlacesSettings(Settings):
    """How finely it is looked, and on how many images."""

    images: int = setting(100, "images that the patch is put on", low=10, high=10_000)
    grid: int = setting(9, "places along each side of the image", low=2, high=40)
    steps: int = setting(8, "sizes, and opacities", low=2, high=40)
    seed: int = setting(0, "which images", low=0, high=2**31)


def variants(
    patch: np.ndarray, at: tuple[int, int], size: tuple[int, int], s: PlacesSettings, opacity: float = 1.0
) -> Iterator[tuple[str, np.ndarray, int, int, float]]:
    """What is varied, and the patch, its top and left edge and its opacity for each: places over the whole image, then
    sizes from a pixel up to three times its own about the same middle, then opacities.

    Args:
        patch: uint8 (h, w, 3 or 4). at: its top and left edge in pixels. size: of the images, height and width.
            opacity: of the patch at each place and of each size.
    """
    height, width = patch.shape[:2]
    rows, columns = (
        np.unique(np.linspace(0, whole - own, s.grid).round().astype(int))
        for whole, own in zip(size, (height, width), strict=True)
    )
    for top in rows:
        for left in columns:
            yield PLACE, patch, int(top), int(left), opacity
    longest = max(height, width)
    most = max(1, min(3 * longest, int(longest * min(size[0] / height, size[1] / width))))
    for side in np.unique(np.linspace(1, most, s.steps).round().astype(int)):
        h, w = max(1, round(height * side / longest)), max(1, round(width * side / longest))
        top, left = at[0] + (height - h) // 2, at[1] + (width - w) // 2
        yield SIZE, resized(patch, h, w), min(max(0, top), size[0] - h), min(max(0, left), size[1] - w), opacity
    for share in np.linspace(1 / s.steps, 1, s.steps):
        yield OPACITY, patch, *at, float(share)


def measure(
    taken: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    target: int,
    patch: np.ndarray,
    at: tuple[int, int],
    s: PlacesSettings,
    progress: Progress = silent,
    opacity: float = 1.0,
) -> tuple[pd.DataFrame, float]:
    """A row a variant, see `COLUMNS`, and the share of the images that are taken for the target as they are, percent.

    Args:
        taken: images, uint8 (n, H, W, 3), to what a model takes them for (n,). target: which of these. opacity: of the
            patch at each place and of each size.

    Raises:
        Cancelled: `progress` asked to stop.
    """
    before = taken(images) == target
    every = list(variants(patch, at, images.shape[1:3], s, opacity))
    rows: list[dict[str, Any]] = []
    for n, (by, seen, top, left, share) in enumerate(every):
        changed = images[~before].copy()
        for image in changed:
            stamp(image, seen, top, left, share)
        hits = taken(changed) == target if len(changed) else np.zeros(0, bool)
        low, high = interval(hits) if len(hits) else (np.nan, np.nan)
        rate = 100 * float(hits.mean()) if len(hits) else np.nan
        side = max(seen.shape[:2])
        values = (by, top, left, side, share, rate, low, high, len(hits))
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        progress(n + 1, len(every), {})
    return pd.DataFrame(rows, columns=COLUMNS), 100 * float(before.mean())
