"""What a format is, what it makes of a path (an opened source, its rows streamed), and how columns are chosen."""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from ubt.core import roots
from ubt.core.errors import BadInput, UbtError
from ubt.core.settings import Settings, setting
from ubt.data.locations import IMAGE_ENDINGS, Folder, Locations, composed, natural, require_unchanged
from ubt.data.quarantine import IMAGE_BYTES, TEXT_BYTES, NotText

Text = str | bytes | None | list[str | bytes | None]
ROWS = 2**31
TABLES = ("captions.csv", "labels.csv")
"""Tables of pairs and of labelled images, which may lie beside each other."""
IMAGE_COLUMNS = tuple("image filepath image_path path file filename file_name img jpg png webp url".split())
ID_COLUMNS = ("id", "key", "uid")


class NoColumn(BadInput):
    """A column that is needed is not there, or not to be guessed; `there` are those that are."""

    def __init__(self, said: str, there: list[str]):
        super().__init__(said)
        self.there = there


class ReadOptions(Settings):
    """How any source is to be read; everything has a good guess.

    Each kind of rows says `what` text comes with an image, which is also the option that names its column; by which
    names that column is known (`texts`); and which `table` goes first in a folder or a zip.
    """

    what: ClassVar[str]
    texts: ClassVar[tuple[str, ...]]
    table: ClassVar[str]
    image: str = setting("", "column with the image's path or bytes; empty: guessed by its name")
    separator: str = setting(
        "", "what separates the columns of a text file, a character or 'tab'; empty: guessed from the first line"
    )
    folder: str = setting("", "folder that the images' paths are relative to; empty: the one that the file is in")
    limit: int = setting(0, "rows to read; 0: all of them", low=0, high=ROWS)
    decode: bool = setting(
        True, "each image is decoded once, so that broken and equal ones are counted; else when a case takes it"
    )

    @property
    def text(self) -> str:
        """The column of texts that was named; empty: to be guessed."""
        return getattr(self, self.what)


class Row(NamedTuple):
    """One row: its number from 1, or 0 for what belongs to no row; the image's place; caption (or a list of several)
    or label; an id of its own; why it cannot be used.
    """

    number: int
    image: str
    text: Text
    own: str | None
    broken: str


class Reader(Protocol):
    """Reads the bytes of images by their places, from several threads; `where` they are, without their places."""

    where: Locations

    def read(self, place: str) -> bytes:
        """The bytes at `place`.

        Raises:
            BrokenImage: there are none to be had. UbtError: the container has vanished or changed.
        """


class Files:
    """Reads images that are files in a folder; a place is `images/a.jpg`, relative to it."""

    def __init__(self, folder: Folder):
        self.folder, self.where = folder, Locations("files", str(folder.root), [])

    @classmethod
    def at(cls, where: Locations) -> Self:
        """A reader of places that were written down earlier."""
        return cls(Folder(Path(where.root)))

    def read(self, place: str) -> bytes:
        """As `Reader.read`."""
        return self.folder.read(self.folder.relative(place), IMAGE_BYTES)


@dataclass
class Source:
    """A source that was opened: its rows can be streamed and its images be read.

    Args:
        about: what it is, in words. reader: of its images. rows: streams them.
        files: what the files were known by. columns: those taken, by what they hold.
        size, done: units to read in all, and how many of them are read.
        classes: names of classes that it says itself. indexed: labels are indices into them.
        names: all its columns. inside: the name and bytes of a small text in an archive, None if it has none.
        path: as it was asked for.
    """

    about: str
    reader: Reader
    rows: Callable[[], Iterator[Row]]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    size: int = 0
    done: Callable[[], int] = lambda: 0
    classes: list[str] = field(default_factory=list)
    indexed: bool = False
    names: list[str] = field(default_factory=list)
    inside: Callable[[str], tuple[str, bytes] | None] | None = None
    path: Path = Path()

    def beside(self, name: str) -> tuple[str, bytes] | None:
        """A small text beside the images, such as `classes.txt`: its name and its first bytes; None if there is none.

        Raises:
            BrokenImage: an archive's member cannot be read.
        """
        if self.inside is not None:
            return self.inside(name)
        file = (self.path if self.path.is_dir() else self.path.parent) / name
        if not (roots.allowed(file) and file.is_file()):
            return None
        with file.open("rb") as f:
            return str(file), f.read(TEXT_BYTES + 1)


class Listing:
    """A folder whose files and folders are listed once, for every format to look at; links to folders (`linked`) and
    `hidden` folders are none of its `folders`.

    Args:
        endings: those of the files that some format reads.
    """

    def __init__(self, path: Path, endings: tuple[str, ...] = ()):
        self.path = path
        inside = sorted(path.iterdir(), key=lambda p: natural(p.name))
        self.files = [p for p in inside if p.is_file()]
        folders = [p for p in inside if p.is_dir()]
        self.linked = [p.name for p in folders if p.is_symlink()]
        self.hidden = [p.name for p in folders if p.name.startswith(".") and not p.is_symlink()]
        self.folders = [p.name for p in folders if p.name not in self.linked and p.name not in self.hidden]
        self.read_by_others = bool(self.of(endings))

    def of(self, endings: tuple[str, ...]) -> list[Path]:
        """The files that end so, by ending, then by name with `2` before `10`."""
        return [p for ending in endings for p in self.files if p.suffix.lower() == ending]


@dataclass(frozen=True)
class Format:
    """A format of pairs and of labelled images: one file of this folder, and one line in `FORMATS`.

    Args:
        expected: what it is, as an error says it after "expected".
        document: its row of the documents' table: what it is, what its pairs are, what an image's place looks like.
        endings: of the files that it reads.
        inside: of files by which a folder is taken for one; None: `endings`.
        shards: many files are one source; else each is one.
        certain: a file of such an ending in a folder is reason enough; else it is tried where nothing is certain.
        files: opens files of these endings; raises BadInput where they are none.
        folder: opens a folder that certainly is of this format; None if it is not.
        readers: of its images, by `Locations.kind`.
        holds: what comes with its images, of `ReadOptions.what`.
    """

    expected: str
    document: tuple[str, str, str]
    endings: tuple[str, ...] = ()
    inside: tuple[str, ...] | None = None
    shards: bool = False
    certain: bool = False
    files: Callable[[list[Path], ReadOptions], Source] | None = None
    folder: Callable[[Listing, ReadOptions], Source | None] | None = None
    readers: Mapping[str, Callable[[Locations], Reader]] = field(default_factory=dict)
    holds: tuple[str, ...] = ("caption", "label")

    @property
    def endings_inside(self) -> tuple[str, ...]:
        """Endings of the files by which a folder is taken for one."""
        return self.endings if self.inside is None else self.inside

    def in_folder(self, here: Listing) -> list[list[Path]]:
        """The files in a folder that may each, or together, be such a source."""
        found = here.of(self.endings_inside)
        return ([found] if found else []) if self.shards else [[p] for p in found]

    def surely(self, here: Listing, options: ReadOptions) -> Source | None:
        """The source that a folder certainly is; None if it may be another."""
        if self.folder and (source := self.folder(here, options)):
            return source
        for paths in self.in_folder(here):
            if self.certain or (not self.shards and paths[0].stem.lower() == Path(options.table).stem):
                return self.open(paths, options)
        return None

    def open(self, paths: list[Path], options: ReadOptions) -> Source:
        """The source that files are.

        Raises:
            BadInput: they are none. NotAllowed: one of them, or what a link leads to, may not be read.
        """
        for path in paths:
            roots.require(path)
        return self.files(paths, options)


def choose(there: list[str], wanted: str, known: tuple[str, ...], what: str, name: str, needed: bool = True) -> str:
    """The column that is asked for, or the first of the `known` names that is there, in any case; none without a name.

    Raises:
        NoColumn: there is none, or it is there twice.
    """
    lower: dict[str, list[str]] = {}
    for column in there:
        lower.setdefault(composed(column).lower(), []).append(column)
    if wanted:
        found = [wanted] if wanted in there else lower.get(composed(wanted).lower(), [])
    else:
        found = next((lower[k] for k in known if k in lower), [])
    if len(found) == 1 and there.count(found[0]) == 1:
        return found[0]
    if not found and not needed and not wanted:
        return ""
    has = ", ".join(repr(c[:40]) for c in there[:20]) or "none"
    asked = repr(wanted) if wanted else f"one of {', '.join(known)}"
    raise NoColumn(
        f"{name}: expected one {what} column, {asked}; got the columns {has}; name it with the option `{what}`", there
    )


def table_columns(names: list[str], options: ReadOptions, name: str) -> dict[str, str]:
    """Which columns of a table hold image, text and id, by those names.

    Raises:
        BadInput: none fits, or the one asked for is not there.
    """
    image = choose(names, options.image, IMAGE_COLUMNS, "image", name)
    text = choose(names, options.text, options.texts, options.what, name)
    own = choose(
        names, options.ident, tuple(c for c in ID_COLUMNS if c not in (image, text)), "ident", name, needed=False
    )
    return {"image": image, "text": text, "id": own}


def file_in(folder: Folder, name: str) -> str:
    """A file's name relative to its folder, which it does not leave, as the folder spells it.

    Raises:
        BrokenImage: it does, or there is none.
    """
    name = folder.spelled(folder.relative(name))
    folder.path(name)
    return name


def key_and_ending(name: str, options: ReadOptions) -> tuple[str, str]:
    """What an image and its text have in common in the names of their files, and the ending in lower case. Only what
    follows the last dot is an ending, unless the text's was named with more; a text may be called after the image's
    whole name.

    >>> from ubt.data.catalogue import SourceOptions
    >>> [key_and_ending(name, SourceOptions()) for name in ("a/photo.v2.JPG", "a/photo.v2.txt", "b.jpg.txt")]
    [('a/photo.v2', 'jpg'), ('a/photo.v2', 'txt'), ('b', 'jpg.txt')]
    """
    folder, slash, leaf = composed(name).rpartition("/")
    named = f".{options.text.lower()}"
    cut = -len(named) if options.text and leaf.lower().endswith(named) else leaf.rfind(".")
    if cut == 0 or cut == -len(leaf) or "." not in leaf:
        return f"{folder}{slash}{leaf}", ""
    stem, ending = leaf[:cut], leaf[cut:][1:].lower()
    before, dot, kind = stem.rpartition(".")
    if before and f"{dot}{kind}".lower() in IMAGE_ENDINGS and ending in text_endings(options):
        stem, ending = before, f"{kind.lower()}.{ending}"
    return f"{folder}{slash}{stem}", ending


def text_endings(options: ReadOptions) -> tuple[str, ...]:
    """Endings of the files that a caption or a label may be in, the first that is there counts."""
    return tuple(dict.fromkeys(filter(None, (options.text.lower(), "txt", "json"))))


def matched(endings: Collection[str], known: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """What the files of one key are, by their endings: which text each image has, and which files are left out, with
    the reason. Other files of an image's key belong to it.

    >>> matched(["jpg", "png", "gif.txt", "png.txt", "npy"], ("txt", "json"))
    ({'png': 'png.txt'}, {'jpg': 'image without caption', 'gif.txt': 'caption without image'})
    """
    pairs, left = {}, {}
    images = [e for e in endings if f".{e}" in IMAGE_ENDINGS]
    for image in images:
        text = next((t for t in (*(f"{image}.{k}" for k in known), *known) if t in endings), "")
        (pairs if text else left)[image] = text or "image without caption"
    for ending in endings:
        whose, _, kind = ending.rpartition(".")
        of_other = f".{whose}" in IMAGE_ENDINGS and whose not in images
        if ending not in images and (of_other or not images):
            is_text = ending in known or (of_other and kind in known)
            left[ending] = "caption without image" if is_text else "another kind of file"
    return pairs, left


def caption_in(data: bytes, ending: str, options: ReadOptions) -> Text:
    """A caption's bytes, or the caption in a JSON: a list is several captions, `null` and NaN are none, and what else
    is no text is `NotText`.
    """
    if ending != "json":
        return data
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return b"\xff"
    names = (options.text, *options.texts) if options.text and options.text.lower() != "json" else options.texts
    if not isinstance(found, dict):
        return None
    lower = {composed(k).lower(): v for k, v in found.items()}
    value = next((lower[k] for k in (composed(n).lower() for n in names) if k in lower), None)
    return as_texts(value, options)


def as_texts(value: Any, options: ReadOptions) -> Text:
    """A value of JSON or of a column as a caption, several, or a label; labels may be numbers, and are not several."""
    if isinstance(value, list) and options.what != "label":
        return [as_text(v, options) for v in value]
    return as_text(value, options)


def as_text(value: Any, options: ReadOptions) -> str | bytes | None:
    """One value as a text; None where it is missing, `NotText` where it is something else."""
    if value is None or isinstance(value, (str, bytes)) or value != value:
        return None if value is None or value != value else value
    if options.what == "label" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return NotText(repr(value)[:1000])


def one_each(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows, one for each of several captions of an image; an id of its own is `ID#2` for the second."""
    for row in rows():
        if not isinstance(row.text, list):
            yield row
            continue
        several = row.text or [None]
        for n, text in enumerate(several[:1] if row.broken else several, 1):
            yield row._replace(text=text, own=row.own if n == 1 or row.own is None else f"{row.own}#{n}")


def beside(path: Path, options: ReadOptions) -> Path:
    """The folder that a table's image paths are relative to.

    Raises:
        BadInput: there is none. NotAllowed: it may not be read.
    """
    folder = path.parent / options.folder
    roots.require(folder)
    if not folder.is_dir():
        raise BadInput(
            f"folder: expected the folder that the images' paths are relative to, got {folder}, which is none"
        )
    return folder


def common(paths: list[Path]) -> Path:
    """The folder that holds all of these files."""
    return Path(os.path.commonpath([p.resolve().parent for p in paths]))


def listed(where: Locations, name: str) -> Path:
    """The container of images with this name, unchanged since the rows were read.

    Raises:
        UbtError: it has vanished or changed, or is none of those that were read.
    """
    if name not in where.files:
        raise UbtError(
            f"{name}: expected one of the {len(where.files)} files that the pairs were read from, got another; read the"
            " pairs again"
        )
    path = Path(where.root) / name
    require_unchanged(path, where.files[name])
    return path
