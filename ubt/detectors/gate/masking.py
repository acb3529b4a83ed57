"""Masking trajectory (BackdoorIDS, arXiv 2603.11664): more and more parts of an image are covered, in random order; the
embedding of a triggered image jumps where the trigger goes, that of a clean one drifts.

The paper clusters the embeddings along the way (DBSCAN) and calls an image triggered where there is more than one
cluster. The score here is the distance from which on they are one: the longest edge of their minimum spanning tree, the
median over several orders.
"""

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from ubt.core.settings import Settings, setting
from ubt.detectors.gate.base import GREY, ImageDetector, Own, Watched, embed, windows


class MaskingSettings(Settings):
    """How images are covered."""

    orders: int = setting(3, "random orders", low=1)
    steps: int = setting(9, "steps of each", low=2)
    side: float = setting(1 / 6, "side of a part, as a share of the image's", low=0.01, high=0.5)


def prepare(watched: Watched, s: MaskingSettings, seed: int) -> Own:
    """Nothing is to be prepared."""

    def score(images: np.ndarray) -> np.ndarray:
        found = [trajectory(watched.model, images, s, [seed, order])[0] for order in range(s.orders)]
        return np.median(found, 0) if len(images) else np.zeros(0)

    return score


def trajectory(model, images: np.ndarray, s: MaskingSettings, seed: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The longest edge (n,) of each image's path, and how like the whole image it is at each step, cosines
    (steps, n); the parts are covered in the order that the seed draws.
    """
    places, covered = windows(*images.shape[1:3], s.side, s.side), images.copy()
    order = np.random.default_rng(seed).permutation(len(places))
    seen = [embed(model, images)]
    for part in np.array_split(order, s.steps)[:-1]:
        for i in part:
            covered[:, places[i][0], places[i][1]] = GREY
        seen.append(embed(model, covered))
    path = np.stack(seen)
    apart = 1 - np.einsum("snd,tnd->nst", path, path)
    longest = [minimum_spanning_tree(np.maximum(one, 1e-9)).max() for one in apart]
    return np.array(longest), 1 - apart[:, 0].T


MASKING = ImageDetector(
    "how far the image jumps while more and more of it is covered (BackdoorIDS)",
    MaskingSettings,
    prepare,
    (),
    draws=True,
)
