"""Nearest neighbours by cosine similarity, exact and through a FAISS index, and groups of near-duplicates.

Features are L2-normalised fp32 arrays (n, d), often memory maps of up to a million rows, so no function copies all of
one. A space is one array or two side by side: the joint similarity of two pairs is the mean of the similarities of
their images and of their captions, which is the inner product of the concatenations over the square root of 2. A pair
with a NaN or an infinity in its features is nobody's neighbour and has none.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ubt.core.errors import BadInput
from ubt.core.run import Progress, Run, silent
from ubt.core.settings import Settings, setting

SPACES = ("image", "caption", "joint")

BLOCK = 8 << 20
"""Bytes of features looked at in one go: few enough to stay in a processor's cache."""

GPU_BLOCK = 256 << 20
GPU_MOST = 2048
"""Neighbours that FAISS finds at most on a GPU; more are found on the CPU."""

SAMPLES = 200
"""Pairs that probes are chosen on, and as many others that the recall is measured on."""

AIM = 0.97
STEPS, SLACK = 4, 0.003
"""The recall that the index aims at; probes stop growing when so many steps have not added so much."""
CANDIDATES = 4
"""Candidates for each neighbour that the index gives and the memory map decides on."""


@dataclass(frozen=True)
class Embedding:
    """A model's normalised features of D: images (n, d) and captions (n, d'), either of which may be absent.

    Raises:
        BadInput: they are not of the same pairs.
    """

    images: np.ndarray | None = None
    captions: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = [a.shape for a in (self.images, self.captions) if a is not None]
        if any(len(s) != 2 for s in shapes) or len({s[0] for s in shapes}) > 1:
            raise BadInput(
                "features: expected image and caption features of the same pairs, each (pairs, width); got"
                f" {' and '.join(map(str, shapes))}"
            )

    def parts(self, space: str) -> tuple[np.ndarray, ...]:
        """The arrays that make up a space, one or two.

        Raises:
            BadInput: the space is unknown, or the features it needs are absent.
        """
        if space not in SPACES:
            raise BadInput(f"space: expected one of {', '.join(SPACES)}; got {space!r}")
        needed = (
            {"image": self.images}
            if space == "image"
            else {"caption": self.captions}
            if space == "caption"
            else vars(self)
        )
        for name, part in needed.items():
            if part is None:
                raise BadInput(
                    f"space {space}: expected {name.removesuffix('s')} features, got none; score the pairs first or"
                    " choose another space"
                )
        return tuple(needed.values())

    def rows(self, space: str, rows: np.ndarray) -> np.ndarray:
        """The unit vectors of some rows in a space, fp32 (q, d), or (q, d + d') where the space is joint.

        >>> two = Embedding(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
        >>> two.rows("joint", np.array([2])).astype(float).round(2).tolist()
        [[0.0, 0.0, 0.71, 0.0, 0.0, 0.71]]
        """
        return _unit_rows(self.parts(space), rows)


class IndexSettings(Settings):
    """Which index finds neighbours."""

    kind: str = setting(
        "auto",
        "exact (flat), inverted lists (ivf) or a graph (hnsw); auto: flat while D is small, else ivf",
        choices=("auto", "flat", "ivf", "hnsw"),
    )
    approximate_from: int = setting(200_000, "pairs from which auto approximates", low=1)
    lists: int = setting(0, "inverted lists of ivf; 0 means four times the square root of the number of pairs", low=0)
    probes: int = setting(
        0,
        "lists searched for a query (hnsw: candidates kept); 0 means as many as recall@10 of at least 0.95 takes",
        low=0,
    )
    seed: int = setting(0, "seed of the training sample and of the pairs measured on", low=0, high=2**31)


def finite(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Which pairs have no NaN and no infinity in any part, bool (n,)."""
    good = np.ones(len(parts[0]), bool)
    for part in parts:
        step = max(1, BLOCK // (part.shape[1] * part.itemsize))
        for i in range(0, len(part), step):
            good[i : i + step] &= np.isfinite(part[i : i + step].sum(axis=1))
    return good


def exact(
    parts: tuple[np.ndarray, ...], queries: np.ndarray, k: int, device: str = "cpu", progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The k pairs most similar to each query, by comparing it with all.

    Args:
        parts: a space's arrays, each (n, width). queries: (q, sum of the widths), as `Embedding.rows` gives them.
        k: cut to n. progress: told the pairs looked at.

    Returns:
        Similarity float32 (q, k), highest first, and rows int64 (q, k). A query that is itself in D finds itself. Where
        there are fewer than k pairs to find (broken ones are left out, and a broken query finds none): NaN and row -1.

    Raises:
        BadInput: the queries' width is not that of the parts, or k is less than 1.
    """
    import faiss

    queries, k = _checked(parts, queries, k)
    gpu = device == "cuda" and k <= GPU_MOST and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    resources = faiss.StandardGpuResources() if gpu else None
    n, step = len(parts[0]), max(1, (GPU_BLOCK if gpu else BLOCK) // (4 * queries.shape[1]))
    scaled = np.ascontiguousarray(queries / np.sqrt(len(parts)), dtype=np.float32)
    found = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start in range(0, n, step):
        block = _side_by_side([part[start : start + step] for part in parts])
        similarity, rows = _nearest(scaled, block, min(k, len(block)), resources)
        found.add_result(similarity, np.where(rows < 0, -1, rows + start))
        progress(min(start + step, n), n, {})
    found.finalize()
    return _marked(found.D, found.I)


def _nearest(queries: np.ndarray, block: np.ndarray, k: int, resources) -> tuple[np.ndarray, np.ndarray]:
    """On the CPU FAISS never takes a NaN, so that only an infinity found means searching again, without broken
    pairs.
    """
    import faiss

    if resources is None:
        similarity, rows = faiss.knn(queries, block, k, faiss.METRIC_INNER_PRODUCT)
        if not np.isposinf(similarity).any():
            return similarity, rows
    good = np.flatnonzero(finite((block,)))
    block = block[good] if len(good) < len(block) else block
    k = min(k, len(good))
    if k == 0:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    if resources is None:
        similarity, rows = faiss.knn(queries, block, k, faiss.METRIC_INNER_PRODUCT)
    else:
        similarity, rows = faiss.knn_gpu(resources, queries, block, k, metric=faiss.METRIC_INNER_PRODUCT)
    return similarity, np.where(rows < 0, -1, good[rows])


def build(parts: tuple[np.ndarray, ...], settings: IndexSettings, run: Run) -> dict:
    """An index of a space, whose parts are (n, embedding) each, and what it is worth, measured.

    Built from the same settings it is the same on one machine; only hnsw's depends on the order in which its threads
    finish.

    Returns:
        `index`: uint8, for `Approximate`; empty where the kind is flat. `about`: kind, pairs, lists, probes,
        recall_at_10 of pairs of D not trained on (equally similar neighbours count as found), seconds a query by
        `exact` and by the index, one query at a time and in a batch of 200, build_seconds, bytes.

    Raises:
        BadInput: fewer than two pairs are without NaN.
    """
    began = time.perf_counter()
    n = len(parts[0])
    good = np.flatnonzero(finite(parts))
    if len(good) < 2:
        raise BadInput(
            f"features: expected at least 2 pairs without NaN, got {len(good)} of {n}; look at how the model was"
            " trained"
        )
    kind = settings.kind if settings.kind != "auto" else "flat" if n < settings.approximate_from else "ivf"
    order = np.random.default_rng(settings.seed).permutation(good)
    held_out, rest = np.split(order, [min(2 * SAMPLES, len(order) // 2)])
    about = {"kind": kind, "pairs": n, "lists": 0, "probes": 0}
    index = np.zeros(0, np.uint8)
    if kind != "flat":
        about["lists"] = min(settings.lists or round(4 * n**0.5), max(1, len(rest) // 4)) if kind == "ivf" else 0
        index = _fill(parts, kind, rest[: max(32 * about["lists"], 10_000)], about["lists"], settings.seed, run)
    searcher = Approximate(index, about, parts)
    k = min(11, len(good))
    choose, measure = _unit_rows(parts, held_out[:SAMPLES]), _unit_rows(parts, held_out[-SAMPLES:])
    if kind != "flat":
        searcher.probes = settings.probes or _enough_probes(
            searcher, choose, exact(parts, choose, k, run.compute.device)[0]
        )
        about["probes"] = searcher.probes
    built = time.perf_counter() - began
    (truth, _), exact_batch = _timed(lambda: exact(parts, measure, k, run.compute.device))
    (found, _), batch = _timed(lambda: searcher.search(measure, k))
    singles = [measure[i : i + 1] for i in range(min(9, len(measure)))]
    one_exact = np.median([_timed(lambda q=q: exact(parts, q, k, run.compute.device))[1] for q in singles])
    one = np.median([_timed(lambda q=q: searcher.search(q, k))[1] for q in singles])
    run.progress(1, 1, {})
    about |= {
        "recall_at_10": _recall(found, truth),
        "exact_one_seconds": float(one_exact),
        "one_seconds": float(one),
        "exact_batch_seconds": exact_batch / len(measure),
        "batch_seconds": batch / len(measure),
        "build_seconds": built,
        "bytes": index.nbytes,
    }
    return {"index": index, "about": about}


def _fill(parts: tuple[np.ndarray, ...], kind: str, sample: np.ndarray, lists: int, seed: int, run: Run) -> np.ndarray:
    """A trained index of all pairs, serialised; vectors are kept in 4 bits a value, an eighth of their memory."""
    import faiss

    n, d, rounds = len(parts[0]), sum(p.shape[1] for p in parts), 10
    step = max(1, (64 << 20) // (4 * d))
    steps = (rounds if kind == "ivf" else 0) + -(-n // step) + 1
    vectors = _unit_rows(parts, np.sort(sample))
    if kind == "ivf":
        centres = None
        for i in range(rounds):
            kmeans = faiss.Kmeans(
                d,
                lists,
                niter=1,
                spherical=True,
                seed=seed % 2**31,
                min_points_per_centroid=1,
                max_points_per_centroid=len(vectors),
            )
            kmeans.train(vectors, init_centroids=centres)
            centres = kmeans.centroids
            run.progress(i + 1, steps, {})
        coarse = faiss.IndexFlatIP(d)
        coarse.add(centres)
        index = faiss.IndexIVFScalarQuantizer(
            coarse, d, lists, faiss.ScalarQuantizer.QT_4bit, faiss.METRIC_INNER_PRODUCT
        )
    else:
        index = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_4bit, 32, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    for i, start in enumerate(range(0, n, step)):
        block = _unit_rows(parts, slice(start, start + step))
        index.add(np.where(np.isfinite(block).all(axis=1, keepdims=True), block, 0))
        run.progress(steps - 1 - (-(-n // step)) + i + 1, steps, {})
    return faiss.serialize_index(index)


def _enough_probes(searcher: "Approximate", queries: np.ndarray, truth: np.ndarray) -> int:
    """The fewest probes, growing by a third, with which the index finds a share of `AIM` of the true neighbours; where
    more of them stop helping before that, for the quantised vectors cannot tell the candidates apart, the fewest that
    find as many.
    """
    most, probes, tried = searcher.most_probes, 1, {}
    while True:
        searcher.probes = probes
        tried[probes] = _recall(searcher.search(queries, truth.shape[1])[0], truth)
        known = list(tried.values())
        if tried[probes] >= AIM or probes == most:
            break
        if len(known) > STEPS and tried[probes] > 0.5 and tried[probes] - known[-1 - STEPS] < SLACK:
            break
        probes = min(most, probes + probes // 3 + 1)
    return min(n for n, found in tried.items() if found >= min(AIM, max(known) - SLACK))


def _recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the ten neighbours beside the query itself that are as similar as the true tenth."""
    return float(np.mean(found[:, 1:] >= truth[:, -1:] - 1e-6))


def _timed(work: Callable):
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


class Approximate:
    """Search through what `build` returned: the index proposes candidates, the features themselves decide.

    Args:
        index, about: of `build`. parts: the same space's arrays.

    Raises:
        BadInput: the index is of another number of pairs.
    """

    def __init__(self, index: np.ndarray, about: dict, parts: tuple[np.ndarray, ...]):
        import faiss

        if about["pairs"] != len(parts[0]):
            raise BadInput(
                f"index: expected features of its {about['pairs']} pairs, got {len(parts[0])}; build the index again"
            )
        self.parts, self.kind = parts, about["kind"]
        self.index = None if self.kind == "flat" else faiss.deserialize_index(np.asarray(index))
        self.probes = max(1, about["probes"])

    @property
    def most_probes(self) -> int:
        """How much of the index a search can look at, at most."""
        return self.index.nlist if self.kind == "ivf" else min(4096, self.index.ntotal)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `exact`, (m, k) each, nearly always the same; where the lists probed hold fewer than k pairs, NaN and row
        -1.
        """
        if self.index is None:
            return exact(self.parts, queries, k)
        import faiss

        queries, k = _checked(self.parts, queries, k)
        wanted = min(CANDIDATES * k, len(self.parts[0]))
        how = (
            faiss.SearchParametersIVF(nprobe=self.probes)
            if self.kind == "ivf"
            else faiss.SearchParametersHNSW(efSearch=max(self.probes, wanted))
        )
        similarity, rows = np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1)
        step = max(1, BLOCK // (4 * queries.shape[1] * wanted)) if len(queries) else 1
        _, candidates = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), wanted, params=how)
        for i in range(0, len(queries), step):
            some = candidates[i : i + step]
            vectors = _side_by_side([part[some] for part in self.parts])
            value = (vectors @ queries[i : i + step, :, None])[:, :, 0] / np.sqrt(len(self.parts), dtype=np.float32)
            value = np.where((some >= 0) & np.isfinite(value), value, -np.inf)
            best = np.argsort(-value, axis=1, kind="stable")[:, :k]
            similarity[i : i + step], rows[i : i + step] = (
                np.take_along_axis(value, best, 1),
                np.take_along_axis(some, best, 1),
            )
        return _marked(similarity, rows)


def groups(features: np.ndarray, threshold: float = 0.95) -> np.ndarray:
    """Near-duplicates: pairs belong together when a chain of pairs, each more similar to the next than the threshold,
    joins them.

    Args:
        features: normalised (m, d), m up to some ten thousands: time grows with its square, memory does not.

    Returns:
        Group numbers int64 (m,) by size, 0 the largest; -1 for a pair like no other.

    >>> groups(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])).tolist()
    [-1, 0, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    good = finite((features,))
    vectors = np.where(good[:, None], features, 0).astype(np.float32)
    m = len(vectors)
    label, step = np.arange(m), 256
    for i in range(0, m, step):
        near = vectors[i : i + step] @ vectors[i:].T > threshold
        row, other = np.nonzero(near & good[i : i + step, None] & good[i:])
        edges = np.stack([label[row + i], label[other + i]])
        edges = edges[:, edges[0] != edges[1]]
        label = connected_components(
            coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(m, m)), directed=False
        )[1][label]
    return by_size(label)


def by_size(label: np.ndarray) -> np.ndarray:
    """Groups (n,) numbered anew by size, 0 the largest, those of one size by their first member; negative labels and
    singles are -1.

    >>> by_size(np.array([7, 3, 3, 9, -1, -1])).tolist()
    [-1, 0, 0, -1, -1, -1]
    """
    _, first, inverse, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    kept = (count > 1) & (label[first] >= 0)
    number = np.full(len(first), -1)
    order = np.lexsort((first, -count))
    order = order[kept[order]]
    number[order] = np.arange(len(order))
    return number[inverse]


def _unit_rows(parts: tuple[np.ndarray, ...], rows: np.ndarray | slice) -> np.ndarray:
    return _side_by_side([part[rows] for part in parts]) / np.sqrt(len(parts), dtype=np.float32)


def _side_by_side(parts: list[np.ndarray]) -> np.ndarray:
    """One part is not copied if it is fp32 and contiguous."""
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1), dtype=np.float32)


def _checked(parts: tuple[np.ndarray, ...], queries: np.ndarray, k: int) -> tuple[np.ndarray, int]:
    width = sum(part.shape[1] for part in parts)
    if np.ndim(queries) != 2 or np.shape(queries)[1] != width:
        raise BadInput(
            f"queries: expected an array (queries, {width}), got {np.shape(queries)}; use Embedding.rows of the same"
            " space"
        )
    if k < 1:
        raise BadInput(f"neighbours: expected at least 1, got {k}")
    return np.asarray(queries), min(k, len(parts[0]))


def _marked(similarity: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is no neighbour (FAISS fills up with its lowest number and row -1) becomes NaN and row -1."""
    none = (rows < 0) | ~np.isfinite(similarity)
    return np.where(none, np.float32(np.nan), similarity), np.where(none, -1, rows)
