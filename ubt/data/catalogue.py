"""A catalogue of the analyst's own pairs: ids, captions and where the images are, read once; broken rows are
quarantined with their reason.

Images are not read here but by `ubt.data.images` when they are needed. Captions are taken as they are (HTML, formulas,
any script): whoever shows or exports them escapes them.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ubt.core.errors import BadInput
from ubt.core.run import Progress, silent
from ubt.core.settings import setting
from ubt.data import formats
from ubt.data.fit import STOCK, Fit
from ubt.data.formats.base import ReadOptions, Row, Source
from ubt.data.images import TINY, Images, sift
from ubt.data.locations import Locations
from ubt.data.quarantine import LONGEST_ID, BrokenImage, clean_text, shown, usable

CAPTION_COLUMNS = ("caption", "title", "text", "txt", "sentence", "alt_text", "description", "captions")
CHUNK = 65_536
SIDE = 8
"""Pixels a side to which an image is decoded that is only to be checked."""
NOTES = {
    "duplicate pair": "an earlier row has the same image, byte for byte, and the same text",
    "tiny image": f"its shorter side has less than {TINY} pixels",
}
"""What is said of rows that stay in, and what that means."""
LISTED = 10_000


class SourceOptions(ReadOptions):
    """How a file of pairs is to be read; everything has a good guess."""

    what: ClassVar = "caption"
    texts: ClassVar = CAPTION_COLUMNS
    table: ClassVar = "captions.csv"
    caption: str = setting("", "column, or ending in an archive, with the caption; empty: guessed by its name")
    ident: str = setting("", "column with an id of each pair; empty: id, key or uid, else the image's place")


class Kept:
    """Columns of text that grow, kept by Arrow in chunks."""

    def __init__(self, **kinds: pa.DataType):
        self.kinds, self.chunks = kinds, []
        self.rows: list[tuple] = []

    def add(self, *values: Any) -> None:
        """One more row."""
        self.rows.append(values)
        if len(self.rows) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.kinds)
        self.chunks.append(
            pa.RecordBatch.from_arrays(
                [pa.array(c, k) for c, k in zip(columns, self.kinds.values(), strict=True)], list(self.kinds)
            )
        )
        self.rows = []

    def table(self) -> pa.Table:
        """All rows so far."""
        self._flush()
        return pa.Table.from_batches(self.chunks)


TEXT = pa.large_string()


class Quarantine:
    """The rows that are left out, with their reasons; `beside`: how many files and folders among them, in no row."""

    def __init__(self) -> None:
        self.kept = Kept(row=pa.int64(), image=TEXT, caption=TEXT, reason=pa.dictionary(pa.int16(), pa.string()))
        self.counts: Counter[str] = Counter()
        self.beside = 0

    def add(self, row: int, image: str | bytes | None, caption: str | bytes | None, reason: str) -> None:
        """Leave a row out, with what was in it and why."""
        self.kept.add(row, shown(image), shown(caption), reason)
        self.counts[reason] += 1
        self.beside += row == 0

    def frame(self) -> pd.DataFrame:
        """row (from 1; 0: none of the rows), image, caption, reason; in the order of rows."""
        table = self.kept.table()
        table = table.set_column(3, "reason", table["reason"].cast(pa.string()))
        return as_frame(table.sort_by("row"))


def as_frame(table: pa.Table) -> pd.DataFrame:
    """A table as a frame, its text still in Arrow's memory."""
    return table.to_pandas(
        types_mapper={TEXT: pd.StringDtype("pyarrow", na_value=float("nan"))}.get, split_blocks=True, self_destruct=True
    )


def read(path: Path, options: SourceOptions | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Read pairs from whatever `path` is (see `ubt.data.formats`), streamed; and decode each image once, unless the
    options say otherwise.

    Args:
        path: a file, a folder, or a glob or brace range of shards. progress: called with units done and in all (bytes
            of a text file or of shards, rows of a table; then images) and the rows so far; may raise `Cancelled`.

    Returns:
        `pairs`: id, caption, image (its place), in the file's order. `quarantine`: row, image, caption, reason.
        `notes` and `noted`: as of `decoded`; not there where nothing was decoded. `about`: what was read, from which
        columns, what the files were known by, counts; plain values, with which `open_images` finds the images again.

    Raises:
        BadInput: it is no source of pairs, or no pair in it can be used.
    """
    options = options or SourceOptions()
    return read_source(formats.open_source(Path(path), options), options, progress)


def read_source(source: Source, options: SourceOptions, progress: Progress = silent) -> dict[str, Any]:
    """As `read`, of a source that is open already."""
    kept, quarantine = Kept(row=pa.int64(), id=TEXT, caption=TEXT, image=TEXT, again=pa.bool_()), Quarantine()
    total = 0
    for row in watched(source, options.limit, progress):
        total += row.number > 0
        if row.broken:
            quarantine.add(row.number, row.image, row.text, row.broken)
            continue
        try:
            caption = clean_text(row.text)
            own = row.own is not None
            kept.add(
                row.number,
                usable(row.own, "unusable id", LONGEST_ID) if own else row.image,
                caption,
                row.image,
                not own,
            )
        except BrokenImage as e:
            quarantine.add(row.number, row.image, row.text, e.reason)
    table = _unique(kept.table(), quarantine)
    duplicates, odd = None, {}
    if options.decode:
        table, duplicates, odd = decoded(table, "caption", source, quarantine, progress)
    pairs = as_frame(table.select(["id", "caption", "image"]))
    about = described(source, options, total, len(pairs), quarantine, "pairs", duplicates)
    return {"pairs": pairs, "quarantine": quarantine.frame(), "about": about, **odd}


def watched(source: Source, limit: int, progress: Progress) -> Iterator[Row]:
    """The rows up to `limit`."""
    read = 0
    for row in source.rows():
        if row.number:
            if limit and read >= limit:
                break
            read += 1
            if read % 20_000 == 0:
                progress(source.done(), max(source.size, source.done()), {"rows": float(read)})
        yield row
    progress(max(source.size, 1), max(source.size, 1), {"rows": float(read)})


def _unique(table: pa.Table, quarantine: Quarantine) -> pa.Table:
    """Ids made unique: an image that comes again is `PLACE#2`, an own id that comes again is quarantined."""
    own_ids = as_frame(table.select(["id", "again"]))
    if own_ids["id"].duplicated().any():
        times = own_ids.groupby("id", sort=False).cumcount().to_numpy()
        more = (times > 0) & own_ids["again"].to_numpy(bool)
        own_ids.loc[more, "id"] = (
            own_ids.loc[more, "id"] + "#" + pd.Series(times[more] + 1, index=own_ids.index[more]).astype(str)
        )
        twice = own_ids["id"].duplicated().to_numpy()
        for row in table.filter(pa.array(twice)).select(["row", "image", "caption"]).to_pylist():
            quarantine.add(row["row"], row["image"], row["caption"], "duplicate id")
        table = table.set_column(1, "id", pa.array(own_ids["id"], TEXT)).filter(pa.array(~twice))
    return table


def decoded(
    table: pa.Table, text: str, source: Source, quarantine: Quarantine, progress: Progress = silent
) -> tuple[pa.Table, dict[str, int], dict[str, Any]]:
    """The rows (row, image, `text`) whose images can be decoded, each of these decoded once; the others are left out.
    And how many `rows` have the bytes of an earlier row's image and its text, and how many `images` the bytes of an
    earlier image in another place. And what is odd about rows that stay in: `notes`, how many by `NOTES`, and `noted`,
    the first `LISTED` rows of each: row, image, caption, reason.
    """
    codes, places = pd.factorize(as_frame(table.select(["image"]))["image"])
    images, read = Images.of(source, np.asarray(places, object), SIDE), {"rows": float(len(table))}
    broken = sift(images, np.arange(len(places)), progress=lambda done, of, told: progress(done, of, read | told))
    lost = np.isin(codes, list(broken))
    for code, row in zip(codes[lost], table.filter(pa.array(lost)).to_pylist(), strict=True):
        quarantine.add(row["row"], row["image"], row[text], broken[int(code)])
    table = table.filter(pa.array(~lost))
    kept = codes[~lost]
    twice = as_frame(table.select([text])).assign(mark=images.marks[kept]).duplicated().to_numpy()
    good = np.delete(images.marks, list(broken))
    noted, odd = Quarantine(), dict(zip(NOTES, (twice, images.tiny[kept]), strict=True))
    for reason, rows in odd.items():
        for row in table.take(pa.array(np.flatnonzero(rows)[:LISTED])).to_pylist():
            noted.add(row["row"], row["image"], row[text], reason)
    notes = {reason: int(rows.sum()) for reason, rows in odd.items()}
    duplicates = {"rows": notes["duplicate pair"], "images": len(good) - len(np.unique(good))}
    return table, duplicates, {"notes": notes, "noted": noted.frame()}


def described(
    source: Source,
    options: ReadOptions,
    read: int,
    kept: int,
    quarantine: Quarantine,
    what: str,
    duplicates: dict[str, int] | None = None,
) -> dict[str, Any]:
    """What was read and from where, as plain values; with `duplicates` as of `decoded`.

    Raises:
        BadInput: nothing was kept.
    """
    counts = dict(quarantine.counts.most_common())
    if not kept:
        reasons = "; ".join(f"{n} {reason}" for reason, n in counts.items())
        examples = ", ".join(repr(row["image"][:60]) for row in islice(quarantine.kept.table().to_pylist(), 3))
        raise BadInput(
            f"{source.path}: expected {what}, got none that can be used:"
            f" {reasons + ' (' + examples + ')' if reasons else 'it is empty'}"
        )
    return {
        "kind": source.about,
        "path": str(source.path),
        "columns": source.columns,
        "options": options.to_dict(),
        "files": source.files,
        "images": source.reader.where.about(),
        "read": read,
        "kept": kept,
        "quarantined": counts,
        "beside": quarantine.beside,
    } | ({} if duplicates is None else {"duplicates": duplicates})


def open_images(about: dict[str, Any], places: Any, size: int, fit: Fit = STOCK) -> Images:
    """The images at `places` (a column of `pairs`), of a source that `about` describes; none is read yet. `fit`: how
    they become squares of `size` pixels.

    Raises:
        BadInput: an image has no place.
    """
    array = pa.array(places, TEXT) if not isinstance(places, (pa.Array, pa.ChunkedArray)) else places
    if pc.any(pc.is_null(array)).as_py():
        raise BadInput("places: expected a place for every image, got none for some")
    return Images(Locations(places=array, **about["images"]), size, fit=fit)
