"""What is known of every pair of D, a column each, in the order of D: what rules select by, tables show and exports
hold.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

SIMILARITIES = {
    "similarity_reference": "score",
    "similarity_poisoned": "score_poisoned",
    "similarity_overfit": "score_overfit",
}
"""Column to the stage that scored it."""
ABOUT = {
    "id": "the pair's id",
    "caption": "its caption",
    "similarity_reference": "cosine similarity under the clean reference",
    "similarity_poisoned": "cosine similarity under M_bd",
    "similarity_overfit": "cosine similarity under the overfitted model",
    "suspicious": "in D_susp, as the case was run",
    "rank": "place in D_susp by similarity_overfit, 1 = most similar",
    "topk": "in D_topk, as the case was run",
    "flagged": "taken for poisoned: in D_topk, or its image was pulled towards D_topk's captions",
    "group": "the group of captions it was flagged with",
    "cluster": "its cluster on the map, 0 = largest",
    "label": "what an analyst decided: backdoor, clean or unsure",
    "note": "an analyst's note",
    "poisoned": "ground truth; a lab case's alone",
}
"""Column to what it says. A map adds the two coordinates of each model, `map_MODEL_x` and `map_MODEL_y`."""
TRUTH = ("poisoned",)


def known(has: Callable[..., bool], read: Callable[..., Any]) -> dict[str, Any]:
    """The columns that a case's finished stages give: text as arrow arrays, numbers and flags as numpy arrays.

    Args:
        has: whether a stage is finished. read: gives columns of a stage's frame, called with the stage, the entry and
            their names.
    """
    pairs = read("data", "pairs", "id", "caption")
    found: dict[str, Any] = {name: _text(pairs[name]) for name in ("id", "caption")}
    for name, stage in SIMILARITIES.items():
        if has(stage):
            found[name] = read(stage, "similarity", "similarity")["similarity"].to_numpy(np.float32)
    if has("split"):
        found["suspicious"] = read("split", "split", "suspicious")["suspicious"].to_numpy(bool)
    if has("select"):
        ranked, topk = read("select", "ranked", "row", "rank"), read("select", "topk", "row", "group")
        found["rank"] = np.full(len(pairs), np.nan, np.float32)
        found["rank"][ranked["row"]] = ranked["rank"]
        found["topk"] = np.zeros(len(pairs), bool)
        found["topk"][topk["row"]] = True
        found["flagged"], found["group"] = found["topk"].copy(), np.full(len(pairs), np.nan, np.float32)
        found["group"][topk["row"]] = topk["group"]
        if has("flag"):
            flag = read("flag", "flagged", "poisoned", "group")
            poisoned, group = flag["poisoned"].to_numpy(bool), flag["group"].to_numpy(np.float32)
            found["flagged"] |= poisoned
            found["group"] = np.where(poisoned, group, found["group"])
    if has("attack"):
        found["poisoned"] = read("attack", "truth", "poisoned")["poisoned"].to_numpy(bool)
    return found


def decided(ids: pa.Array, labels: pd.DataFrame) -> dict[str, pa.Array]:
    """The columns `label` and `note` of what analysts decided; missing where nobody did.

    Args:
        ids: of D, in order. labels: id, label, note.
    """
    rows = pc.index_in(ids, value_set=_text(labels["id"])) if len(labels) else pa.nulls(len(ids), pa.int32())
    return {name: _text(labels[name]).take(rows) for name in ("label", "note")}


def rows_of(ids: pa.Array, wanted: list[str]) -> np.ndarray:
    """Rows (m,) of some ids, in their order; unknown ids are left out.

    >>> rows_of(pa.array(["a", "b", "c"]), ["c", "x", "a"]).tolist()
    [2, 0]
    """
    mask = pc.is_in(ids, value_set=pa.array(wanted, ids.type)).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(mask)
    at = {pair: row for row, pair in zip(rows, ids.take(pa.array(rows)).to_pylist(), strict=True)}
    return np.array([at[pair] for pair in wanted if pair in at], int)


def frame(columns: dict[str, Any], rows: np.ndarray, names: list[str] | None = None) -> pd.DataFrame:
    """Some rows (m,) of some columns (all of them), as a frame."""
    take = pa.array(rows)
    return pd.DataFrame(
        {
            n: v.take(take).to_pandas() if isinstance(v, pa.Array) else v[rows]
            for n, v in columns.items()
            if names is None or n in names
        }
    )


def suspicion(known: dict[str, Any]) -> np.ndarray:
    """By what pairs are put in order, most suspicious first: D_topk, other flagged ones, then D_susp, each by
    overfitted similarity, then the rest by reference similarity, lowest first; (n,) higher = earlier.
    """
    score = (
        -known["similarity_reference"] if "similarity_reference" in known else np.zeros(len(known["id"]), np.float32)
    )
    if "similarity_overfit" in known and "suspicious" in known:
        score = np.where(known["suspicious"], 4 + known["similarity_overfit"], score)
    if "flagged" in known:
        score = score + 8 * known["flagged"] + 8 * known["topk"]
    return np.nan_to_num(score, nan=-99)


def first(known: dict[str, Any], mask: np.ndarray, most: int) -> np.ndarray:
    """The most suspicious rows among those of a mask (n,), at most so many, the most suspicious first."""
    rows = np.flatnonzero(mask)
    score = suspicion(known)[rows]
    if len(rows) > most:
        keep = np.argpartition(-score, most)[:most]
        rows, score = rows[keep], score[keep]
    return rows[np.argsort(-score, kind="stable")]


def _text(series: pd.Series) -> pa.Array:
    values = pa.array(series, pa.large_string())
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
