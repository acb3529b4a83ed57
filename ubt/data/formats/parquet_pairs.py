"""Pairs in parquet files."""

import itertools
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from ubt.core.errors import BadInput
from ubt.data.formats import base, columnar
from ubt.data.formats.base import Files, Format, ReadOptions, Row, Source
from ubt.data.locations import Folder, Locations, fingerprint
from ubt.data.quarantine import IMAGE_BYTES, BrokenImage

CACHED = 1 << 30
"""Bytes of parquet row groups kept in memory."""
Opened = columnar.ParquetFile | columnar.ArrowFile


class Table:
    """Reads image bytes in a column: of arrow files, mapped, or of parquet, whose row groups are read whole and kept
    while there is room. A place is `train-00000.parquet::17`: file, row.

    Args:
        where: where they are. files: those that are open already, by name.
    """

    def __init__(self, where: Locations, files: dict[str, Opened] | None = None):
        self.where, self.files, self.lock = where, files or {}, threading.Lock()
        self.groups: OrderedDict[tuple[str, int], pa.Array] = OrderedDict()

    def read(self, place: str) -> bytes:
        """As `Reader.read`."""
        name, _, row = place.rpartition("::")
        if not (row.isdigit() and row.isascii()):
            raise BrokenImage("unusable name", place)
        with self.lock:
            if name not in self.files:
                self.files[name] = columnar.opened(base.listed(self.where, name))
            table = self.files[name]
            if int(row) >= table.starts[-1]:
                raise BrokenImage("missing file", place)
            group = bisect_right(table.starts, int(row)) - 1
            values = self._group(name, group)
        value = values[int(row) - table.starts[group]]
        if not value.is_valid or len(value.as_buffer()) == 0:
            raise BrokenImage("zero-size image", place)
        if len(value.as_buffer()) > IMAGE_BYTES:
            raise BrokenImage("too large", place)
        return value.as_py()

    def _group(self, name: str, group: int) -> pa.Array:
        key = (name, group)
        if key not in self.groups:
            self.groups[key] = self.files[name].group(group, self.where.column)
            while (
                len(self.groups) > 1
                and sum(g.nbytes for g in self.groups.values()) > CACHED
                and self.where.kind == "parquet"
            ):
                self.groups.popitem(last=False)
        self.groups.move_to_end(key)
        return self.groups[key]


def from_columns(paths: list[Path], options: ReadOptions) -> Source:
    """Parquet files, or the Arrow files of Hugging Face `datasets`: a column of image paths, or of images.

    Raises:
        BadInput: a file is damaged, they differ in their columns, or none fits.
    """
    root = base.common(paths)
    names = {str(p.relative_to(root)): p for p in paths}
    tables = {n: columnar.opened(p) for n, p in names.items()}
    first = next(iter(tables.values()))
    kinds = {f.name: f.type for f in first.schema}
    image, text, own = _columns(tables, kinds, options, paths[0].name)
    files, done = {n: fingerprint(p) for n, p in names.items()}, [0]
    folder = None
    if columnar.is_image(kinds[image]) and not columnar.by_path(first, image):
        stored = "parquet" if isinstance(first, columnar.ParquetFile) else "arrow"
        reader, place = Table(Locations(stored, str(root), [], files, image), tables), ""
    else:
        folder = Folder(base.beside(paths[0], options))
        reader, place = Files(folder), f"{image}.path" if columnar.is_image(kinds[image]) else image

    def rows() -> Iterator[Row]:
        for row in _rows(tables, place, text, own, folder):
            yield row
            done[0] += 1

    classes = columnar.class_names(first.schema, text)
    return Source(
        f"{len(paths)} columnar file{'s' * (len(paths) > 1)}",
        reader,
        rows,
        files,
        {"image": image, "text": text, "id": own},
        sum(t.starts[-1] for t in tables.values()),
        lambda: done[0],
        classes,
        bool(classes),
        list(kinds),
    )


def _columns(
    tables: dict[str, Opened], kinds: dict[str, pa.DataType], options: ReadOptions, name: str
) -> tuple[str, str, str]:
    """The columns of image, text and id, which have the same types in all files as in the first, called `name`."""
    image = base.choose(
        [n for n, k in kinds.items() if columnar.is_image(k) or columnar.can_be_text(k)],
        options.image,
        base.IMAGE_COLUMNS,
        "image",
        name,
    )
    texts = [n for n, k in kinds.items() if columnar.can_be_text(k) and n != image]
    text = base.choose(texts, options.text, options.texts, options.what, name)
    own = base.choose(texts, options.ident, base.ID_COLUMNS, "ident", name, needed=False)
    taken = [(n, k) for n, k in kinds.items() if n in (image, text, own)]
    for other, table in tables.items():
        if [(f.name, f.type) for f in table.schema if f.name in (image, text, own)] != taken:
            raise BadInput(
                f"{other}: expected the columns {image}, {text} as in {name}, got others; keep one layout in a folder"
            )
    return image, text, own


def _rows(tables: dict[str, Opened], image: str, text: str, own: str, folder: Folder | None) -> Iterator[Row]:
    """The rows of all files; without a folder the images are in the files, else `image` holds their paths in it."""
    numbers = itertools.count(1)
    for name, table in tables.items():
        for row, (value, said, key) in enumerate(_cells(table, image, text, own)):
            place, reason = f"{name}::{row}", ""
            if folder is not None:
                try:
                    place = base.file_in(folder, _decoded(value))
                except BrokenImage as e:
                    place = value if isinstance(value, str) else repr(value)[2:-1] if value else ""
                    reason = e.reason
            yield Row(next(numbers), place, said, None if key is None else _decoded(key), reason)


def _cells(table: Opened, image: str, text: str, own: str) -> Iterator[tuple[Any, Any, Any]]:
    for batch in table.batches([n for n in dict.fromkeys((image, text, own)) if n]):
        try:
            of = [
                (
                    columnar.texts(columnar.leaf(batch.column(columnar.parts(table.schema, n)[0])))
                    if n
                    else [None] * batch.num_rows
                )
                for n in (image, text, own)
            ]
        except columnar.BROKEN as e:
            raise columnar.damaged(table.path, "column of a", e) from None
        yield from zip(*of, strict=True)


def _decoded(value: str | bytes | None) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value or ""


PARQUET = Format(
    "a .parquet",
    (
        "`.parquet`, one or a folder or glob of them",
        "paths, bytes, or `{bytes, path}`; row groups are read whole, so keep them small",
        "`a.parquet::17`",
    ),
    endings=(".parquet",),
    shards=True,
    files=from_columns,
    readers={"parquet": Table},
)
