"""The table of D's pairs: one row a pair, in the order of D, and a column for each thing that is known about it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ubt.evaluation.model_roles import SCORED

SIMILARITIES = {role.similarity: role.scored for role in SCORED}
"""Each similarity's column, and the stage that computes it."""
TRUTH = ("poisoned",)
"""Columns that a defender does not have."""


@dataclass(frozen=True, eq=False)
class PairTable:
    """The columns of n pairs. Text is a large_string arrow array (n,), null where missing; numbers are float32 (n,),
    NaN where missing; truth values are bool (n,). A column is None while the stage that makes it is not finished.

    As with a data frame, `len(table)` counts pairs, iterating gives the names of the columns that are there, `name in
    table` asks for one and `table[name]` reads it; so a query (`ubt.pairs.query`) can be applied to it. Nothing in it
    may be changed: pages share one table between sessions.
    """

    id: Annotated[pa.Array, "the pair's id"]
    caption: Annotated[pa.Array, "its caption"]
    similarity_reference: Annotated[np.ndarray | None, "cosine similarity under the clean reference"] = None
    similarity_poisoned: Annotated[np.ndarray | None, "cosine similarity under M_bd"] = None
    similarity_overfit: Annotated[np.ndarray | None, "cosine similarity under the overfitted model"] = None
    suspicious: Annotated[np.ndarray | None, "in D_susp, as the case was run"] = None
    rank: Annotated[np.ndarray | None, "rank in D_susp by similarity_overfit, 1 = most similar"] = None
    topk: Annotated[np.ndarray | None, "in D_topk, as the case was run"] = None
    flagged: Annotated[
        np.ndarray | None, "flagged as poisoned: in D_topk, or its image was pulled towards D_topk's captions"
    ] = None
    group: Annotated[np.ndarray | None, "the group of captions it was flagged with"] = None
    poisoned: Annotated[np.ndarray | None, "ground truth; only a lab case has it"] = None
    label: Annotated[pa.Array | None, "the label an analyst gave it: backdoor, clean or unsure"] = None
    note: Annotated[pa.Array | None, "an analyst's note"] = None
    cluster: Annotated[np.ndarray | None, "its cluster on the map, 0 = largest"] = None
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What maps add: `map_SPACE_MODEL_x` and `map_SPACE_MODEL_y`, and `cluster_SPACE`."""

    @classmethod
    def from_stages(cls, has: Callable[..., bool], read: Callable[..., pd.DataFrame]) -> Self:
        """The columns that a case's finished stages give.

        Args:
            has: whether a stage is finished. read: some columns of a stage's frame, called with the stage, the entry
                and the columns' names.
        """
        pairs = read("data", "pairs", "id", "caption")
        columns: dict[str, Any] = {name: _text(pairs[name]) for name in ("id", "caption")}
        for name, stage in SIMILARITIES.items():
            if has(stage):
                columns[name] = read(stage, "similarity", "similarity")["similarity"].to_numpy(np.float32)
        if has("split"):
            columns["suspicious"] = read("split", "split", "suspicious")["suspicious"].to_numpy(bool)
        if has("select"):
            columns |= _selected(len(pairs), has, read)
        if has("attack"):
            columns["poisoned"] = read("attack", "truth", "poisoned")["poisoned"].to_numpy(bool)
        return cls(**columns)

    def with_labels(self, labels: pd.DataFrame) -> Self:
        """The table with the columns `label` and `note`, missing where no analyst gave any.

        Args:
            labels: id, label, note, as `ubt.pairs.annotations.Review.labels` gives them.
        """
        found = pc.index_in(self.id, value_set=_text(labels["id"])) if len(labels) else pa.nulls(len(self), pa.int32())
        return replace(self, **{name: _text(labels[name]).take(found) for name in ("label", "note")})

    def with_map(self, space: str, xy: Mapping[str, np.ndarray], cluster: np.ndarray) -> Self:
        """The table with a map's columns.

        Args:
            xy: model to its places (n, 2) on the map. cluster: of each pair (n,).
        """
        places = {f"map_{space}_{m}_{axis}": at[:, i] for m, at in xy.items() for i, axis in enumerate("xy")}
        return replace(self, cluster=cluster, maps={**self.maps, **places, f"cluster_{space}": cluster})

    @cached_property
    def without_truth(self) -> Self:
        """The table as a defender has it; the same object each time."""
        return replace(self, **dict.fromkeys(TRUTH))

    def __len__(self) -> int:
        return len(self.id)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in ABOUT if getattr(self, name) is not None)
        yield from self.maps

    def __contains__(self, name: object) -> bool:
        return name in self.maps or (name in ABOUT and getattr(self, str(name)) is not None)

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(f"expected one of the columns {', '.join(self)}; got {name!r}")
        return self.maps[name] if name in self.maps else getattr(self, name)

    def similarities(self) -> list[str]:
        """The names of the similarities that are there."""
        return [name for name in SIMILARITIES if name in self]

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Rows (m,) of some ids, in the order of the ids; unknown ids are left out.

        >>> PairTable(pa.array(["a", "b", "c"]), pa.array(["x", "y", "z"])).rows(["c", "x", "a"]).tolist()
        [2, 0]
        """
        wanted = list(ids)
        if len(wanted) == 1:
            at = pc.index(self.id, wanted[0]).as_py()
            return np.array([at] if at >= 0 else [], int)
        mask = pc.is_in(self.id, value_set=pa.array(wanted, self.id.type)).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(mask)
        at = dict(zip(self.ids(rows), rows, strict=True))
        return np.array([at[pair] for pair in wanted if pair in at], int)

    def ids(self, rows: np.ndarray) -> list[str]:
        """Ids of some rows (m,)."""
        return self.id.take(pa.array(rows)).to_pylist()

    def frame(self, rows: np.ndarray, names: Iterable[str] | None = None) -> pd.DataFrame:
        """Some rows (m,) of the named columns (all of them), in the table's order; names it does not have are left
        out.
        """
        wanted, take = None if names is None else set(names), pa.array(rows)
        some = {name: self[name] for name in self if wanted is None or name in wanted}
        return pd.DataFrame(
            {n: v.take(take).to_pandas() if isinstance(v, pa.Array) else v[rows] for n, v in some.items()}
        )

    @cached_property
    def suspicion(self) -> np.ndarray:
        """By what pairs are put in order (n,), higher = more suspicious: D_topk, other flagged pairs, then D_susp, each
        by overfitted similarity, then the rest by reference similarity, lowest first.
        """
        score = np.zeros(len(self), np.float32)
        if self.similarity_reference is not None:
            score = -self.similarity_reference
        if self.similarity_overfit is not None and self.suspicious is not None:
            score = np.where(self.suspicious, 4 + self.similarity_overfit, score)
        if self.flagged is not None:
            score = score + 8 * self.flagged + 8 * self.topk
        return np.nan_to_num(score, nan=-99)

    def most_suspicious(self, among: np.ndarray, most: int) -> np.ndarray:
        """The most suspicious rows of a mask (n,), at most `most`, the most suspicious first."""
        rows = np.flatnonzero(among)
        score = self.suspicion[rows]
        if len(rows) > most:
            keep = np.argpartition(-score, most)[:most]
            rows, score = rows[keep], score[keep]
        return rows[np.argsort(-score, kind="stable")]


ABOUT: dict[str, str] = {f.name: f.type.__metadata__[0] for f in fields(PairTable) if f.name != "maps"}
"""Each column, and what it says; a map's columns are described by their names."""


def _selected(total: int, has: Callable[..., bool], read: Callable[..., pd.DataFrame]) -> dict[str, np.ndarray]:
    """Rank, topk, flagged and group. A pair of D_topk that is not flagged keeps D_topk's group."""
    ranked, topk = read("select", "ranked", "row", "rank"), read("select", "topk", "row", "group")
    rank, group = np.full(total, np.nan, np.float32), np.full(total, np.nan, np.float32)
    rank[ranked["row"]] = ranked["rank"]
    group[topk["row"]] = topk["group"]
    in_topk = np.zeros(total, bool)
    in_topk[topk["row"]] = True
    flagged = in_topk.copy()
    if has("flag"):
        flag = read("flag", "flagged", "poisoned", "group")
        poisoned = flag["poisoned"].to_numpy(bool)
        flagged |= poisoned
        group = np.where(poisoned, flag["group"].to_numpy(np.float32), group)
    return {"rank": rank, "topk": in_topk, "flagged": flagged, "group": group}


def _text(series: pd.Series) -> pa.Array:
    values = pa.array(series, pa.large_string())
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
