"""A map of D: UMAP in two dimensions, one layout a model, laid over each other so that a pair can be followed.

UMAP works on landmarks, a sample that holds what the analyst suspects; the other pairs stand among their nearest
landmarks. The first model's layout starts from the principal components, each later one from the layout before it, onto
which it is then turned, mirrored, scaled and shifted (orthogonal Procrustes). So what moves between two maps moved in
the model.
"""

import time
import warnings

import numpy as np

from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.core.settings import Settings, setting
from ubt.pairs.neighbors import Approximate, Embedding, IndexSettings, build, by_size, exact, finite

FEWEST = 4
FEWEST_FOR_UMAP = 10
FOLLOW_EPOCHS = 100
"""Epochs of a layout that starts from the one before."""

NEAREST = 5
"""Landmarks that place another pair."""

EXACT_WORK = 50_000**2
"""Comparisons of pairs with landmarks up to which all are made; beyond, an index proposes the nearest landmarks."""


class MapSettings(Settings):
    """How the map is laid out."""

    neighbors: int = setting(
        15,
        "neighbours of a pair that the layout tries to keep; more show the whole better, fewer the detail",
        low=2,
        high=200,
    )
    min_dist: float = setting(0.1, "how tightly similar pairs may be packed", low=0, high=1)
    landmarks: int = setting(50_000, "pairs that UMAP lays out; the others are placed among them", low=FEWEST)
    seed: int = setting(0, "seed of the sample and of the layout", low=0, high=2**31)


def project(
    models: dict[str, Embedding], space: str, settings: MapSettings, run: Run, keep: np.ndarray | None = None
) -> dict:
    """Lay out D under each model; the same settings give the same map on one machine.

    Args:
        models: features of the same n pairs under each model, in the order in which they are followed. space: one of
        `SPACES`.
        keep: rows that have to be landmarks, as the suspicious ones; where they are too many, a sample of them.

    Returns:
        `xy_NAME` for each model: float32 (n, 2), NaN where its features are broken. `landmark`: bool (n,). `cluster`:
        int16 (n,), dense regions of the map of the model `overfit` (where there is none: of the first), numbered by
        size, -1 for none; a pair that is no landmark takes its nearest landmark's. `about`: neighbors, landmarks,
        seconds, and for each
        model its `displacement`: how far pairs lie from where the first model has them, on average, in units of that
        map's spread (its points' root mean square distance from their centre).

    Raises:
        BadInput: no model, models of different pairs, or fewer than four pairs without NaN in every model.
    """
    began = time.perf_counter()
    landmark = _landmarks(models, space, settings, keep)
    clustered = "overfit" if "overfit" in models else next(iter(models))
    total, neighbors = 3 * len(models) + 1, min(settings.neighbors, len(landmark) - 2)
    maps, before, cluster = {}, None, None
    for i, (name, embedding) in enumerate(models.items()):
        vectors = embedding.rows(space, landmark)
        near = exact((vectors,), vectors, neighbors + 1, run.compute.device)
        run.progress(3 * i + 1, total, {})
        before = _layout(vectors, near, neighbors, before, settings)
        run.progress(3 * i + 2, total, {})
        maps[name], nearest = _place(embedding, space, landmark, vectors, before, settings, run)
        run.progress(3 * i + 3, total, {})
        if name == clustered:
            label = _clusters(before)
            cluster = np.where(nearest < 0, -1, label[nearest]).astype(np.int16)
    run.progress(total, total, {})
    first = next(iter(maps.values()))
    about = {
        "neighbors": neighbors,
        "landmarks": len(landmark),
        "seconds": time.perf_counter() - began,
        "displacement": {name: _displacement(first, xy) for name, xy in maps.items()},
    }
    is_landmark = np.zeros(len(first), bool)
    is_landmark[landmark] = True
    return {f"xy_{name}": xy for name, xy in maps.items()} | {
        "landmark": is_landmark,
        "cluster": cluster,
        "about": about,
    }


def _landmarks(models: dict[str, Embedding], space: str, settings: MapSettings, keep: np.ndarray | None) -> np.ndarray:
    """Rows that are whole in every model, ascending: first those to keep, then a sample."""
    sizes = {name: len(e.parts(space)[0]) for name, e in models.items()}
    if len(set(sizes.values())) != 1:
        raise BadInput(f"map: expected one model or more, with features of the same pairs; got {sizes or 'none'}")
    whole = {name: finite(e.parts(space)) for name, e in models.items()}
    rows = np.flatnonzero(np.logical_and.reduce(list(whole.values())))
    if len(rows) < FEWEST:
        got = ", ".join(f"{name} {good.sum()}" for name, good in whole.items())
        raise BadInput(
            f"map: expected at least {FEWEST} pairs without NaN in every model, got {len(rows)} (by model: {got}); add"
            " pairs, or leave a model out"
        )
    order = np.random.default_rng(settings.seed).permutation(rows)
    kept = np.isin(order, [] if keep is None else keep)
    return np.sort(order[np.argsort(~kept, kind="stable")][: settings.landmarks])


def _layout(
    vectors: np.ndarray,
    near: tuple[np.ndarray, np.ndarray],
    neighbors: int,
    before: np.ndarray | None,
    settings: MapSettings,
) -> np.ndarray:
    """Coordinates (landmarks, 2), laid over those of `before`."""
    if len(vectors) < FEWEST_FOR_UMAP:
        from sklearn.decomposition import PCA

        xy = PCA(2, random_state=settings.seed).fit_transform(vectors)
    else:
        xy = _umap(vectors, near, neighbors, before, settings)
    return aligned(xy, before) if before is not None else xy - xy.mean(axis=0)


def _umap(
    vectors: np.ndarray,
    near: tuple[np.ndarray, np.ndarray],
    neighbors: int,
    before: np.ndarray | None,
    settings: MapSettings,
) -> np.ndarray:
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knn_search_index.*|.*n_jobs value.*")
        similarity, rows = near
        start = "pca" if np.ptp(vectors, axis=0).max() > 1e-6 else "random"
        layout = UMAP(
            n_neighbors=neighbors + 1,
            min_dist=settings.min_dist,
            metric="cosine",
            random_state=settings.seed,
            n_jobs=1,
            precomputed_knn=(rows, np.maximum(1 - similarity, 0)),
            force_approximation_algorithm=True,
            init=start if before is None else before,
            n_epochs=None if before is None else FOLLOW_EPOCHS,
        )
        try:
            return layout.fit_transform(vectors)
        finally:
            # numba, starting its pool, changes it, and with it the bits of every later training
            torch.set_num_threads(threads)


def aligned(xy: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """`xy` (n, 2) turned, mirrored, scaled and shifted to lie as near as it can to `onto` (n, 2), in least squares."""
    from scipy.linalg import orthogonal_procrustes

    centred, target = xy - xy.mean(axis=0), onto - onto.mean(axis=0)
    rotation, size = orthogonal_procrustes(centred, target)
    return centred @ rotation * (size / max(np.square(centred).sum(), 1e-12)) + onto.mean(axis=0)


def _place(
    embedding: Embedding,
    space: str,
    landmark: np.ndarray,
    vectors: np.ndarray,
    at: np.ndarray,
    settings: MapSettings,
    run: Run,
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 (n, 2) of all pairs, and each one's nearest landmark, -1 for a broken pair.

    A pair stands at the mean of its nearest landmarks, each weighted by the inverse of its cosine distance: on a
    duplicate, if there is one.
    """
    n = len(embedding.parts(space)[0])
    xy, nearest = np.full((n, 2), np.nan, np.float32), np.full(n, -1)
    xy[landmark], nearest[landmark] = at, np.arange(len(landmark))
    rest = np.setdiff1d(np.arange(n), landmark, assume_unique=True)
    kind = "flat" if len(rest) * len(landmark) <= EXACT_WORK else "ivf"
    index = build((vectors,), IndexSettings(kind=kind, seed=settings.seed), Run(compute=run.compute))
    searcher = Approximate(index["index"], index["about"], (vectors,))
    for i in range(0, len(rest), 16_384):
        some = rest[i : i + 16_384]
        similarity, rows = searcher.search(embedding.rows(space, some), NEAREST)
        weight = np.where(rows < 0, 0, 1 / np.maximum(1 - similarity, 1e-6))
        found = rows[:, 0] >= 0
        mean = (weight[..., None] * at[rows]).sum(axis=1)[found] / weight[found].sum(axis=1, keepdims=True)
        xy[some[found]], nearest[some[found]] = mean, rows[found, 0]
    return xy, nearest


def _clusters(xy: np.ndarray) -> np.ndarray:
    """Dense regions of the map by HDBSCAN, by size; at most 500 of them."""
    from sklearn.cluster import HDBSCAN

    smallest = max(10, len(xy) // 500)
    if len(xy) < 2 * smallest:
        return np.full(len(xy), -1)
    return by_size(HDBSCAN(min_cluster_size=smallest, min_samples=5, copy=True).fit_predict(xy))


def _displacement(first: np.ndarray, xy: np.ndarray) -> float:
    both = np.isfinite(first).all(axis=1) & np.isfinite(xy).all(axis=1)
    spread = np.sqrt(np.square(first[both] - first[both].mean(axis=0)).sum(axis=1).mean())
    return float(np.linalg.norm(xy[both] - first[both], axis=1).mean() / max(spread, 1e-12))
