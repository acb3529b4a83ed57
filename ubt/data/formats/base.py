"""What every source gives: rows as (number, place, text, own id, why it is broken), streamed; and how columns are
chosen.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ubt.core.errors import BadInput
from ubt.data.locations import Folder
from ubt.data.quarantine import TEXT_BYTES

IMAGE_COLUMNS = (
    "image",
    "filepath",
    "image_path",
    "path",
    "file",
    "filename",
    "file_name",
    "img",
    "jpg",
    "png",
    "webp",
    "url",
)
ID_COLUMNS = ("id", "key", "uid")


class NoColumn(BadInput):
    """A column that is needed is not there, or not to be guessed; `there` are those that are."""

    def __init__(self, said: str, there: list[str]):
        super().__init__(said)
        self.there = there


@dataclass(frozen=True)
class Wanted:
    """Which columns are meant ('' = guessed): `text` is the captions' or the labels', known as `texts`; `what` says
    which of them.
    """

    what: str
    texts: tuple[str, ...]
    image: str = ""
    text: str = ""
    ident: str = ""
    separator: str = ""
    folder: str = ""


class Row(NamedTuple):
    """One row, from 1; 0 for what belongs to none."""

    number: int
    image: str
    text: str | bytes | None
    own: str | None
    broken: str


@dataclass
class Source:
    """Where images are (`kind`, `root`, `files`, `column` as of `Locations`), which columns were taken of those there
    (`names`), and the rows, streamed.
    """

    about: str
    kind: str
    root: Path
    rows: Callable[[], Iterator[Row]]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    column: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    size: int = 0
    done: Callable[[], int] = lambda: 0
    classes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def choose(there: list[str], wanted: str, known: tuple[str, ...], what: str, name: str, needed: bool = True) -> str:
    """The column that is asked for, or the first of the `known` names that is there, in any case.

    Raises:
        NoColumn: there is none, or it is there twice.
    """
    lower: dict[str, list[str]] = {}
    for column in there:
        lower.setdefault(column.lower(), []).append(column)
    found = (
        [wanted]
        if wanted in there
        else lower.get(wanted.lower(), [])
        if wanted
        else next((lower[k] for k in known if k in lower), [])
    )
    if len(found) == 1 and there.count(found[0]) == 1:
        return found[0]
    if not found and not needed and not wanted:
        return ""
    has = ", ".join(repr(c[:40]) for c in there[:20]) or "none"
    asked = repr(wanted) if wanted else f"one of {', '.join(known)}"
    raise NoColumn(
        f"{name}: expected one {what} column, {asked}; got the columns {has}; name it with the option `{what}`", there
    )


def table_columns(names: list[str], want: Wanted, name: str) -> dict[str, str]:
    """Which columns of a table hold image, text and id, by those names.

    Raises:
        BadInput: none fits, or the one asked for is not there.
    """
    image = choose(names, want.image, IMAGE_COLUMNS, "image", name)
    text = choose(names, want.text, want.texts, want.what, name)
    own = choose(names, want.ident, tuple(c for c in ID_COLUMNS if c not in (image, text)), "ident", name, needed=False)
    return {"image": image, "text": text, "id": own}


def file_in(folder: Folder, name: str) -> str:
    """A file's name relative to its folder, which it does not leave.

    Raises:
        BrokenImage: it does, or there is none.
    """
    name = folder.relative(name)
    folder.path(name)
    return name


def caption_in(data: bytes, ending: str, want: Wanted) -> str | bytes | None:
    """A caption's bytes, or the caption in a JSON."""
    if ending != "json":
        return data
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return b"\xff"
    names = (want.text, *want.texts) if want.text and want.text.lower() != "json" else want.texts
    text = next((found[n] for n in names if n in found), None) if isinstance(found, dict) else None
    return text if text is None or isinstance(text, str) else str(text)[:TEXT_BYTES]


def beside(path: Path, want: Wanted) -> Path:
    """The folder that a table's image paths are relative to.

    Raises:
        BadInput: there is none.
    """
    folder = path.parent / want.folder
    if not folder.is_dir():
        raise BadInput(
            f"folder: expected the folder that the images' paths are relative to, got {folder}, which is none"
        )
    return folder


def common(paths: list[Path]) -> Path:
    """The folder that holds all of these files."""
    return Path(os.path.commonpath([p.resolve().parent for p in paths]))
