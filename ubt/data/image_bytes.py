"""The bytes of one image, by its place: what is behind `Locations`, opened when it is needed and safe to use from
several threads.

| kind | a place |
| --- | --- |
| files | `images/a.jpg`, relative to the root |
| zip | `images/a.jpg`, a member |
| tar | `00000.tar::a.jpg@1536+20481`: shard, member, offset, bytes |
| parquet, arrow | `train-00000.parquet::17`: file, row |
"""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path

import pyarrow as pa

from ubt.core.errors import UbtError
from ubt.data.formats import archives, columnar
from ubt.data.locations import Folder, Locations, require_unchanged
from ubt.data.quarantine import IMAGE_BYTES, BrokenImage

CACHED = 1 << 30
"""Bytes of parquet row groups kept in memory."""


class Files:
    """Files in a folder."""

    def __init__(self, at: Locations):
        self.folder = Folder(Path(at.root))

    def read(self, place: str) -> bytes:
        """The bytes at `place`.

        Raises:
            BrokenImage: there are none to be had. UbtError: the container has vanished or changed.
        """
        return self.folder.read(self.folder.relative(place), IMAGE_BYTES)


class Zip:
    """Members of a zip; `zipfile` lets several threads read."""

    def __init__(self, at: Locations):
        path = Path(at.root)
        for known in at.files.values():
            require_unchanged(path, known)
        self.archive = archives.open_zip(path)
        self.members = archives.ZipMembers(self.archive)

    def read(self, place: str) -> bytes:
        """As `Files.read`."""
        return archives.read_member(self.archive, self.members.get(place), IMAGE_BYTES)


class Shards:
    """Members of tar shards, by offset and size."""

    def __init__(self, at: Locations):
        self.at, self.open, self.lock = at, {}, threading.Lock()

    def read(self, place: str) -> bytes:
        """As `Files.read`."""
        shard, _, rest = place.partition("::")
        offset, _, count = rest.rpartition("@")[2].partition("+")
        if not (offset.isdigit() and count.isdigit() and int(count) <= IMAGE_BYTES):
            raise BrokenImage("unusable name", place)
        data = os.pread(self._shard(shard), int(count), int(offset))
        if len(data) < int(count):
            raise BrokenImage("cut off", place)
        return data

    def _shard(self, name: str) -> int:
        with self.lock:
            if name not in self.open:
                path = _listed(self.at, name)
                while len(self.open) >= 128:
                    self.open.pop(next(iter(self.open))).close()
                self.open[name] = path.open("rb", buffering=0)
            return self.open[name].fileno()


class Table:
    """Image bytes in a column: of arrow files, mapped, or of parquet, whose row groups are read whole and kept while
    there is room.
    """

    def __init__(self, at: Locations):
        self.at, self.files, self.lock = at, {}, threading.Lock()
        self.groups: OrderedDict[tuple[str, int], pa.Array] = OrderedDict()

    def read(self, place: str) -> bytes:
        """As `Files.read`."""
        name, _, row = place.rpartition("::")
        if not (row.isdigit() and row.isascii()):
            raise BrokenImage("unusable name", place)
        with self.lock:
            if name not in self.files:
                self.files[name] = columnar.opened(_listed(self.at, name), self.at.column)
            table = self.files[name]
            if int(row) >= table.starts[-1]:
                raise BrokenImage("missing file", place)
            group = bisect_right(table.starts, int(row)) - 1
            values = self._group(name, group)
        value = values[int(row) - table.starts[group]]
        if not value.is_valid or len(value.as_buffer()) == 0:
            raise BrokenImage("zero-size image", place)
        if len(value.as_buffer()) > IMAGE_BYTES:
            raise BrokenImage("too large", place)
        return value.as_py()

    def _group(self, name: str, group: int) -> pa.Array:
        key = (name, group)
        if key not in self.groups:
            self.groups[key] = self.files[name].group(group)
            while (
                len(self.groups) > 1
                and sum(g.nbytes for g in self.groups.values()) > CACHED
                and self.at.kind == "parquet"
            ):
                self.groups.popitem(last=False)
        self.groups.move_to_end(key)
        return self.groups[key]


def _listed(at: Locations, name: str) -> Path:
    if name not in at.files:
        raise UbtError(
            f"{name}: expected one of the {len(at.files)} files that the pairs were read from, got another; read the"
            " pairs again"
        )
    path = Path(at.root) / name
    require_unchanged(path, at.files[name])
    return path


READERS = {"files": Files, "zip": Zip, "tar": Shards, "parquet": Table, "arrow": Table}
