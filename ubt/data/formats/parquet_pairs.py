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
    while there is room. A place is `train-00000.parquet::17`: file, row; or that of a file, where a row says a path.

    Args:
        where: where they are. files: those that are open already, by name.
    """

    def __init__(self, where: Locations, files: dict[str, Opened] | None = None):
        self.where, self.files, self.lock = where, files or {}, threading.Lock()
        self.folder = Folder(Path(where.folder)) if where.folder else None
        self.groups: OrderedDict[tuple[str, int], pa.Array] = OrderedDict()

    def read(self, place: str) -> bytes:
        """As `Reader.read`."""
        name, _, row = place.rpartition("::")
        if self.folder is not None and name not in self.where.files:
            return self.folder.read(self.folder.relative(place), IMAGE_BYTES)
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
    kinds = {f.name: f.type for f in first.schema if f.name}
    image, text, own = _columns(tables, kinds, options, paths[0].name)
    files, done = {n: fingerprint(p) for n, p in names.items()}, [0]
    by_path = not columnar.is_image(kinds[image]) or columnar.path_type(kinds[image])
    folder = Folder(base.beside(paths[0], options)) if by_path else None
    if columnar.is_image(kinds[image]):
        stored = "parquet" if isinstance(first, columnar.ParquetFile) else "arrow"
        reader = Table(Locations(stored, str(root), [], files, image, str(folder.root) if folder else ""), tables)
    else:
        reader = Files(folder)

    def rows() -> Iterator[Row]:
        for row in _rows(tables, image, text, own, folder):
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
    captions = options.what != "label"
    fit = {
        "image": [n for n, k in kinds.items() if columnar.is_image(k) or columnar.is_text(k)],
        options.what: [n for n, k in kinds.items() if columnar.is_text(k, not captions, captions)],
        "ident": [n for n, k in kinds.items() if columnar.is_text(k, numbers=True)],
    }
    image = _column(kinds, fit["image"], options.image, base.IMAGE_COLUMNS, "image", name)
    texts = [n for n in fit[options.what] if n != image]
    text = _column(kinds, texts, options.text, options.texts, options.what, name)
    ids = [n for n in fit["ident"] if n != image]
    own = base.choose(ids, options.ident, base.ID_COLUMNS, "ident", name, needed=False)
    taken = [(n, k) for n, k in kinds.items() if n in (image, text, own)]
    for other, table in tables.items():
        if [(f.name, f.type) for f in table.schema if f.name in kinds and f.name in (image, text, own)] != taken:
            raise BadInput(
                f"{other}: expected the columns {image}, {text} as in {name}, got others; keep one layout in a folder"
            )
    return image, text, own


def _column(
    kinds: dict[str, pa.DataType], fit: list[str], wanted: str, known: tuple[str, ...], what: str, name: str
) -> str:
    """The column chosen among those whose type fits.

    Raises:
        NoColumn: there is none; one of such a name and another type is named.
    """
    try:
        return base.choose(fit, wanted, known, what, name)
    except base.NoColumn as e:
        there = base.choose(list(kinds), wanted, known, what, name)
        raise base.NoColumn(
            f"{name}: expected {'paths or bytes' if what == 'image' else 'text'} in the {what} column {there!r}, got"
            f" the type {kinds[there]}; write it as such, or name another column with the option `{what}`",
            e.there,
        ) from None


def _rows(tables: dict[str, Opened], image: str, text: str, own: str, folder: Folder | None) -> Iterator[Row]:
    """The rows of all files; their images are in the files, or in `folder` where a row says a path and has no bytes."""
    numbers = itertools.count(1)
    for name, table in tables.items():
        for row, (held, value, said, key) in enumerate(_cells(table, image, text, own, folder)):
            place, reason = f"{name}::{row}", ""
            if not held and not value and columnar.is_image(table.schema.field(image).type):
                reason = "zero-size image"
            elif not held:
                try:
                    place = _file(folder, _decoded(value), tables)
                except BrokenImage as e:
                    place, reason = value if isinstance(value, str) else repr(value)[2:-1] if value else "", e.reason
            yield Row(next(numbers), place, said, None if key is None else _decoded(key), reason)


def _file(folder: Folder, name: str, tables: dict[str, Opened]) -> str:
    """The place of an image that is a file; it does not look like a place in one of the tables."""
    place = base.file_in(folder, name)
    if place.rpartition("::")[0] in tables:
        raise BrokenImage("unusable name", place)
    return place


def _cells(
    table: Opened, image: str, text: str, own: str, folder: Folder | None
) -> Iterator[tuple[bool, Any, Any, Any]]:
    """Whether a row has bytes of an image, the path that it says, its text and its id."""
    for batch in table.batches([n for n in dict.fromkeys((image if folder else "", text, own)) if n]):
        try:
            none = [None] * batch.num_rows
            held, paths = [True] * batch.num_rows, none
            if folder is not None and pa.types.is_struct((column := batch.column(image)).type):
                held, paths = columnar.images_and_paths(column)
            elif folder is not None:
                held, paths = [False] * batch.num_rows, columnar.texts(column)
            of = [columnar.texts(batch.column(n)) if n else none for n in (text, own)]
        except columnar.BROKEN as e:
            raise columnar.damaged(table.path, "column of a", e) from None
        yield from zip(held, paths, *of, strict=True)


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
