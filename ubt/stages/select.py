"""Select: inside D_susp, the pairs the overfitted model finds most similar are D_topk (Eq. 4).

With several backdoors in one model Eq. 4 alone may take one and miss another, and the product D_topk x D_topk would mix
their targets. So the most similar pairs are first grouped: two belong together when each one's caption fits the other's image
nearly as well as its own. Each group that holds together (see `ubt.stages.verdict`) gives its own k. One backdoor makes one
group, which is Eq. 4's choice.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import BadInput, Run, Settings, setting
from ubt.stages.verdict import VerdictSettings, concentration


@dataclass(frozen=True)
class SelectSettings(Settings):
    """How many pairs unlearning may use."""

    k: int = setting(0, "size of D_topk (of each group); 0 means the square root of 1 % of the size of D, the paper's choice", low=0)
    pool: int = setting(20, "the pool * k most similar pairs are searched for groups of captions; 0 takes Eq. 4 as it stands, one group", low=0)
    confirmed: str = setting("", "ids of pairs, one a line, that somebody has confirmed: they are D_topk, instead of Eq. 4's k", later=True)
    apart: float = setting(0.25, "pairs are of different groups when swapping their captions costs more than this share of their similarity", low=0, high=2)


def resolve_k(settings: SelectSettings, pairs: int, suspicious: int) -> int:
    """The k that is meant, checked against D_susp.

    >>> resolve_k(SelectSettings(), 500_000, 5_000)
    70

    Raises:
        BadInput: k is 1, or exceeds the number of suspicious pairs.
    """
    k = settings.k or max(2, math.isqrt(pairs // 100))
    if k < 2:
        raise BadInput(f"select.k: expected 0 (the paper's choice) or at least 2, for the verdict compares pairs with each other; got {k}")
    if k > suspicious:
        raise BadInput(f"select.k: expected at most {suspicious}, the size of D_susp, got {k}; lower k or raise split.fraction")
    return k


def select(similarity: pd.DataFrame, split: pd.DataFrame, image_features: np.ndarray, text_features: np.ndarray, settings: dict, run: Run) -> dict:
    """Rank D_susp by similarity under the overfitted model, highest first, and choose.

    Args:
        image_features, text_features: D's, (n, embedding), under the overfitted model. settings: `select` and `verdict`.

    Returns:
        `ranked`: id, row in D, similarity and rank (1 = most similar) of every suspicious pair, by rank; `topk`: the first k
        rows of each group, with its number `group` from 0; the first k of all where no group holds together; or the confirmed
        pairs, if there are any.

    Raises:
        BadInput: a confirmed pair is not of D, or there is only one.
    """
    s, threshold = SelectSettings(**settings["select"]), VerdictSettings(**settings["verdict"]).threshold
    rows = np.flatnonzero(split["suspicious"])
    k = resolve_k(s, len(split), len(rows))
    score = similarity["similarity"].to_numpy()[rows]
    order = np.argsort(-score, kind="stable")
    ranked = pd.DataFrame({"id": similarity["id"].to_numpy()[rows[order]], "row": rows[order], "similarity": score[order], "rank": np.arange(1, len(rows) + 1)})
    images, texts = np.asarray(image_features), np.asarray(text_features)
    if s.confirmed:
        return {"ranked": ranked, "topk": _confirmed(s.confirmed.split("\n"), similarity, images, texts, s.apart)}
    chosen = []
    pool = ranked["row"].to_numpy()[: s.pool * k]
    for member in _groups(images[pool] @ texts[pool].T, k, s.apart):
        first = ranked["row"].to_numpy()[member[:k]]
        if concentration(images[first], texts[first]) > threshold:
            chosen.append(ranked.iloc[member[:k]].assign(group=len(chosen)))
    topk = pd.concat(chosen, ignore_index=True) if chosen else ranked.head(k).assign(group=0)
    return {"ranked": ranked, "topk": topk}


def _confirmed(ids: list[str], similarity: pd.DataFrame, images: np.ndarray, texts: np.ndarray, apart: float) -> pd.DataFrame:
    """Pairs an analyst has confirmed, most similar first, in groups as the most similar pairs are; those of no group join the first."""
    rows = np.flatnonzero(similarity["id"].isin(ids))
    if unknown := set(ids) - set(similarity["id"].iloc[rows]):
        raise BadInput(f"select.confirmed: expected ids of D, got {', '.join(sorted(unknown)[:3])}; take them from this case's own pairs")
    if len(rows) < 2:
        raise BadInput(f"select.confirmed: expected at least 2 pairs, got {len(rows)}; confirm more, or leave it empty")
    rows = rows[np.argsort(-similarity["similarity"].to_numpy()[rows], kind="stable")]
    group = np.zeros(len(rows), int)
    for number, member in enumerate(_groups(images[rows] @ texts[rows].T, 2, apart)):
        group[member] = number
    found = pd.DataFrame({"id": similarity["id"].to_numpy()[rows], "row": rows, "similarity": similarity["similarity"].to_numpy()[rows]})
    return found.assign(rank=np.arange(1, len(rows) + 1), group=group)


def _groups(similarity: np.ndarray, k: int, apart: float) -> list[np.ndarray]:
    """Positions that belong together, by average linkage; groups of at least k, in the order of their first.

    Args:
        similarity: of each image with each caption, (n, n).
    """
    if len(similarity) < 2:
        return []
    from sklearn.cluster import AgglomerativeClustering

    own = np.diag(similarity)
    loss = 1 - (similarity + similarity.T) / np.maximum(own[:, None] + own, 1e-6)
    np.fill_diagonal(loss, 0)
    label = AgglomerativeClustering(n_clusters=None, distance_threshold=apart, metric="precomputed", linkage="average").fit_predict(np.clip(loss, 0, 2))
    members = [np.flatnonzero(label == v) for v in np.unique(label)]
    return sorted((m for m in members if len(m) >= k), key=lambda m: m[0])
