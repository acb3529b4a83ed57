"""Select: inside D_susp, the pairs the overfitted model finds most similar are D_topk (Eq. 4).

With several backdoors in one model Eq. 4 alone may take one and miss another, and the product D_topk x D_topk would mix
their targets. So the most similar pairs are first grouped: two belong together when each one's caption fits the other's
image nearly as well as its own. Each group that holds together (see `ubt.defenses.token_unlearning.verdict`) gives its
own k. One backdoor makes one group, which is Eq. 4's choice.
"""

import math

import numpy as np
import pandas as pd

from ubt.clip.score import score, some
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.core.settings import Settings, setting
from ubt.defenses.token_unlearning.verdict import VerdictSettings, concentration


class SelectSettings(Settings):
    """How many pairs unlearning may use."""

    k: int = setting(
        0, "size of D_topk (of each group); 0 means the square root of 1 % of the size of D, the paper's choice", low=0
    )
    pool: int = setting(
        20,
        "the pool * k most similar pairs are searched for groups of captions; 0 takes Eq. 4 as it stands, one group",
        low=0,
    )
    confirmed: str = setting(
        "", "ids of pairs, one a line, that somebody has confirmed: they are D_topk, instead of Eq. 4's k"
    )
    apart: float = setting(
        0.25,
        "pairs are of different groups when swapping their captions costs more than this share of their similarity",
        low=0,
        high=2,
    )


def resolve_k(settings: SelectSettings, pairs: int, suspicious: int) -> int:
    """The k that is meant, checked against D_susp.

    >>> resolve_k(SelectSettings(), 500_000, 5_000)
    70

    Raises:
        BadInput: k is 1, or exceeds the number of suspicious pairs.
    """
    k = settings.k or max(2, math.isqrt(pairs // 100))
    if k < 2:
        raise BadInput(
            "select.k: expected 0 (the paper's choice) or at least 2, for the verdict compares pairs with each other;"
            f" got {k}"
        )
    if k > suspicious:
        raise BadInput(
            f"select.k: expected at most {suspicious}, the size of D_susp, got {k}; lower k or raise split.fraction"
        )
    return k


def confirmed_ids(settings: SelectSettings) -> list[str]:
    """The ids that somebody has confirmed."""
    return settings.confirmed.split("\n") if settings.confirmed else []


def select(
    similarity: pd.DataFrame,
    split: pd.DataFrame,
    image_features: np.ndarray,
    text_features: np.ndarray,
    settings: SelectSettings,
    verdict: VerdictSettings,
    run: Run,
) -> dict:
    """Rank D_susp by similarity under the overfitted model, highest first, and choose.

    Args:
        similarity: id, row of D and similarity of D_susp's pairs and of confirmed ones. image_features, text_features:
            theirs, (n, embedding), under the overfitted model. settings: `select` and `verdict`.

    Returns:
        `ranked`: id, row in D, similarity and rank (1 = most similar) of every suspicious pair, by rank; `topk`: the
        first k rows of each group, with its number `group` from 0; the first k of all where no group holds together; or
        the confirmed pairs, if there are any.

    Raises:
        BadInput: a confirmed pair is not of D, or there is only one.
    """
    s, threshold = settings, verdict.threshold
    row, score = similarity["row"].to_numpy(), similarity["similarity"].to_numpy()
    suspicious = np.flatnonzero(split["suspicious"].to_numpy()[row])
    k = resolve_k(s, len(split), len(suspicious))
    order = suspicious[np.argsort(-score[suspicious], kind="stable")]
    ranked = _ranked(similarity, order)
    images, texts = np.asarray(image_features), np.asarray(text_features)
    if s.confirmed:
        return {"ranked": ranked, "topk": _confirmed(confirmed_ids(s), similarity, images, texts, s.apart)}
    chosen = []
    pool = order[: s.pool * k]
    for member in _groups(images[pool] @ texts[pool].T, k, s.apart):
        first = pool[member[:k]]
        if concentration(images[first], texts[first]) > threshold:
            chosen.append(ranked.iloc[member[:k]].assign(group=len(chosen)))
    topk = pd.concat(chosen, ignore_index=True) if chosen else ranked.head(k).assign(group=0)
    return {"ranked": ranked, "topk": topk}


def _confirmed(
    ids: list[str], similarity: pd.DataFrame, images: np.ndarray, texts: np.ndarray, apart: float
) -> pd.DataFrame:
    """Pairs an analyst has confirmed, most similar first, in groups as the most similar pairs are; those of no group
    join the first.
    """
    at = np.flatnonzero(similarity["id"].isin(ids))
    if unknown := set(ids) - set(similarity["id"].iloc[at]):
        raise BadInput(
            f"select.confirmed: expected ids of D, got {', '.join(sorted(unknown)[:3])}; take them from this case's own"
            " pairs"
        )
    if len(at) < 2:
        raise BadInput(f"select.confirmed: expected at least 2 pairs, got {len(at)}; confirm more, or leave it empty")
    at = at[np.argsort(-similarity["similarity"].to_numpy()[at], kind="stable")]
    group = np.zeros(len(at), int)
    for number, member in enumerate(_groups(images[at] @ texts[at].T, 2, apart)):
        group[member] = number
    return _ranked(similarity, at).assign(group=group)


def _ranked(similarity: pd.DataFrame, order: np.ndarray) -> pd.DataFrame:
    found = similarity.iloc[order][["id", "row", "similarity"]].reset_index(drop=True)
    return found.assign(rank=np.arange(1, len(order) + 1))


def _groups(similarity: np.ndarray, k: int, apart: float) -> list[np.ndarray]:
    """Positions that belong together, by average linkage; groups of at least k, in the order of their first.

    Args:
        similarity: of each image with each caption, (n, n).
    """
    if len(similarity) < 2:
        return []
    from scipy.cluster.hierarchy import average, fcluster
    from scipy.spatial.distance import squareform

    own = np.diag(similarity)
    loss = 1 - (similarity + similarity.T) / np.maximum(own[:, None] + own, 1e-6)
    np.fill_diagonal(loss, 0)
    label = fcluster(average(squareform(np.clip(loss, 0, 2), checks=False)), apart, "distance")
    members = [np.flatnonzero(label == v) for v in np.unique(label)]
    return sorted((m for m in members if len(m) >= k), key=lambda m: m[0])


def inside(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    pairs: pd.DataFrame,
    split: pd.DataFrame,
    settings: SelectSettings,
    run: Run,
) -> dict:
    """Encode D_susp alone, and the pairs that somebody has confirmed, which is all that the selection needs.

    Returns:
        of these pairs, in the order of D: `similarity` with id and `row` of D; `image_features`, `text_features`.
    """
    rows = np.flatnonzero(split["suspicious"].to_numpy() | pairs["id"].isin(confirmed_ids(settings)).to_numpy())
    found = score(model, some(images, rows), tokens[rows], pairs.iloc[rows], run)
    return found | {"similarity": found["similarity"].reset_index(drop=True).assign(row=rows)}
