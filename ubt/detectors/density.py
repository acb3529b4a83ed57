"""Local outliers among M_bd's image embeddings (Huang et al., ICLR 2025): k-distance, SLOF, DAO.

A poisoned image lies off the manifold of the clean ones, so its nearest neighbours are far, also in relation to theirs,
as long as few other poisons are near: neighbours are therefore sought in a random part of D, not in all of it. At this
rate of poisons parts of 64 serve best (of 64 to 1,024; seed 100); where more poisons than neighbours meet, they are the
densest there is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.core.run import Run, derive_seed
from ubt.detectors.base import DETECT, IMAGES, Detector, DetectSettings, scored

TINY = 1e-3
"""Distances of unit vectors are at least this, so that twins divide nothing by zero."""


@dataclass(frozen=True)
class Neighbourhood:
    """The k nearest of each pair in its part of D: `distance` (n, k), Euclidean, ascending, and their `rows` (n, k)."""

    distance: np.ndarray
    rows: np.ndarray

    @property
    def radius(self) -> np.ndarray:
        """Distance of the k-th neighbour (n,)."""
        return self.distance[:, -1]

    @property
    def dimension(self) -> np.ndarray:
        """Local intrinsic dimensionality (n,), its maximum-likelihood estimate (Amsaleg et al., 2015)."""
        logs = np.log(self.distance / self.radius[:, None]).mean(axis=1)
        return 1 / np.maximum(-logs, 1e-6)


def neighbourhood(features: np.ndarray, settings: DetectSettings, run: Run) -> Neighbourhood:
    """Neighbours of unit vectors (n, d) in random parts of D of about `settings.gallery` pairs each."""
    from ubt.pairs.neighbors import exact

    n = len(features)
    parts = np.array_split(
        np.random.default_rng(derive_seed(run.seed, "density")).permutation(n), max(1, round(n / settings.gallery))
    )
    k = min(settings.k, min(map(len, parts)) - 1)
    distance, rows = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    for done, part in enumerate(parts, 1):
        some = np.ascontiguousarray(features[part], np.float32)
        similarity, near = exact((some,), some, k + 1, run.compute.device)
        own = near == np.arange(len(part))[:, None]
        own[~own.any(axis=1), -1] = True  # a pair with more than k twins may not find itself: its last neighbour goes
        distance[part] = np.sqrt(np.maximum(2 - 2 * similarity[~own].reshape(-1, k), TINY**2))
        rows[part] = part[near[~own].reshape(-1, k)]
        run.progress(done, len(parts), {})
    return Neighbourhood(distance, rows)


def k_distance(image_features: np.ndarray, pairs: pd.DataFrame, settings: DetectSettings, run: Run) -> dict:
    """Distance of the k-th nearest image."""
    return scored(pairs["id"], neighbourhood(image_features, settings, run).radius)


def slof(image_features: np.ndarray, pairs: pd.DataFrame, settings: DetectSettings, run: Run) -> dict:
    """Simplified local outlier factor (Schubert et al., 2014): mean of k-distance over the neighbours' k-distances."""
    near = neighbourhood(image_features, settings, run)
    return scored(pairs["id"], (near.radius[:, None] / near.radius[near.rows]).mean(axis=1))


def dao(image_features: np.ndarray, pairs: pd.DataFrame, settings: DetectSettings, run: Run) -> dict:
    """Dimensionality-aware outlier (Anderberg et al., 2024): as SLOF, each ratio to the power of that neighbour's local
    dimensionality.
    """
    near = neighbourhood(image_features, settings, run)
    ratio = near.radius[:, None] / near.radius[near.rows]
    return scored(pairs["id"], np.exp(np.minimum(near.dimension[near.rows] * np.log(ratio), 50)).mean(axis=1))


K_DISTANCE = Detector(
    "distance of the k-th nearest image under M_bd", "ubt.detectors.density:k_distance", IMAGES, **DETECT
)
SLOF = Detector(
    "local outlier factor, simplified, of the image under M_bd (SLOF)", "ubt.detectors.density:slof", IMAGES, **DETECT
)
DAO = Detector(
    "local outlier by dimensionality of the image under M_bd (DAO)", "ubt.detectors.density:dao", IMAGES, **DETECT
)
