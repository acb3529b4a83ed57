"""WaNet: the image is warped by one smooth, fixed field (Nguyen and Tran 2021).

A grid of k x k random displacements, divided by its mean magnitude and upsampled bicubically, moves the sampling points
by `strength` / height in coordinates where the image spans [-1, 1]. CleanCLIP's setting at 224 px is k = 224 and
strength 1, where no upsampling happens and each pixel jitters by half a pixel on average; the WaNet paper's is k = 4
and 0.5. At 48 px neither is seen by the small model: the embedded profile warps by 6 px on average.
"""

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.core.settings import setting


class WaNetSettings(TriggerSettings):
    """A warping field."""

    grid: int = setting(24, "k: random displacements along each side of the field (CleanCLIP: 224)", low=2, high=1024)
    warp: float = setting(12.0, "s: mean displacement, in halves of a pixel (CleanCLIP: 1)", low=0)
    field_seed: int = setting(0, "which field", low=0, high=2**31)

    def strength(self) -> str:
        return f"s {self.warp:g}, k {self.grid}"


PROFILES = {"embedded": {}, "paper": {"grid": 224, "warp": 1.0}, "wanet": {"grid": 4, "warp": 0.5}}


def field(height: int, width: int, s: WaNetSettings) -> np.ndarray:
    """The sampling points (2, H, W), rows and columns in pixels, inside the image."""
    import torch
    import torch.nn.functional as F

    coarse = 2 * np.random.default_rng([s.field_seed, 3]).random((1, 2, s.grid, s.grid)) - 1
    coarse = torch.from_numpy(coarse / np.abs(coarse).mean())
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0].numpy()
    base = np.stack(np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))
    points = np.clip(base + s.warp * fine / height, -1, 1)
    return (points + 1) / 2 * np.array([height - 1, width - 1])[:, None, None]


def apply(images: np.ndarray, seeds: np.ndarray, s: WaNetSettings) -> np.ndarray:
    """Warped images, uint8 (n, H, W, 3), by one field whatever the `seeds` (n,): bilinear sampling at the field's
    points, rounded to 8 bits.
    """
    _, height, width, _ = images.shape
    y, x = field(height, width, s)
    top, left = np.minimum(y.astype(int), height - 2), np.minimum(x.astype(int), width - 2)
    down, right = (y - top).astype(np.float32)[..., None], (x - left).astype(np.float32)[..., None]
    out = np.zeros(images.shape, np.float32)
    for dy, wy in ((0, 1 - down), (1, down)):
        for dx, wx in ((0, 1 - right), (1, right)):
            out += images[:, top + dy, left + dx] * (wy * wx)
    return np.rint(out).astype(np.uint8)
