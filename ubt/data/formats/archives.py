"""Zip and tar archives that somebody else made: their members listed, none of them extracted.

Limits hold before anything is unpacked: a zip's list of members is at most 96 MiB, a member at most as large as its use
allows, and an image or a caption is read on its own. A tar is walked forwards once.
"""

import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ubt.core.errors import BadInput
from ubt.data.locations import composed, relative
from ubt.data.quarantine import IMAGE_BYTES, BrokenImage

DIRECTORY_BYTES = 96 << 20
"""Largest list of members of a zip: about a million."""
RATIO = 100
HEADER_BYTES = 1 << 20
"""Largest extended header of a tar's member."""


def open_zip(path: Path) -> zipfile.ZipFile:
    """Raises:
    BadInput: it is no zip, a damaged one, or one with too long a list of members.
    """
    try:
        with path.open("rb") as f:
            if f.read(2) != b"PK":
                raise BadInput(f"{path}: expected a zip archive, got a file that does not begin as one")
            f.seek(max(0, path.stat().st_size - (1 << 16) - 22))
            tail = f.read()
        at = tail.rfind(b"PK\5\6")
        listed = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
        if listed == 0xFFFFFFFF and (wide := tail.rfind(b"PK\6\6")) >= 0:
            listed = int.from_bytes(tail[wide + 40 : wide + 48], "little")
        if listed > DIRECTORY_BYTES:
            raise BadInput(
                f"{path}: expected at most {DIRECTORY_BYTES >> 20} MiB of member names in a zip, got {listed >> 20};"
                " use tar shards"
            )
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError, OverflowError) as e:
        raise BadInput(f"{path}: expected a zip archive, got a damaged one ({e}); make or copy it again") from None


class ZipMembers:
    """What is in a zip: `good`, members by their relative names, and `refused`, the names of the others with the
    reason.
    """

    def __init__(self, archive: zipfile.ZipFile):
        self.good: dict[str, zipfile.ZipInfo] = {}
        self.refused: dict[str, BrokenImage] = {}
        self._like: dict[str, str] | None = None
        infos = [i for i in archive.infolist() if not i.orig_filename.endswith("/")]
        times = Counter(i.orig_filename for i in infos)
        shared = _overlapping(infos)
        for info in infos:
            try:
                name = relative(info.orig_filename)
                if times[info.orig_filename] > 1 or name in self.good:
                    self.good.pop(name, None)
                    raise BrokenImage("duplicate member", name)
                if id(info) in shared:
                    raise BrokenImage("overlapping members", name)
                self.good[name] = _checked(info, name)
            except BrokenImage as e:
                self.refused[info.orig_filename] = e

    def spelled(self, name: str) -> str:
        """A relative name as the zip spells it, where the same letters are other characters (NFC, NFD).

        Raises:
            BrokenImage: as `get`.
        """
        if name not in self.good and not name.isascii():
            if self._like is None:
                self._like = {}
                for other in self.good:
                    if not other.isascii():
                        self._like[composed(other)] = "" if composed(other) in self._like else other
            name = self._like.get(composed(name)) or name
        self.get(name)
        return name

    def get(self, name: str) -> zipfile.ZipInfo:
        """Raises:
        BrokenImage: there is no such member, or it was refused.
        """
        if name in self.good:
            return self.good[name]
        raise self.refused.get(name) or BrokenImage("missing file", name)


def _checked(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise BrokenImage("link in an archive", name)
    if kind not in (0, stat.S_IFREG):
        raise BrokenImage("not a regular file", name)
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BrokenImage("locked member", name)
    if not name.lower().endswith((".csv", ".tsv")):
        if info.file_size > IMAGE_BYTES:
            raise BrokenImage("too large", name)
        if info.file_size > 1 << 20 and info.file_size > RATIO * info.compress_size:
            raise BrokenImage("compressed too much", name)
    return info


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """The members whose bytes begin before those of another have ended."""
    found, end, before = set(), -1, None
    for info in sorted(infos, key=lambda i: (i.header_offset, i.compress_size)):
        if before is not None and info.header_offset < end:
            found |= {id(info), id(before)}
        if info.header_offset + 30 + info.compress_size > end:
            end, before = info.header_offset + 30 + info.compress_size, info
    return found


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """A member's bytes.

    Raises:
        BrokenImage: it is larger than `limit` bytes, or damaged.
    """
    if info.file_size > limit:
        raise BrokenImage("too large", info.filename)
    try:
        with archive.open(info) as f:
            return f.read(limit)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error) as e:
        raise BrokenImage("damaged archive", f"{info.filename} ({e})") from None


class _Forward:
    """A file that refuses to go back and to read much at once: tarfile reads headers only, each of them small."""

    def __init__(self, file: BinaryIO):
        self.file = file

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int) -> int:
        if position < self.file.tell() - 1:
            raise tarfile.ReadError("a header leads back")
        return self.file.seek(position)

    def read(self, count: int) -> bytes:
        if not 0 <= count <= HEADER_BYTES:
            raise tarfile.ReadError("too large a header")
        return self.file.read(count)


def tar_members(path: Path) -> Iterator[tuple[str, int, int, BrokenImage | None]]:
    """(name, offset, bytes, why it cannot be used) of each member that is no folder, in order.

    Raises:
        BadInput: it is no tar, or a compressed one.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        try:
            archive = tarfile.TarFile(fileobj=_Forward(file), mode="r", encoding="utf-8", errors="surrogateescape")
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as e:
            raise BadInput(f"{path}: expected a tar archive that is not compressed, got {_is(path)} ({e})") from None
        before = -1
        while True:
            try:
                member = archive.next()
            except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as e:
                yield path.name, 0, 0, BrokenImage("damaged archive", f"{path.name}: {e}")
                return
            if member is None:
                file.seek(archive.offset)
                if file.read(512).strip(b"\0"):  # tarfile takes any header that it cannot read for the end
                    yield path.name, 0, 0, BrokenImage("damaged archive", f"{path.name}: no header at {archive.offset}")
                return
            archive.members = []
            if member.offset_data <= before or member.size < 0:
                yield path.name, 0, 0, BrokenImage("damaged archive", f"{path.name}: a header leads back")
                return
            before = member.offset_data
            if not member.isdir():
                yield member.name, member.offset_data, member.size, _why_not(member, length)


def _is(path: Path) -> str:
    with path.open("rb") as f:
        start = f.read(6)
    packed = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd", b"PK": "zip"}
    return f"a {packed[start[:2]]} file; unpack it to .tar first" if start[:2] in packed else "another file"


def _why_not(member: tarfile.TarInfo, length: int) -> BrokenImage | None:
    if member.issym() or member.islnk():
        return BrokenImage("link in an archive", member.name)
    if not member.isreg() or member.issparse():
        return BrokenImage("not a regular file", member.name)
    if member.offset_data + member.size > length:
        return BrokenImage("cut off", member.name)
    if member.size > IMAGE_BYTES:
        return BrokenImage("too large", member.name)
    try:
        relative(member.name)
    except BrokenImage as e:
        return e
    return None
