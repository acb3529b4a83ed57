"""Where imported images are: names that stay inside a root, files recognised again, and rows of places."""

import contextlib
import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ubt.core.errors import UbtError
from ubt.core.files import file_digest
from ubt.data.quarantine import LONGEST_NAME, BrokenImage, usable

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
DIGESTED = 256 << 20
"""Bytes up to which a file is known by its SHA-256 and not only by its size and time."""


def relative(name: str) -> str:
    """`name` with forward slashes only and without empty or `.` parts.

    >>> relative("./images\\\\a.jpg")
    'images/a.jpg'

    Raises:
        BrokenImage: it is no usable name, or leads elsewhere.
    """
    usable(name, "unusable name", LONGEST_NAME)
    if "://" in name or name.startswith("data:"):
        raise BrokenImage("web address", name[:80])
    if "\\" in name:
        name = name.replace("\\", "/")
    if name[0] == "/" or name[0] == "~" or name[1:2] == ":":
        raise BrokenImage("path leaves the root", name[:80])
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if ".." in parts:
        raise BrokenImage("path leaves the root", name[:80])
    if not parts:
        raise BrokenImage("unusable name")
    return "/".join(parts)


class Folder:
    """A folder, and the regular files that are really in it."""

    def __init__(self, root: Path):
        self.root = Path(root).resolve()
        self._parents: dict[str, str | None] = {}
        self._names: dict[str, dict[str, str]] = {}

    def relative(self, name: str) -> str:
        """As `relative`; an absolute path into this folder becomes a relative one."""
        prefix = f"{self.root}/".replace("//", "/")
        return relative(name[len(prefix) :] if name.startswith(prefix) else name)

    def spelled(self, name: str) -> str:
        """A relative name as the folder spells it, where the same letters are other characters (NFC, NFD); `name` if
        nothing is called so.
        """
        if name.isascii() or os.path.lexists(f"{self.root}/{name}"):
            return name
        at = ""
        for part in name.split("/"):
            there = part.isascii() or os.path.lexists(f"{self.root}/{at}{part}")
            at += (part if there else self._like(at).get(composed(part)) or part) + "/"
        return at[:-1]

    def _like(self, inner: str) -> dict[str, str]:
        """The names in a folder by their composed form, empty where several have the same."""
        if inner not in self._names:
            found: dict[str, str] = {}
            with contextlib.suppress(OSError, ValueError):
                for name in (entry.name for entry in Path(self.root, inner).iterdir()):
                    if not name.isascii():
                        found[composed(name)] = "" if composed(name) in found else name
            self._names[inner] = found
        return self._names[inner]

    def path(self, name: str) -> str:
        """The path to open for a relative name, links on the way followed if they stay inside.

        Raises:
            BrokenImage: there is none, it is no regular file, or a link leads out.
        """
        folder, _, leaf = name.rpartition("/")
        if folder not in self._parents:
            self._parents[folder] = self._inside(self.root / folder)
        parent = self._parents[folder]
        if parent is None:
            raise BrokenImage("path leaves the root", name)
        path = f"{parent}/{leaf}"
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                path = self._inside(Path(path))
                if path is None:
                    raise BrokenImage("path leaves the root", name)
                mode = os.lstat(path).st_mode
        except OSError as e:
            raise BrokenImage(_why(e), name) from None
        if not stat.S_ISREG(mode):
            raise BrokenImage("not a regular file", name)
        return path

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes. Raises as `path`, and `too large`."""
        try:
            with open(self.path(name), "rb") as f:  # noqa: PTH123
                data = f.read(limit + 1)
        except OSError as e:
            raise BrokenImage(_why(e), name) from None
        if len(data) > limit:
            raise BrokenImage("too large", name)
        return data

    def _inside(self, path: Path) -> str | None:
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            return None
        return str(real) if real == self.root or self.root in real.parents else None


def _why(error: OSError) -> str:
    gone = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
    return "missing file" if error.errno in gone else "unreadable file"


def composed(name: str) -> str:
    """A name in the form by which two spellings of the same letters are one (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_spelled(path: Path) -> Path:
    """A path as the disk spells it, see `Folder.spelled`; a part that is not there stays."""
    if str(path).isascii():
        return path
    return Path(path.anchor) / Folder(Path(path.anchor)).spelled(str(path.relative_to(path.anchor)))


def fingerprint(path: Path) -> dict[str, Any]:
    """What a file is recognised by: its size, time, and if it is not too large its SHA-256."""
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns} | (
        {"sha256": file_digest(path)} if found.st_size <= DIGESTED else {}
    )


def require_unchanged(path: Path, known: dict[str, Any]) -> None:
    """Raises:
    UbtError: the file has vanished, or is not the one that the catalogue was made from.
    """
    try:
        found = path.stat()
        same = found.st_size == known["bytes"]
        if same and found.st_mtime_ns != known["mtime_ns"]:
            same = "sha256" in known and file_digest(path) == known["sha256"]
    except OSError as e:
        raise UbtError(
            f"{path}: expected the file that the pairs were read from, but it cannot be opened ({e.strerror}); put it"
            " back"
        ) from None
    if not same:
        raise UbtError(
            f"{path}: expected the file that the pairs were read from, but it has changed since; put it back, or read"
            " the pairs again"
        )


@dataclass(frozen=True, eq=False)
class Locations:
    """Rows of places under a root.

    Args:
        kind: what reads them, of the `readers` of a format. root: the folder, or the zip.
        places: one text a row (any sequence of str; kept by Arrow). files: what each container was known by. column: of
            a table's image bytes. folder: that of images which are files beside a table's.
    """

    kind: str
    root: str
    places: pa.ChunkedArray | Iterable[str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    column: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.places, (pa.Array, pa.ChunkedArray)):
            object.__setattr__(self, "places", pa.array(self.places, pa.large_string()))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> str:
        return self.places[row].as_py()

    def only(self, rows: np.ndarray) -> "Locations":
        """Some of the rows (m,), in the order asked for."""
        return replace(self, places=self.places.take(pa.array(rows, pa.int64())))

    def at(self, places: pa.ChunkedArray | Iterable[str]) -> "Locations":
        """Other places under the same root."""
        return replace(self, places=places)

    def about(self) -> dict[str, Any]:
        """Everything but the places, as plain values."""
        return {"kind": self.kind, "root": self.root, "files": self.files, "column": self.column} | (
            {"folder": self.folder} if self.folder else {}
        )


def natural(name: str) -> list:
    """A key that sorts `2` before `10`."""
    return [(0, int(p), "") if p.isdigit() and p.isascii() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]
