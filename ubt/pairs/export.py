"""The export of selected pairs: the pairs, and beside them what they are and how they were selected, in one zip.

CSV is made to be opened in a spreadsheet. Text that one would take for a formula gets an apostrophe in front, in cells
and in column names: text that begins with = + - @, one of their full-width or small forms, a tab, CR or LF, also after
blanks, invisible or control characters. Numbers stay numbers. JSONL and parquet hold the text as it is, for programs; a
lone surrogate, which UTF-8 cannot hold, is an escape in JSONL and U+FFFD elsewhere. What is missing is empty in CSV,
null in JSONL and parquet, and so are infinities in JSONL.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from ubt.core.errors import BadInput

KINDS = ("CSV", "JSONL", "parquet")
_FORMULA = r"^([\p{Z}\p{Cf}\p{Cc}]*[=+\-@\t\r\n\x{FF0B}\x{FF0D}\x{FF1D}\x{FF20}\x{FE62}\x{FE63}\x{FE66}\x{FE6B}])"
"""A cell that a spreadsheet reads as a formula: blanks, invisible and control characters, then a sign, plain,
full-width or small.
"""
_LONE = re.compile("[\ud800-\udfff]")
ROWS = 50_000
"""Pairs that are written at a time, where each is an object of Python meanwhile."""
_LEVEL = {"CSV": 1, "JSONL": 1, "parquet": 0}
"""How hard the zip packs; parquet is packed already."""


def packed(frame: pd.DataFrame, kind: str, about: dict) -> bytes:
    """A zip of `pairs.csv`, `pairs.jsonl` or `pairs.parquet`, a row a pair, and `about.json`; equal bytes for equal
    input.

    Args:
        frame: the pairs, in order; its index is left out. kind: one of `KINDS`.
        about: what came from where: the case, the query, settings, the time, the program's version.

    >>> made = packed(pd.DataFrame({"id": ["a"], "caption": ["=1+1"], "score": [-0.5]}), "CSV", {"rule": "topk"})
    >>> zipfile.ZipFile(io.BytesIO(made)).read("pairs.csv").decode().split()
    ['"id","caption","score"', '"a","\\'=1+1",-0.5']

    Raises:
        BadInput: an unknown kind.
    """
    about = json.dumps(about, indent=1, default=str).encode()
    return zipped({f"pairs.{kind.lower()}": content(frame, kind), "about.json": about}, _LEVEL[kind])


def content(frame: pd.DataFrame, kind: str) -> bytes:
    """The pairs alone, as a file of one of `KINDS`.

    Raises:
        BadInput: an unknown kind.
    """
    writers = {"CSV": as_csv, "JSONL": _jsonl, "parquet": _parquet}
    if kind not in writers:
        raise BadInput(f"export: expected one of {', '.join(KINDS)}; got {kind!r}")
    return writers[kind](frame)


def zipped(files: Mapping[str, bytes], level: int = 0) -> bytes:
    """A zip of some files; equal bytes for equal input. `level`: how hard it packs, 0 not at all."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            z.writestr(entry, data, zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED, level or None)
    return archive.getvalue()


def _arrow(values: pd.Series) -> pa.Array | pa.ChunkedArray:
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError):
        column = pa.array([None if _absent(v) else _LONE.sub("\ufffd", str(v)) for v in values], pa.large_string())
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def as_table(frame: pd.DataFrame) -> pa.Table:
    """A frame without its index, its text valid Unicode."""
    return pa.table(
        [_arrow(frame.iloc[:, i]) for i in range(frame.shape[1])], [_LONE.sub("\ufffd", str(c)) for c in frame.columns]
    )


def _neutral(column: Any) -> Any:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.replace_substring_regex(column, _FORMULA, r"'\1", max_replacements=1)
    if pa.types.is_nested(column.type):
        return _neutral(pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.large_string()))
    return column


def as_csv(frame: pd.DataFrame) -> bytes:
    """A frame without its index, for a spreadsheet."""
    table = as_table(frame)
    sink = io.BytesIO()
    csv.write_csv(
        pa.table([_neutral(c) for c in table.columns], _neutral(pa.array(table.column_names, pa.string())).to_pylist()),
        sink,
    )
    return sink.getvalue()


def _parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(as_table(frame), sink, compression="zstd")
    return sink.getvalue()


def _jsonl(frame: pd.DataFrame) -> bytes:
    names = [str(c) for c in frame.columns]
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode
    parts = []
    for start in range(0, len(frame), ROWS):
        part = frame.iloc[start : start + ROWS]
        rows: Iterable[tuple] = zip(*(_plain(part.iloc[:, i]) for i in range(part.shape[1])), strict=True)
        text = "".join(f"{encode(dict(zip(names, row, strict=True)))}\n" for row in rows)
        parts.append(text.encode("utf-8", "backslashreplace"))
    return b"".join(parts)


def _plain(values: pd.Series) -> list[Any]:
    if values.dtype.kind == "f":
        values = values.where(np.isfinite(values))
    return values.astype(object).where(values.notna(), None).tolist()
