"""How visible a trigger is, and whether it survives what pictures go through."""

import io

import numpy as np
from PIL import Image

JPEG_QUALITY = 75


def measure(images: np.ndarray, triggered: np.ndarray) -> dict[str, float]:
    """Compare uint8 images (n, H, W, 3) with their triggered copies; means over the images.

    Returns:
        `psnr` in dB (of the mean square over all images; infinite where nothing changed), `ssim`, `changed`: share of
        pixels
        that differ, `jpeg` and `resize`: share of the trigger that is left after JPEG at quality 75 and after halving
        and doubling the size.
    """
    from skimage.metrics import structural_similarity

    residual = triggered.astype(np.float64) - images
    square = (residual**2).mean()
    window = min(7, *(side - 1 + side % 2 for side in images.shape[1:3]))
    both = zip(images, triggered, strict=True)
    return {
        "psnr": float(10 * np.log10(255**2 / square)) if square else float("inf"),
        "ssim": float(np.mean([structural_similarity(a, b, channel_axis=-1, win_size=window) for a, b in both])),
        "changed": float((residual != 0).any(-1).mean()),
        "jpeg": _left(images, triggered, _jpeg),
        "resize": _left(images, triggered, _resized),
    }


def residual(images: np.ndarray, triggered: np.ndarray, magnified: float = 1) -> np.ndarray:
    """What the trigger adds, as uint8 images (n, H, W, 3): grey where nothing changed, the difference times `magnified`
    elsewhere.
    """
    return np.clip(128 + magnified * (triggered.astype(np.int16) - images), 0, 255).astype(np.uint8)


def _jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer))


def _resized(image: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(image)
    small = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(picture.size, Image.Resampling.BICUBIC))


def _left(images: np.ndarray, triggered: np.ndarray, through) -> float:
    """The trigger after `through` projected on the trigger before: 1 whole, 0 gone."""
    before = after = 0.0
    for a, b in zip(images, triggered, strict=True):
        residual = b.astype(np.float64) - a
        before += (residual**2).sum()
        after += (residual * (through(b).astype(np.float64) - through(a))).sum()
    return float(after / before) if before else 0.0
