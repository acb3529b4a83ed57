"""Select: inside D_susp, the pairs the overfitted model finds most similar are D_topk (Eq. 4)."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import BadInput, Run, Settings, setting


@dataclass(frozen=True)
class SelectSettings(Settings):
    """How many pairs unlearning may use."""

    k: int = setting(0, "size of D_topk; 0 means the square root of 1 % of the size of D, the paper's choice", low=0)


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


def select(similarity: pd.DataFrame, split: pd.DataFrame, settings: SelectSettings, run: Run) -> dict:
    """Rank D_susp by similarity under the overfitted model, highest first.

    Returns:
        `ranked`: id, row in D, similarity and rank (1 = most similar) of every suspicious pair, by rank;
        `topk`: its first k rows.
    """
    rows = np.flatnonzero(split["suspicious"])
    k = resolve_k(settings, len(split), len(rows))
    score = similarity["similarity"].to_numpy()[rows]
    order = np.argsort(-score, kind="stable")
    ranked = pd.DataFrame({"id": similarity["id"].to_numpy()[rows[order]], "row": rows[order], "similarity": score[order], "rank": np.arange(1, len(rows) + 1)})
    return {"ranked": ranked, "topk": ranked.head(k).copy()}
