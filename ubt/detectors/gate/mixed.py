"""How far an image, blended with clean ones, draws them to where it lies itself: a trigger over the whole image
survives the blend, what an image shows is lost in it.

The idea is STRIP's (Gao et al. 2019, arXiv 1902.06531), which looks at the entropy of a classifier's answers; here the
embeddings are looked at, so that no classes are needed.
"""

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.detectors.gate.base import ImageDetector, Own, Watched, blocks, embed, some


class MixedSettings(Settings):
    """How images are blended."""

    share: float = setting(0.5, "of the image in the blend", low=0.01, high=1)
    images: int = setting(12, "clean images that it is blended with", low=2)


def prepare(watched: Watched, s: MixedSettings, seed: int) -> Own:
    """Choose the clean images. The score is the mean gain of their cosines with the image."""
    under = some(watched, s.images, seed)
    own, rest = embed(watched.model, under), (1 - s.share) * under.astype(np.float32)

    def of_block(images: np.ndarray) -> np.ndarray:
        features = embed(watched.model, images)
        made = np.rint(s.share * images[:, None].astype(np.float32) + rest).astype(np.uint8)
        after = embed(watched.model, made.reshape(-1, *images.shape[1:])).reshape(len(images), len(under), -1)
        return np.einsum("nzd,nd->nz", after, features).mean(1) - (own @ features.T).mean(0)

    def score(images: np.ndarray) -> np.ndarray:
        return np.concatenate([of_block(part) for part in blocks(images, 4 * s.images)] or [np.zeros(0)])

    return score


MIXED = ImageDetector(
    "how far the image, blended with clean ones, draws them to where it lies itself (after STRIP)",
    MixedSettings,
    prepare,
    draws=True,
)
