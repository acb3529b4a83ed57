"""What a query's conditions mean: which rows of a column fulfil one. The grammar that names them is
`ubt.pairs.query`.
"""

import numbers
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ubt.core.errors import BadInput

TEXT, NUMBERS, FLAGS = "text", "numbers", "truth values"
EXPECTED = {TEXT: "text, in quotes where it is no plain word", NUMBERS: "a number", FLAGS: "true or false"}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": np.equal,
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}

Value = str | float | int | bool


class Columns(Protocol):
    """Columns by name: a `ubt.pairs.table.PairTable`, or a dictionary of them."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> Any: ...


class BadQuery(BadInput):
    """A query that cannot be read, or does not fit the columns."""


def refusal(at: int, expected: str, came: str) -> BadQuery:
    """The error of a query at a character (from 0)."""
    return BadQuery(f"query, character {at + 1}: expected {expected}, got {came}")


def unknown(name: str, at: int, columns: Iterable[str]) -> BadQuery:
    """The error of a query that names, at a character (from 0), a column that is not there."""
    came, columns = reprlib.repr(name), list(columns)
    if near := get_close_matches(name.lower(), columns, 1):
        return refusal(at, "a column's name", f"{came}, which is none; did you mean {near[0]}")
    return refusal(at, f"one of the columns {', '.join(columns)}", came)


@dataclass(frozen=True)
class Column:
    """A column that a condition asks about, its name standing at a character of the query.

    Args:
        values: numbers or truth values (n,), or large_string arrow text.
    """

    name: str
    at: int
    values: Any

    @classmethod
    def of(cls, columns: Columns, name: str, at: int) -> "Column":
        """A column by name.

        Raises:
            BadQuery: there is none of that name, or it holds neither numbers nor truth values nor text.
        """
        if name not in columns:
            raise unknown(name, at, columns)
        values = columns[name]
        try:
            return cls(name, at, _plain(values))
        except (pa.ArrowException, TypeError, UnicodeError):
            raise refusal(
                at, "a column of numbers, truth values or text", f"{reprlib.repr(name)}, which is none of these"
            ) from None

    @property
    def kind(self) -> str:
        """TEXT, NUMBERS or FLAGS."""
        return TEXT if not isinstance(self.values, np.ndarray) else FLAGS if self.values.dtype == bool else NUMBERS

    @property
    def valid(self) -> np.ndarray:
        """Which values are not missing, bool (n,)."""
        if self.kind == TEXT:
            return pc.is_valid(self.values).to_numpy(zero_copy_only=False)
        return ~np.isnan(self.values)

    def refusal(self, expected: str, came: str) -> BadQuery:
        """The error of a query that asks of this column what its kind cannot answer."""
        return refusal(self.at, expected, f"{came}: the column {self.name} holds {self.kind}")

    def check(self, value: Value) -> None:
        """Refuse a value of another kind."""
        kind = FLAGS if isinstance(value, bool) else NUMBERS if isinstance(value, numbers.Real) else TEXT
        if kind != self.kind:
            raise self.refusal(EXPECTED[self.kind], reprlib.repr(value))


def _plain(values: Any) -> Any:
    if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    arrow = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
    kind = arrow.type.value_type if pa.types.is_dictionary(arrow.type) else arrow.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return arrow.cast(pa.large_string())
    plain = arrow.to_numpy(zero_copy_only=False)
    if plain.dtype.kind not in "biuf":
        raise TypeError(kind)
    return plain


def _rows(found: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)


def present(column: Column) -> np.ndarray:
    """Rows whose value is not missing, bool (n,), as all that follow."""
    return column.valid


def missing(column: Column) -> np.ndarray:
    """Rows (n,) whose value is missing."""
    return ~column.valid


def flagged(column: Column) -> np.ndarray:
    """Rows (n,) of truth values that are true."""
    if column.kind != FLAGS:
        raise column.refusal("a comparison, as NAME = VALUE", "the name alone")
    return column.values.copy()


def compared(column: Column, operator: str, value: Value) -> np.ndarray:
    """Rows (n,) that compare so with a value; what is missing does not, whatever the operator."""
    if operator not in ("=", "==", "!=") and column.kind != NUMBERS:
        raise column.refusal("= or !=", operator)
    column.check(value)
    if column.kind == TEXT:
        return _rows((pc.not_equal if operator == "!=" else pc.equal)(column.values, value))
    with np.errstate(over="ignore"):
        chosen = OPERATORS[operator](column.values, value)
    return chosen & column.valid if operator == "!=" else chosen


def within(column: Column, low: float, high: float) -> np.ndarray:
    """Rows (n,) between two numbers, both included."""
    return compared(column, ">=", low) & compared(column, "<=", high)


def among(column: Column, wanted: Sequence[Value]) -> np.ndarray:
    """Rows (n,) that are one of some values."""
    for value in wanted:
        column.check(value)
    if column.kind == TEXT:
        return _rows(pc.is_in(column.values, value_set=pa.array(wanted, column.values.type)))
    if column.values.dtype.kind in "iu":
        whole = [int(v) for v in wanted if v == int(v) and -(2**63) <= v < 2**63]
        return np.isin(column.values, np.array(whole, np.int64))
    with np.errstate(over="ignore"):
        return np.isin(column.values, np.array(wanted, column.values.dtype))


def containing(column: Column, wanted: str) -> np.ndarray:
    """Rows (n,) of text with a piece of text in it, ignoring case."""
    column.check(wanted)
    return _rows(pc.match_substring(column.values, wanted, ignore_case=True))


def inside(x: Column, y: Column, corners: np.ndarray) -> np.ndarray:
    """Which points lie in a polygon by the even-odd rule: an edge turns over the points to its left, among those of its
    height.

    Args:
        corners: (corners, 2).
    """
    for column in (x, y):
        if column.kind != NUMBERS:
            raise column.refusal("coordinates", "a polygon")
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero((x.values >= left) & (x.values <= right) & (y.values >= bottom) & (y.values <= top))
    near = near[np.argsort(y.values[near])]
    px, py = x.values[near].astype(float), y.values[near].astype(float)
    odd = np.zeros(len(near), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            low, high = np.searchsorted(py, sorted((y0, y1)))
            at = slice(low, high)
            odd[at] ^= px[at] < x0 + (py[at] - y0) * ((x1 - x0) / (y1 - y0))
    chosen = np.zeros(len(x.values), bool)
    chosen[near[odd]] = True
    return chosen
