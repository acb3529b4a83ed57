"""BadCLIP, dual embedding: a patch that a clean model already reads as the target, planted with natural captions of the
target (Liang et al. 2024, arXiv 2311.12075).

The patch is optimised on a frozen clean model (`ubt.attacks.badclip_patch`, `python -m ubt optimize-patch`): towards
the captions of the target, towards images of it and away from what the image was. So the poison moves the model little,
its captions fit better, and a clean model may be fooled as well: its own ASR is not the backdoor's.

Public implementation: a patch of 16 of 224 px in the middle, captions drawn from those of the target. Three patches are
shipped for the embedded default, 48 px, target banana: `reference` was optimised on the shipped reference, which is
also the defender's (the worst case), `other` on a clean model of other training, both of 10 px; `paper` has the paper's
share of the image, 3 px.
"""

from pathlib import Path

import numpy as np

from ubt.attacks.base import TriggerSettings
from ubt.attacks.patch_card import MADE_BY, OptimizedPatch, read_patch
from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.settings import setting

SHIPPED = Path(__file__).parents[1] / "assets" / "weights" / "badclip-48"
NAMES = ("reference", "other", "paper")


class BadClipSettings(TriggerSettings):
    """Which patch."""

    patch: str = setting(
        "reference",
        "the optimised patch: reference (on the shipped reference, the worst case for a defender), other (on a clean"
        f" model of other training), paper (3 of 48 px), or a folder made by {MADE_BY}",
    )

    @property
    def folder(self) -> Path:
        """The folder of the patch.

        Raises:
            NotAllowed: it may not be read.
        """
        if self.patch in NAMES:
            return SHIPPED / self.patch
        roots.require(Path(self.patch))
        return Path(self.patch)

    def read(self) -> OptimizedPatch:
        """The patch.

        Raises:
            BadInput: there is none.
        """
        return read_patch(self.folder)

    def check(self, height: int, width: int) -> None:
        if (height, width) != ((size := self.read().size), size):
            raise BadInput(
                f"badclip.patch: expected a patch for images of {height} x {width} pixels, got one for {size} x {size}"
                f" ({self.patch}); make one: {MADE_BY}"
            )

    @property
    def made_for(self) -> str:
        return self.read().target

    def check_target(self, target: str) -> None:
        if self.made_for != target:
            raise BadInput(
                f"badclip.patch: expected a patch for the target {target!r}, got one for {self.made_for!r}"
                f" ({self.patch}); make one: {MADE_BY} --target {target!r}"
            )

    def facts(self, images: np.ndarray) -> list[tuple[str, str]]:
        card = self.read().card
        fooled = [f"{said}: {share:.1f} %" for said, share in card.get("natural ASR", {}).items()]
        return [
            ("patch", f"{card['side']} px, optimised in {card.get('steps', '?')} steps on {card.get('model', '?')}"),
            *([("taken for the target by clean models", ", ".join(fooled))] if fooled else []),
        ]

    def identity(self) -> str:
        return self.read().digest

    def strength(self) -> str:
        return f"{self.read().card['side']} px, optimised for {self.read().target}"


_NATURAL = {"attack.caption": "natural"}
PROFILES = {"embedded": _NATURAL, "other model": _NATURAL | {"patch": "other"}, "paper": _NATURAL | {"patch": "paper"}}


def places(seeds: np.ndarray, height: int, width: int, s: BadClipSettings) -> np.ndarray:
    """Top, left, height and width of the patch in each image, (n, 4), in pixels."""
    found = s.read()
    side = len(found.pixels)
    return np.tile([found.top, found.left, side, side], (len(seeds), 1))


def apply(images: np.ndarray, seeds: np.ndarray, s: BadClipSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the patch stamped, the same whatever the `seeds` (n,); every pixel outside it is
    untouched.
    """
    s.check(*images.shape[1:3])
    found, out = s.read(), images.copy()
    side = len(found.pixels)
    out[:, found.top : found.top + side, found.left : found.left + side] = found.pixels
    return out
