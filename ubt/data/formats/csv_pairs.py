"""Pairs in a CSV or TSV beside the images."""

from collections.abc import Iterator
from pathlib import Path

from ubt.data.formats import delimited
from ubt.data.formats.base import Files, Format, ReadOptions, Row, Source, beside, file_in, table_columns
from ubt.data.locations import Folder, fingerprint


def from_table(paths: list[Path], options: ReadOptions) -> Source:
    """A CSV or TSV with the paths of images.

    Raises:
        BadInput: it has no such columns, or the images' folder is not there.
    """
    (path,) = paths
    folder = Folder(beside(path, options))
    with path.open("rb") as f:
        head = delimited.header(f, path.name, options.separator)
    columns = table_columns(head.names, options, path.name)
    state: list[delimited.Lines] = []

    def rows() -> Iterator[Row]:
        with path.open("rb") as f:
            yield from delimited.pairs(f, head, columns, lambda name: file_in(folder, name), state)

    return Source(
        "table",
        Files(folder),
        rows,
        {path.name: fingerprint(path)},
        columns,
        path.stat().st_size,
        lambda: state[-1].bytes if state else 0,
        names=head.names,
    )


CSV = Format(
    "a CSV or TSV",
    (
        "`.csv`, `.tsv`",
        "UTF-8; tab, comma, semicolon or bar; paths relative to the file, or to the option `folder`; quoted newlines",
        "`images/a.jpg`",
    ),
    endings=(".csv", ".tsv", ".txt"),
    inside=(".csv", ".tsv"),
    files=from_table,
    readers={"files": Files.at},
)
