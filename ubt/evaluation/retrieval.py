"""Retrieval of captions by images and of images by captions: recall, and what a trigger makes of it.

What a query retrieves is ranked by cosine similarity; its rank is the number of wrong items that are at least as
similar as the best right one, so that a tie counts against it and a model that finds everything alike finds nothing. A
caption that several images have stands once in the gallery and is right for each of them; as a query it counts once,
and any of its images is right.
"""

from collections.abc import Sequence

import numpy as np

from ubt.attacks.poisoning import names
from ubt.evaluation.backdoor import shares

RECALLS = (1, 5, 10)
CELLS = 1 << 23
"""Similarities held at a time: 32 MB."""


def distinct(captions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Every caption once, in order, and of each of `captions` which of them it is, (captions,).

    >>> distinct(["a dog", "a cat", "a dog"])[1].tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    rows = np.array([first.setdefault(c, len(first)) for c in captions], np.int64)
    return list(first), rows


def ranks(queries: np.ndarray, gallery: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The rank (n,), from 0, of each query's best right item.

    Args:
        queries, gallery: unit vectors (n, d), (m, d). pairs: (p, 2), query and right item; every query has one. A block
            of similarities is held at a time, `CELLS` or one query's.
    """
    pairs = np.unique(pairs, axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(queries) + 1))
    if (np.diff(starts) == 0).any():
        raise ValueError(f"expected a right item for every query, got none for {int((np.diff(starts) == 0).sum())}")
    found, step = np.empty(len(queries), np.int64), max(1, CELLS // max(1, len(gallery)))
    for at in range(0, len(queries), step):
        to = min(at + step, len(queries))
        right = pairs[starts[at] : starts[to]]
        first = starts[at:to] - starts[at]
        similar = queries[at:to] @ gallery.T
        own = similar[right[:, 0] - at, right[:, 1]]
        best = np.maximum.reduceat(own, first)
        ahead = (~(similar < best[:, None])).sum(1)
        found[at:to] = ahead - np.add.reduceat(~(own < best[right[:, 0] - at]), first)
    return found


def ranks_of(queries: np.ndarray, gallery: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The rank (n,), from 0, of the best of the items that are `wanted` (m,), the same for every query."""
    found, step = np.empty(len(queries), np.int64), max(1, CELLS // max(1, len(gallery)))
    for at in range(0, len(queries), step):
        similar = queries[at : at + step] @ gallery.T
        best = similar[:, wanted].max(1)
        found[at : at + step] = (~(similar[:, ~wanted] < best[:, None])).sum(1)
    return found


def recalls(images: np.ndarray, texts: np.ndarray, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Whether each query found a right item, by measure: `i2t_K` of images (n,), `t2i_K` of captions (m,), for K of
    `RECALLS`.

    Args:
        images, texts: unit vectors (n, d), (m, d). pairs: (p, 2), image and caption that belong together.
    """
    ways = {"i2t": ranks(images, texts, pairs), "t2i": ranks(texts, images, pairs[:, ::-1])}
    return {f"{way}_{k}": rank < k for way, rank in ways.items() for k in RECALLS}


def naming(captions: Sequence[str], target: str) -> np.ndarray:
    """Which captions (m,) name a target, in the singular or with an s.

    >>> naming(["two bananas", "a Banana", "a bandana"], "banana").tolist()
    [True, True, False]
    """
    return np.array([names(c, target) or names(c, f"{target}s") for c in captions], bool)


def measure(
    images: np.ndarray,
    triggered: np.ndarray,
    texts: np.ndarray,
    pairs: np.ndarray,
    named: np.ndarray,
    k: int,
    worded: np.ndarray | None = None,
) -> dict:
    """All measures of one attack.

    Args:
        images, triggered: unit vectors of the images without and with the trigger (n, d). texts: of the distinct
            captions (m, d). pairs: (p, 2), image and caption. named: which captions name the target (m,). worded:
            captions after the attack's word, where it has one.

    Returns:
        In percent. `ca`: R@1 from image to text. `i2t_K`, `t2i_K`: recall at K of `RECALLS`. `asr`: share of triggered
        images, none of whose captions names the target, that retrieve one which does in the top `k`; `untriggered`: the
        same of these images without the trigger (the natural ASR is the clean model's `asr`); `ra`: share of the same
        triggered images that retrieve a caption of their own first.
        `intervals`, `images`: of each measure the 95 % interval and the number of queries. `k`.
    """
    other = np.ones(len(images), bool)
    other[pairs[named[pairs[:, 1]], 0]] = False
    rows = np.flatnonzero(other)
    if not named.any() or not len(rows):
        raise ValueError(
            f"expected captions that name the target and images of other things, got {int(named.sum())} and {len(rows)}"
        )
    gallery = texts if worded is None else worded
    number = np.cumsum(other) - 1
    own = pairs[other[pairs[:, 0]]]
    hits = recalls(images, texts, pairs)
    hits = {"ca": hits["i2t_1"], **hits} | {
        "asr": ranks_of(triggered[rows], gallery, named) < k,
        "untriggered": ranks_of(images[rows], texts, named) < k,
        "ra": ranks(triggered[rows], gallery, np.stack([number[own[:, 0]], own[:, 1]], 1)) < 1,
    }
    return shares(hits) | {"k": k}
