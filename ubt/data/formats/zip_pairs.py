"""Pairs in a zip of images and a CSV."""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import BadZipFile

from ubt.core.errors import BadInput
from ubt.data.formats import archives, delimited
from ubt.data.formats.base import (
    IMAGE_COLUMNS,
    TABLES,
    Format,
    NoColumn,
    ReadOptions,
    Row,
    Source,
    choose,
    table_columns,
)
from ubt.data.locations import IMAGE_ENDINGS, Locations, fingerprint, relative, require_unchanged
from ubt.data.quarantine import IMAGE_BYTES, TEXT_BYTES, BrokenImage

_UNZIP = (BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error)


class Zip:
    """Reads members of a zip; a place is `images/a.jpg`. `zipfile` lets several threads read."""

    def __init__(self, where: Locations):
        self.where, path = where, Path(where.root)
        for known in where.files.values():
            require_unchanged(path, known)
        self.archive = archives.open_zip(path)
        self.members = archives.ZipMembers(self.archive)

    def read(self, place: str) -> bytes:
        """As `Reader.read`."""
        return archives.read_member(self.archive, self.members.get(place), IMAGE_BYTES)


def from_zip(paths: list[Path], options: ReadOptions) -> Source:
    """A zip of images and a CSV. Paths are relative to the CSV's own folder in the zip.

    Raises:
        BadInput: it is no zip, or no CSV in it has such columns.
    """
    (path,) = paths
    reader = Zip(Locations("zip", str(path.resolve()), [], {path.name: fingerprint(path)}))
    members = reader.members
    name, columns, head = _table(path, reader, options)
    folder = name.rpartition("/")[0]
    base = f"{options.folder}/" if options.folder else f"{folder}/"
    state: list[delimited.Lines] = []

    def place(image: str) -> str:
        return members.spelled(relative(base.lstrip("/") + relative(image)))

    def rows() -> Iterator[Row]:
        unnamed = set(members.good) - {name}
        yield from (Row(0, n, None, None, e.reason) for n, e in members.refused.items())
        try:
            with reader.archive.open(members.good[name]) as f:
                for row in delimited.pairs(f, head, columns, place, state):
                    unnamed.discard(row.image)
                    yield row
        except _UNZIP:
            yield Row(0, name, None, None, "damaged archive")
        yield from _left_out(reader, name, unnamed, place)

    def inside(text: str) -> tuple[str, bytes] | None:
        member = f"{folder}/{text}" if folder else text
        found = members.good.get(member)
        return found and (member, archives.read_member(reader.archive, found, TEXT_BYTES))

    return Source(
        f"zip with {name}",
        reader,
        rows,
        reader.where.files,
        columns,
        members.good[name].file_size,
        lambda: state[-1].bytes if state else 0,
        names=head.names,
        inside=inside,
    )


def _left_out(reader: Zip, table: str, unnamed: set[str], place: Callable[[str], str]) -> Iterator[Row]:
    """Members that neither this table names nor another one that lies beside it for a purpose of its own; by name."""
    folder = table.rpartition("/")[0]
    beside = [f"{folder}/{n}".lstrip("/") for n in (*TABLES, "classes.txt")]
    unnamed.difference_update(beside)
    for other in beside:
        if other == table or other not in reader.members.good or not other.endswith(".csv"):
            continue
        with contextlib.suppress(BadInput, *_UNZIP), reader.archive.open(reader.members.good[other]) as f:
            head = delimited.header(f, other)
            at = head.names.index(choose(head.names, "", IMAGE_COLUMNS, "image", other))
            for fields, _ in delimited.rows(delimited.Lines(f), head.separator, len(head.names), head.unnamed):
                with contextlib.suppress(BrokenImage, IndexError):
                    unnamed.discard(place(fields[at]))
    for name in sorted(unnamed):
        ending = Path(name).suffix.lower()
        of_table = "another table" if ending in (".csv", ".tsv") else "another kind of file"
        yield Row(0, name, None, None, "not in the table" if ending in IMAGE_ENDINGS else of_table)


def _table(path: Path, reader: Zip, options: ReadOptions) -> tuple[str, dict[str, str], delimited.Header]:
    """The first CSV whose columns fit: its name, the columns taken, and its header."""
    members, said, there = reader.members.good, [], []
    tables = sorted(
        (n for n in members if n.lower().endswith((".csv", ".tsv"))),
        key=lambda n: (Path(n).name.lower() != options.table, n.count("/"), n),
    )
    for name in tables:
        info = members[name]
        if info.file_size > (64 << 20) and info.file_size > archives.RATIO * info.compress_size:
            said.append(f"{name} is compressed too much")
            continue
        try:
            with reader.archive.open(info) as f:
                head = delimited.header(f, name, options.separator)
            return name, table_columns(head.names, options, name), head
        except BadInput as e:
            said.append(str(e))
            there = there or getattr(e, "there", [])
        except _UNZIP as e:
            said.append(f"{name} is damaged ({e})")
    got = "; ".join(said) or f"no CSV among {len(members)} members"
    raise NoColumn(f"{path}: expected a CSV ({options.table}) beside the images in the zip; got {got}", there)


ZIP = Format(
    "a .zip of images with a CSV in it",
    ("`.zip` with a CSV in it", "`captions.csv`, or the CSV whose columns fit; paths relative to it", "`images/a.jpg`"),
    endings=(".zip",),
    inside=(),
    files=from_zip,
    readers={"zip": Zip},
)
