"""Pairs in a CSV or TSV beside the images, or in one zip with them."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import BadZipFile

from ubt.core.errors import BadInput
from ubt.data.formats import archives, delimited
from ubt.data.formats.base import NoColumn, Row, Source, Wanted, beside, file_in, table_columns
from ubt.data.locations import Folder, fingerprint, relative
from ubt.data.quarantine import BrokenImage

TABLES = (".csv", ".tsv")
_UNZIP = (BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error)


def from_table(path: Path, want: Wanted) -> Source:
    """A CSV or TSV with the paths of images."""
    folder = Folder(beside(path, want))
    with path.open("rb") as f:
        names, separator = delimited.header(f, path.name, want.separator)
    columns = table_columns(names, want, path.name)
    state: list[delimited.Lines] = []

    def rows() -> Iterator[Row]:
        with path.open("rb") as f:
            state.append(delimited.Lines(f))
            yield from _table_rows(state[-1], separator, names, columns, lambda name: file_in(folder, name))

    return Source(
        "table",
        "files",
        folder.root,
        rows,
        {path.name: fingerprint(path)},
        "",
        columns,
        path.stat().st_size,
        lambda: state[-1].bytes if state else 0,
        names=names,
    )


def _table_rows(
    lines: delimited.Lines, separator: str, names: list[str], columns: dict[str, str], place: Callable[[str], str]
) -> Iterator[Row]:
    next(iter(lines))
    image, text = names.index(columns["image"]), names.index(columns["text"])
    own = names.index(columns["id"]) if columns.get("id") else -1
    for number, (fields, reason) in enumerate(delimited.rows(lines, separator, len(names)), 1):
        if reason:
            at, said = (fields[i] if i < len(fields) else "" for i in (image, text))
            yield Row(number, at or fields[0][:200], said, None, reason)
            continue
        try:
            found = place(fields[image])
        except BrokenImage as e:
            found, reason = fields[image], e.reason
        yield Row(number, found, fields[text], fields[own] if own >= 0 else None, reason)


def from_zip(path: Path, want: Wanted, table: str) -> Source:
    """A zip of images and a CSV; `table` is the CSV's name that goes first. Paths are relative to the CSV's own folder
    in the zip.
    """
    archive = archives.open_zip(path)
    members = archives.ZipMembers(archive)
    tables = sorted(
        (n for n in members.good if n.lower().endswith(TABLES)),
        key=lambda n: (Path(n).name.lower() != table, n.count("/"), n),
    )
    chosen, said, there = None, [], []
    for name in tables:
        info = members.good[name]
        if info.file_size > (64 << 20) and info.file_size > archives.RATIO * info.compress_size:
            said.append(f"{name} is compressed too much")
            continue
        try:
            with archive.open(info) as f:
                names, separator = delimited.header(f, name, want.separator)
            chosen = name, table_columns(names, want, name), names, separator
            break
        except BadInput as e:
            said.append(str(e))
            there = there or getattr(e, "there", [])
        except _UNZIP as e:
            said.append(f"{name} is damaged ({e})")
    if chosen is None:
        got = "; ".join(said) or f"no CSV among {len(members.good)} members"
        raise NoColumn(f"{path}: expected a CSV ({table}) beside the images in the zip; got {got}", there)
    name, columns, names, separator = chosen
    base = f"{want.folder}/" if want.folder else f"{name.rpartition('/')[0]}/"
    state: list[delimited.Lines] = []

    def place(image: str) -> str:
        inside = relative(base.lstrip("/") + relative(image))
        members.get(inside)
        return inside

    def rows() -> Iterator[Row]:
        yield from (Row(0, n, None, None, e.reason) for n, e in members.refused.items())
        try:
            with archives.open_zip(path) as again, again.open(members.good[name]) as f:
                state.append(delimited.Lines(f))
                yield from _table_rows(state[-1], separator, names, columns, place)
        except _UNZIP:
            yield Row(0, name, None, None, "damaged archive")

    size = members.good[name].file_size
    files = {path.name: fingerprint(path)}
    return Source(
        f"zip with {name}",
        "zip",
        path.resolve(),
        rows,
        files,
        "",
        columns,
        size,
        lambda: state[-1].bytes if state else 0,
        names=names,
    )
