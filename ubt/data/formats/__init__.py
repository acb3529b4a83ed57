"""The formats of pairs and of labelled images: which one a path is, and what reads its images.

A new format is one file here that declares a `Format`, and one line in `FORMATS`.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.data.formats.arrow_pairs import ARROW
from ubt.data.formats.base import TABLES, Format, Listing, Reader, ReadOptions, Row, Source, one_each
from ubt.data.formats.csv_pairs import CSV
from ubt.data.formats.folders import CLASS_FOLDERS, SIDECARS
from ubt.data.formats.parquet_pairs import PARQUET
from ubt.data.formats.webdataset import TAR
from ubt.data.formats.zip_pairs import ZIP
from ubt.data.locations import Locations, as_spelled, natural

FORMATS: dict[str, Format] = {
    "arrow": ARROW,
    "webdataset": TAR,
    "csv": CSV,
    "class folders": CLASS_FOLDERS,
    "texts": SIDECARS,
    "parquet": PARQUET,
    "zip": ZIP,
}
"""Every format, by name; a folder that may be several is taken for the first."""
MOST_SHARDS, MOST_BRACES = 100_000, 16
PATTERNS = "*?{"
"""What a path that is no file or folder stands for several by."""


def expected(what: str = "caption") -> str:
    """What a path of pairs, or with `label` of labelled images, can be, in words."""
    *others, last = (f.expected for f in FORMATS.values() if what in f.holds)
    return f"{', '.join(others)}, or {last}"


def reader(at: Locations) -> Reader:
    """What reads the images of some format at the places where they were found earlier.

    Raises:
        UbtError: what holds them has vanished or changed.
    """
    return next(f.readers[at.kind] for f in FORMATS.values() if at.kind in f.readers)(at)


def open_source(path: Path, options: ReadOptions) -> Source:
    """The source that a path is, opened; none of its rows is read yet.

    Raises:
        BadInput: it is none. NoColumn: its columns are not there, or cannot be guessed. NotAllowed: it may not be read.
    """
    if roots.roots() is not None:
        roots.require(_before_patterns(path), path)
    path = as_spelled(path)
    try:
        source = _opened(path, options)
    except OSError as e:
        raise BadInput(
            f"{path}: expected {expected(options.what)}; got one that cannot be opened ({e.strerror})"
        ) from None
    source.path, source.rows = path, partial(one_each, source.rows)
    return source


def _opened(path: Path, options: ReadOptions) -> Source:
    if any(c in str(path) for c in PATTERNS) and not path.exists():
        return _shards(_expanded(path), path, options)
    roots.require(path)
    if path.is_dir():
        return _folder(path, options)
    if not path.is_file():
        raise _refused(path, options, "no such file or folder" if not path.exists() else "neither file nor folder")
    if known := _of_ending(path, options):
        return known[0].open([path], options)
    raise _refused(path, options, f"a file ending in {path.suffix or 'nothing'!r}")


def _refused(path: Path, options: ReadOptions, got: str) -> BadInput:
    return BadInput(f"{path}: expected {expected(options.what)}; got {got}")


def _of_ending(path: Path, options: ReadOptions) -> list[Format]:
    return [f for f in FORMATS.values() if path.suffix.lower() in f.endings and options.what in f.holds]


def _before_patterns(path: Path) -> Path:
    """The folders at a path's beginning that no pattern stands in."""
    parts = list(itertools.takewhile(lambda part: not any(c in part for c in PATTERNS), path.parts))
    return Path(*parts)


def _shards(paths: list[Path], asked: Path, options: ReadOptions) -> Source:
    for path in paths:
        if not path.is_file():
            raise BadInput(f"{path}: expected a shard, as {asked} says; got no such file")
    endings = {p.suffix.lower() for p in paths}
    known = [f for f in _of_ending(paths[0], options) if f.shards]
    if len(endings) > 1 or not known:
        kinds = ", ".join(e for f in FORMATS.values() if f.shards for e in f.endings)
        raise BadInput(f"{asked}: expected files of one kind, of {kinds}; got {', '.join(sorted(endings))}")
    return known[0].open(paths, options)


def _folder(path: Path, options: ReadOptions) -> Source:
    source, here = _of_folder(path, options)
    tables = {e for f in FORMATS.values() for e in f.endings if e != ".txt"}
    beside = [p.name for p in here.files if p.suffix.lower() in tables and p.name not in TABLES]
    if source.files and (others := [n for n in beside if n not in source.files]):
        source.rows = partial(_then_named, source.rows, others)
    return source


def _then_named(rows: Callable[[], Iterator[Row]], others: list[str]) -> Iterator[Row]:
    """The rows of a folder's table or archive, then the other ones beside it, by name."""
    yield from rows()
    yield from (Row(0, name, None, None, "another table") for name in others)


def _of_folder(path: Path, options: ReadOptions) -> tuple[Source, Listing]:
    known = [f for f in FORMATS.values() if options.what in f.holds]
    here = Listing(path, tuple(e for f in known for e in f.endings_inside))
    for certain in known:
        if source := certain.surely(here, options):
            return source, here
    said = []
    for likely in known:
        for paths in likely.in_folder(here):
            try:
                return likely.open(paths, options), here
            except BadInput as e:
                said.append(str(e))
    links = f" and {len(here.linked)} links to folders, which are not followed" if here.linked else ""
    got = "; ".join(said) if said else f"none of them among {len(here.files)} files{links}"
    raise _refused(path, options, f"a folder with {got}")


def _expanded(asked: Path) -> list[Path]:
    """The files of a glob or a brace range, `{000..009}` or `{a,b}`. The folders at its beginning that are called so,
    brackets and all, are no patterns.
    """
    here, *parts = [Path(asked.anchor), *asked.relative_to(asked.anchor).parts]
    while len(parts) > 1 and (here / parts[0]).is_dir():
        here /= parts.pop(0)
    pattern = "/".join(parts)
    if pattern.count("{") > MOST_BRACES:
        raise BadInput(f"{str(asked)[:200]}: expected at most {MOST_BRACES} braces, got {pattern.count('{')}")
    files = _matching(here / pattern, asked) if len(parts) == 1 else []
    for name in () if files else itertools.islice(_braces(pattern), MOST_SHARDS + 1):
        files += _matching(here / name, asked) if any(c in name for c in "*?[") else [here / name]
        roots.require(files[-1] if files else here, asked)
    if not files:
        raise BadInput(f"{asked}: expected at least one file, got none")
    if len(files) > MOST_SHARDS:
        raise BadInput(f"{asked}: expected at most {MOST_SHARDS} files, got more")
    return files


def _matching(pattern: Path, asked: Path) -> list[Path]:
    """The files of a glob in the last part of a path."""
    roots.require(pattern.parent, asked)
    return sorted((f for f in pattern.parent.glob(pattern.name) if f.is_file()), key=lambda f: natural(f.name))


def _braces(pattern: str) -> Iterator[str]:
    """The names that a pattern with braces stands for, one by one: there may be more than anybody wants. As in a shell,
    `{1}` is a name.
    """
    found = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if found is None:
        if "{" in re.sub(r"\{[^{}]*\}", "", pattern):
            raise BadInput(f"{pattern}: expected braces as {{000..009}} or {{a,b}}, got others")
        yield pattern
        return
    span = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", found[1])
    numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
    for part in (str(n).zfill(len(span[1])) for n in numbers) if span else found[1].split(","):
        yield from _braces(pattern[: found.start()] + part + pattern[found.end() :])
