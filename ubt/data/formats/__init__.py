"""The sources of pairs and of labelled images: what a path is."""

import itertools
import os
import re
from pathlib import Path

from ubt.core.errors import BadInput
from ubt.data.formats.base import Source, Wanted
from ubt.data.formats.csv_pairs import TABLES, from_table, from_zip
from ubt.data.formats.folders import from_sidecars
from ubt.data.formats.parquet_pairs import from_columns
from ubt.data.formats.webdataset import from_shards
from ubt.data.locations import IMAGE_ENDINGS, natural

EXPECTED = (
    "a CSV or TSV, a .tar shard (or a folder, a glob or a {000..009} of them), a .parquet, a folder that Hugging Face"
    " `datasets` saved, a .zip of images with a CSV in it, or a folder of images"
)


def find(path: Path, want: Wanted, table: str) -> Source:
    """The source that a path is; `table` is the name of the CSV that goes first in a folder or zip.

    Raises:
        BadInput: it is none, or its columns are not there.
    """
    if any(c in str(path) for c in "*?{") and not path.exists():
        return _several(_expanded(str(path)), path, want)
    try:
        if path.is_dir():
            return _folder(path, want, table)
        if not path.is_file():
            raise BadInput(
                f"{path}: expected {EXPECTED}; got"
                f" {'no such file or folder' if not path.exists() else 'neither file nor folder'}"
            )
        ending = path.suffix.lower()
        if ending == ".zip":
            return from_zip(path, want, table)
        if ending in (*TABLES, ".txt"):
            return from_table(path, want)
        if ending in (".tar", ".parquet", ".arrow"):
            return _several([path], path, want)
    except OSError as e:
        raise BadInput(f"{path}: expected {EXPECTED}; got one that cannot be opened ({e.strerror})") from None
    raise BadInput(f"{path}: expected {EXPECTED}; got a file ending in {path.suffix or 'nothing'!r}")


def _several(paths: list[Path], asked: Path, want: Wanted) -> Source:
    endings = {p.suffix.lower() for p in paths}
    for path in paths:
        if not path.is_file():
            raise BadInput(f"{path}: expected a shard, as {asked} says; got no such file")
    if endings == {".tar"}:
        return from_shards(paths, want)
    if endings in ({".parquet"}, {".arrow"}):
        return from_columns(paths, want)
    raise BadInput(
        f"{asked}: expected .tar, .parquet or .arrow files of one kind, got {', '.join(sorted(endings)) or 'none'}"
    )


def _folder(path: Path, want: Wanted, table: str) -> Source:
    if (path / "dataset_dict.json").is_file():
        splits = sorted(p.name for p in path.iterdir() if (p / "state.json").is_file())
        if "train" not in splits and len(splits) != 1:
            raise BadInput(
                f"{path}: expected one split or one called train, got {', '.join(splits) or 'none'}; name a split's"
                " folder"
            )
        path = path / ("train" if "train" in splits else splits[0])
    here = sorted((p for p in path.iterdir() if p.is_file()), key=lambda p: natural(p.name))
    of = {e: [p for p in here if p.suffix.lower() == e] for e in (".arrow", ".tar", ".parquet", *TABLES)}
    if of[".arrow"] or of[".tar"]:
        return _several(of[".arrow"] or of[".tar"], path, want)
    tables = of[".csv"] + of[".tsv"]
    named = [p for p in tables if p.stem.lower() == Path(table).stem]
    if named:
        return from_table(named[0], want)
    if _has_sidecars(path):
        return from_sidecars(path, want)
    said = []
    for make in [lambda p=p: from_table(p, want) for p in tables] + (
        [lambda: from_columns(of[".parquet"], want)] if of[".parquet"] else []
    ):
        try:
            return make()
        except BadInput as e:
            said.append(str(e))
    raise BadInput(
        f"{path}: expected {EXPECTED}; got a folder with"
        f" {'; '.join(said) if said else f'none of them among {len(here)} files'}"
    )


def _has_sidecars(path: Path) -> bool:
    for _, _, files in itertools.islice(os.walk(path), 1000):
        there = set(files)
        for name in itertools.islice((f for f in files if f.lower().endswith(IMAGE_ENDINGS)), 1000):
            stem = name.rpartition(".")[0]
            if f"{stem}.txt" in there or f"{stem}.json" in there:
                return True
    return False


def _expanded(pattern: str) -> list[Path]:
    """The files of a glob or a brace range, `{000..009}` or `{a,b}`."""
    patterns, most = [pattern], 100_000
    while any("{" in p for p in patterns):
        longer = []
        for p in patterns:
            found = re.search(r"\{([^{}]*)\}", p)
            if not found:
                raise BadInput(f"{pattern}: expected braces as {{000..009}} or {{a,b}}, got others")
            span = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", found[1])
            if span and int(span[2]) - int(span[1]) > most:
                raise BadInput(f"{pattern}: expected at most {most} shards, got {int(span[2]) - int(span[1]) + 1}")
            parts = (
                [str(i).zfill(len(span[1])) for i in range(int(span[1]), int(span[2]) + 1)]
                if span
                else found[1].split(",")
            )
            longer += [p[: found.start()] + part + p[found.end() :] for part in parts]
            if len(longer) > most:
                raise BadInput(f"{pattern}: expected at most {most} shards, got more")
        patterns = longer
    files = []
    for p in patterns:
        if any(c in p for c in "*?["):
            folder = Path(p).parent
            files += sorted((f for f in folder.glob(Path(p).name) if f.is_file()), key=lambda f: natural(f.name))
        else:
            files.append(Path(p))
    if not files:
        raise BadInput(f"{pattern}: expected at least one file, got none")
    return files
