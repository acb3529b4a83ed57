"""How far a small part of an image draws clean images to where the whole of it lies (ours): a patch that is a trigger
does to any image what it does to its own; a part of what an image shows does not.

Each part is covered in turn; those without which the image moves farthest are pasted on clean images.
"""

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.detectors.gate.base import ImageDetector, Own, Watched, blocks, covered, embed, some, windows


class PastedSettings(Settings):
    """Which parts, and on how many images."""

    side: float = setting(0.25, "side of a part, as a share of the image's", low=0.02, high=1)
    stride: float = setting(0.1875, "distance of the parts, as a share of the image's side", low=0.02, high=1)
    parts: int = setting(2, "parts that are pasted", low=1)
    images: int = setting(12, "clean images that they are pasted on", low=2)


def prepare(watched: Watched, s: PastedSettings, seed: int) -> Own:
    """Choose the clean images. The score is the mean gain of their cosines with the image that a part is of, the
    largest over its parts.
    """
    under = some(watched, s.images, seed)
    own = embed(watched.model, under)

    def of_block(images: np.ndarray) -> np.ndarray:
        places, features = windows(*images.shape[1:3], s.side, s.stride), embed(watched.model, images)
        moved = np.stack([(embed(watched.model, covered(images, at)) * features).sum(1) for at in places])
        first, before = moved.argsort(0)[: s.parts], own @ features.T
        gains = []
        for chosen in first:
            made = np.concatenate([_pasted(image, under, places[i]) for image, i in zip(images, chosen, strict=True)])
            after = embed(watched.model, made).reshape(len(images), len(under), -1)
            gains.append(np.einsum("nzd,nd->nz", after, features).mean(1) - before.mean(0))
        return np.max(gains, 0)

    def score(images: np.ndarray) -> np.ndarray:
        return np.concatenate([of_block(part) for part in blocks(images, s.images + 1)] or [np.zeros(0)])

    return score


def _pasted(image: np.ndarray, under: np.ndarray, at: tuple[slice, slice]) -> np.ndarray:
    out = under.copy()
    out[:, at[0], at[1]] = image[at]
    return out


PASTED = ImageDetector(
    "how far a small part of the image draws clean images to where it lies itself (ours)",
    PastedSettings,
    prepare,
    draws=True,
)
