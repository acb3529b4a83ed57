"""How images of any shape become squares of a model's size: as its configuration says, in open_clip's words."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

RESIZING: dict[str, tuple[Any, ...]] = {
    "interpolation": ("bicubic", "bilinear"),
    "resize_mode": ("shortest", "longest", "squash"),
}
"""What a configuration may say."""
_KERNELS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Fit:
    """`resize_mode`: the shorter side becomes the model's and the middle is cut out (`shortest`), the longer side and
    the rest is filled with the grey `fill_color` (`longest`), or both whatever their ratio (`squash`).
    """

    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def of(cls, preprocess_cfg: dict[str, Any]) -> "Fit":
        """That of a checked `preprocess_cfg`; what it does not say is open_clip's default."""
        return cls(**{name: preprocess_cfg[name] for name in vars(cls()) if name in preprocess_cfg})

    def __call__(self, image: Image.Image, size: int) -> Image.Image:
        """An RGB image as a square of `size` pixels, as open_clip makes it for evaluation."""
        kernel = _KERNELS[self.interpolation]
        if self.resize_mode == "squash":
            return image if image.size == (size, size) else image.resize((size, size), kernel)
        width, height = image.size
        if self.resize_mode == "longest":
            scale = max(width, height) / size
            width, height = round(width / scale), round(height / scale)
            square = Image.new("RGB", (size, size), (self.fill_color,) * 3)
            small = image if image.size == (width, height) else image.resize((max(1, width), max(1, height)), kernel)
            square.paste(small, ((size - width) // 2, (size - height) // 2))
            return square
        short = min(width, height)
        if short != size:
            width, height = int(size * width / short), int(size * height / short)
            image = image.resize((width, height), kernel)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return image.crop((left, top, left + size, top + size))

    def __str__(self) -> str:
        return f"{self.interpolation}, {self.resize_mode}"


STOCK = Fit()
"""OpenAI's and open_clip's default."""
