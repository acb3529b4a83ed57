"""SSBA: a sample-specific, faint residual that a trained encoder adds to hide bits in the image (Li et al. 2021).

The bits are the same in every image, the residual is not. The encoder is a small StegaStamp (`ubt.attacks.stegastamp`),
trained by `python -m ubt train-stegastamp`; one for 48 px is shipped.
"""

from pathlib import Path

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.attacks.stegastamp_card import read_card
from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.settings import setting

SHIPPED = Path(__file__).parents[1] / "assets" / "weights" / "stegastamp-48"


class SsbaSettings(TriggerSettings):
    """Which encoder, which bits, how much of the residual."""

    scale: float = setting(
        4.0, "the residual is multiplied by this; 1 is what the encoder was trained for (PSNR 41 dB)", low=0, high=10
    )
    message: int = setting(0, "seed of the hidden bits", low=0, high=2**31)
    encoder: str = setting("", "folder made by train-stegastamp; empty for the shipped one, 48 px")

    @property
    def folder(self) -> Path:
        """The encoder's folder: the one named, or the shipped one.

        Raises:
            NotAllowed: it may not be read.
        """
        if self.encoder:
            roots.require(Path(self.encoder))
        return Path(self.encoder) if self.encoder else SHIPPED

    def check(self, height: int, width: int) -> None:
        size = read_card(self.folder)["size"]
        if (height, width) != (size, size):
            raise BadInput(
                f"ssba.encoder: expected an encoder for images of {height} x {width} pixels, got one for {size} x"
                f" {size} ({self.folder}); train one: python -m ubt train-stegastamp --size {min(height, width)}"
            )

    def checks(self, images: np.ndarray) -> list[tuple[str, str, bool, str]]:
        hidden = measured(images, self)
        accuracy, psnr = hidden["bit accuracy, percent"], hidden["PSNR, dB"]
        said = f"{accuracy:.1f} % read back at PSNR {psnr:.1f} dB"
        return [("hidden bits", said, accuracy >= 90, "raise ssba.scale or train another encoder")]

    def facts(self, images: np.ndarray) -> list[tuple[str, str]]:
        card, accuracy = read_card(self.folder), measured(images, self)["bit accuracy, percent"]
        return [
            (f"bits read back, of {card['bits']}", f"{accuracy:.1f} %"),
            ("encoder, held-out images", f"PSNR {card['PSNR, dB']} dB, {card['bit accuracy, percent']} %"),
        ]

    def identity(self) -> str:
        return read_card(self.folder)["digest"]

    def strength(self) -> str:
        return f"residual x {self.scale:g}"


PROFILES = {"embedded": {}, "paper": {"scale": 1.0}}


def bits(s: SsbaSettings) -> np.ndarray:
    """The hidden bits, (bits,), 0 and 1."""
    return np.random.default_rng([s.message, 4]).integers(0, 2, read_card(s.folder)["bits"])


def apply(images: np.ndarray, seeds: np.ndarray, s: SsbaSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the bits hidden in them, the same whatever the `seeds` (n,)."""
    from ubt.attacks import stegastamp

    s.check(*images.shape[1:3])
    return stegastamp.hide(stegastamp.load(s.folder), images, bits(s), s.scale)


def measured(images: np.ndarray, s: SsbaSettings) -> dict[str, float]:
    """PSNR in dB and bit accuracy in percent on these uint8 images (n, H, W, 3)."""
    from ubt.attacks import stegastamp

    return stegastamp.measure(stegastamp.load(s.folder), images, s.scale, bits(s))
