"""Parquet and Arrow files of somebody else: columns as text, streamed; image bytes a group of rows at a time.

Every buffer of an Arrow file is checked before it is used, since reading maps it as it is. What one row group or batch
may take is bounded.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ubt.core.errors import BadInput, UbtError
from ubt.data.quarantine import LONGEST_CAPTION, TOO_LONG

GROUP_BYTES = 1 << 30
"""Most that a row group may unpack to."""
BATCH_BYTES = 64 << 20
BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError)


@dataclass
class ParquetFile:
    """A parquet file by its row groups. The metadata of single columns is not asked for: PyArrow ends the process where
    it is damaged.
    """

    path: Path

    def __post_init__(self) -> None:
        try:
            self.file = pq.ParquetFile(self.path, memory_map=True)
            meta = self.file.metadata
            self.starts = _starts([meta.row_group(i).num_rows for i in range(meta.num_row_groups)])
            self.schema = _named(self.file.schema_arrow)
        except BROKEN as e:
            raise damaged(self.path, "parquet", e) from None

    def batches(self, columns: list[str], rows: int = 4096) -> Iterator[pa.RecordBatch]:
        """Rows of some columns, text as dictionaries, so that a repeated one is in memory once."""
        try:
            repeated = [n for n in columns if n in self.schema.names and _is_text(self.schema.field(n).type)]
            with pq.ParquetFile(self.path, memory_map=True, read_dictionary=repeated) as file:
                yield from file.iter_batches(batch_size=min(rows, self._rows_that_fit()), columns=columns)
        except BROKEN as e:
            raise damaged(self.path, "parquet", e) from None

    def _rows_that_fit(self) -> int:
        """Rows that take 64 MiB with all their columns, going by the row group that has the widest."""
        meta = self.file.metadata
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        return max(1, BATCH_BYTES // max([1, *(g.total_byte_size // max(1, g.num_rows) for g in groups)]))

    def group(self, i: int, column: str) -> pa.Array:
        """The image bytes of row group `i`, in a column.

        Raises:
            UbtError: it is larger than is read at once. BadInput: it is damaged.
        """
        try:
            size = self.file.metadata.row_group(i).total_byte_size
            if size > GROUP_BYTES:
                raise UbtError(
                    f"{self.path}: expected row groups of at most {GROUP_BYTES >> 20} MiB, got {size >> 20}; write it"
                    " in smaller ones"
                )
            name = f"{column}.bytes" if pa.types.is_struct(self.schema.field(column).type) else column
            return leaf(pa.concat_arrays(self.file.read_row_group(i, columns=[name]).column(0).chunks))
        except BROKEN as e:
            raise damaged(self.path, "parquet", e) from None


@dataclass
class ArrowFile:
    """An Arrow file or stream, mapped, by its record batches."""

    path: Path

    def __post_init__(self) -> None:
        try:
            used = pa.total_allocated_bytes()
            self._batches = []
            for batch in self._read():
                self._batches.append(batch)
                if pa.total_allocated_bytes() - used > GROUP_BYTES:
                    raise UbtError(
                        f"{self.path}: expected an Arrow file that can be mapped, got a compressed one; write it"
                        " without compression"
                    )
            self.schema = _named(self.schema)
            self.starts = _starts([b.num_rows for b in self._batches])
        except BROKEN as e:
            raise damaged(self.path, "Arrow", e) from None

    def _read(self) -> Iterator[pa.RecordBatch]:
        source = pa.memory_map(str(self.path))
        if source.read(6) == b"ARROW1":
            file = pa.ipc.open_file(source)
            self.schema = file.schema
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            source.seek(0)
            stream = pa.ipc.open_stream(source)
            self.schema = stream.schema
            yield from stream

    def batches(self, columns: list[str], rows: int = 4096) -> Iterator[pa.RecordBatch]:
        """As `ParquetFile.batches`; a batch's rows come in parts."""
        try:
            for batch in self._batches:
                some = {}
                for name in columns:
                    owner, part = parts(self.schema, name)
                    column = _checked(batch.column(owner))
                    some[owner] = pc.struct_field(column, part) if part else column
                for at in range(0, batch.num_rows, rows):
                    yield pa.RecordBatch.from_pydict({n: c.slice(at, rows) for n, c in some.items()})
        except BROKEN as e:
            raise damaged(self.path, "Arrow", e) from None

    def group(self, i: int, column: str) -> pa.Array:
        """The image bytes of batch `i`, in a column."""
        try:
            found = _checked(self._batches[i].column(column))
            return pc.struct_field(found, "bytes") if pa.types.is_struct(found.type) else found
        except BROKEN as e:
            raise damaged(self.path, "Arrow", e) from None


def opened(path: Path) -> ParquetFile | ArrowFile:
    """Raises:
    BadInput: it is neither parquet nor Arrow, or damaged.
    """
    with path.open("rb") as f:
        start = f.read(4)
    return (ParquetFile if start == b"PAR1" or path.suffix == ".parquet" else ArrowFile)(path)


def texts(column: pa.Array, longest: int = 4 * LONGEST_CAPTION) -> list[Any]:
    """A column as text, as bytes where it may be no UTF-8, as lists of them where it has lists; what is longer than
    `longest` bytes is `TOO_LONG`, numbers are written out.

    Raises:
        any of `BROKEN`: it is damaged.
    """
    if pa.types.is_dictionary(column.type):
        known = texts(column.dictionary, longest)
        span = pc.min_max(column.indices).as_py()
        if span["min"] is not None and not 0 <= span["min"] <= span["max"] < len(known):
            raise ValueError(f"a dictionary of {len(known)} texts is asked for text {span['max']}")
        return [None if i is None else known[i] for i in column.indices.to_pylist()]
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        values = iter(texts(column.flatten(), longest))
        counts = pc.list_value_length(column).to_pylist()
        return [None if n is None else list(itertools.islice(values, n)) for n in counts]
    if not (_is_text(column.type) or _is_bytes(column.type)):
        return [None if v is None else str(v) for v in column.to_pylist()]
    values = _without_views(_as_bytes(column))
    long = pc.fill_null(pc.greater(pc.binary_length(values), longest), False)
    if not pc.any(long).as_py():
        return values.to_pylist()
    return [
        TOO_LONG if cut else v
        for v, cut in zip(pc.if_else(long, None, values).to_pylist(), long.to_pylist(), strict=True)
    ]


def is_image(kind: pa.DataType) -> bool:
    """Whether a column of this type holds an image's bytes."""
    return _is_bytes(kind) or (
        pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    )


def path_type(kind: pa.DataType) -> bool:
    """Whether a column of images of this type may hold paths in place of bytes, row by row: `{bytes, path}`."""
    return pa.types.is_struct(kind) and kind.get_field_index("path") >= 0 and _is_text(kind.field("path").type)


def images_and_paths(column: pa.StructArray) -> tuple[list[bool], list[str | bytes | None]]:
    """Of each row of a column of `{bytes, path}` whether it has bytes, and its path.

    Raises:
        any of `BROKEN`: it is damaged.
    """
    held = _without_views(pc.struct_field(column, "bytes"))
    there = pc.fill_null(pc.greater(pc.binary_length(held), 0), False)
    return there.to_pylist(), texts(pc.struct_field(column, "path"))


def leaf(column: pa.Array) -> pa.Array:
    """The only field of a column that has fields, or the column itself."""
    return pc.struct_field(column, [0]) if pa.types.is_struct(column.type) else column


def is_text(kind: pa.DataType, numbers: bool = False, several: bool = False) -> bool:
    """Whether a column of this type can be captions or paths; with `numbers` labels or ids too, with `several` also
    lists of captions.
    """
    if several and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return is_text(kind.value_type)
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return _is_text(kind) or _is_bytes(kind) or (numbers and pa.types.is_integer(kind))


def class_names(schema: pa.Schema, column: str) -> list[str]:
    """The names of a Hugging Face ClassLabel; empty for another column."""
    try:
        found: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        return [str(n) for n in found] if isinstance(found, list) else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def parts(schema: pa.Schema, name: str) -> tuple[str, str]:
    """A column and one of its fields, of `COLUMN.FIELD`; a column's own name may have a dot in it."""
    return (name, "") if name in schema.names else tuple(name.rpartition(".")[::2])


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_string_view(column.type):
        return column.view(pa.binary_view())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.view(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
    return column


def _without_views(column: pa.Array) -> pa.Array:
    """Views of bytes as bytes one after another, which may take more: several views may show the same ones."""
    if not pa.types.is_binary_view(column.type):
        return column
    lengths = np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset : column.offset + len(column)]
    if lengths.sum(dtype=np.int64) > GROUP_BYTES:
        raise ValueError(f"views of more than {GROUP_BYTES >> 20} MiB in {len(column)} rows")
    return column.cast(pa.large_binary())


def _checked(column: pa.Array) -> pa.Array:
    """The column, every offset in it looked at; text need not be UTF-8."""
    column.validate()
    if pa.types.is_struct(column.type):
        for part in column.flatten():
            _checked(part)
    elif _is_text(column.type) or _is_bytes(column.type):
        _as_bytes(column).validate(full=True)
    elif not pa.types.is_nested(column.type) or pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column.validate(full=True)
    return column


def _named(schema: pa.Schema) -> pa.Schema:
    """The schema, once all names in it could be read."""
    for f in schema:
        _ = f.name, str(f.type)
    return schema


def _starts(counts: list[int]) -> list[int]:
    starts = [0]
    for n in counts:
        starts.append(starts[-1] + n)
    return starts


def damaged(path: Path, kind: str, error: Exception) -> BadInput:
    """The error of a file that its own library cannot read."""
    return BadInput(
        f"{path}: expected a readable {kind} file, got a damaged one"
        f" ({str(error).splitlines()[0][:200] if str(error) else error!r})"
    )
