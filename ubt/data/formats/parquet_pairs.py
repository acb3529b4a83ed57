"""Pairs in parquet files, or in the Arrow files of a folder that Hugging Face `datasets` saved."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ubt.core.errors import BadInput
from ubt.data.formats import columnar
from ubt.data.formats.base import ID_COLUMNS, IMAGE_COLUMNS, Row, Source, Wanted, beside, choose, common, file_in
from ubt.data.locations import Folder, fingerprint
from ubt.data.quarantine import BrokenImage


def from_columns(paths: list[Path], want: Wanted) -> Source:
    """Parquet files, or the Arrow files of Hugging Face `datasets`: a column of image paths, or of images.

    Raises:
        BadInput: a file is damaged, they differ in their columns, or none fits.
    """
    root = common(paths)
    names = {str(p.relative_to(root)): p for p in paths}
    tables = {n: columnar.opened(p) for n, p in names.items()}
    first = next(iter(tables.values()))
    kinds = {f.name: f.type for f in first.schema}
    image = choose(
        [n for n, k in kinds.items() if columnar.is_image(k) or columnar.can_be_text(k)],
        want.image,
        IMAGE_COLUMNS,
        "image",
        paths[0].name,
    )
    texts = [n for n, k in kinds.items() if columnar.can_be_text(k) and n != image]
    text = choose(texts, want.text, want.texts, want.what, paths[0].name)
    own = choose(texts, want.ident, ID_COLUMNS, "ident", paths[0].name, needed=False)
    for name, table in tables.items():
        if [(f.name, f.type) for f in table.schema if f.name in (image, text, own)] != [
            (n, k) for n, k in kinds.items() if n in (image, text, own)
        ]:
            raise BadInput(
                f"{name}: expected the columns {image}, {text} as in {paths[0].name}, got others; keep one layout in a"
                " folder"
            )
    held = columnar.is_image(kinds[image]) and not columnar.by_path(first, image)
    at = f"{image}.path" if columnar.is_image(kinds[image]) else image
    kind = ("parquet" if isinstance(first, columnar.ParquetFile) else "arrow") if held else "files"
    folder = None if held else Folder(beside(paths[0], want))
    done = [0]

    def rows() -> Iterator[Row]:
        numbers = itertools.count(1)
        for name, table in tables.items():
            for row, (place, said, key) in enumerate(_cells(table, "" if held else at, text, own)):
                reason = ""
                if folder is None:
                    place = f"{name}::{row}"
                else:
                    try:
                        place = file_in(folder, _decoded(place))
                    except BrokenImage as e:
                        reason, place = (
                            e.reason,
                            place if isinstance(place, str) else repr(place)[2:-1] if place else "",
                        )
                yield Row(next(numbers), place, said, None if key is None else _decoded(key), reason)
                done[0] += 1

    files = {n: fingerprint(p) for n, p in names.items()}
    columns = {"image": image, "text": text, "id": own}
    size = sum(t.starts[-1] for t in tables.values())
    made = columnar.class_names(first.schema, text)
    about, held_in = f"{len(paths)} columnar file{'s' * (len(paths) > 1)}", image if held else ""
    return Source(
        about,
        kind,
        folder.root if folder else root,
        rows,
        files,
        held_in,
        columns,
        size,
        lambda: done[0],
        made,
        list(kinds),
    )


def _cells(table: Any, image: str, text: str, own: str) -> Iterator[tuple[Any, Any, Any]]:
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
