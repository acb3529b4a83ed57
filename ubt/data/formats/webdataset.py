"""Pairs in webdataset tar shards, as img2dataset writes them: read in place, nothing is extracted."""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ubt.core.errors import BadInput
from ubt.data.formats import archives
from ubt.data.formats.base import (
    Format,
    ReadOptions,
    Row,
    Source,
    caption_in,
    common,
    key_and_ending,
    listed,
    matched,
    text_endings,
)
from ubt.data.locations import Locations, fingerprint, relative
from ubt.data.quarantine import IMAGE_BYTES, TEXT_BYTES, TOO_LONG, BrokenImage

WAITING = 500_000
"""Most keys of a shard whose image or caption is still to come."""


class Shards:
    """Reads members of tar shards, by offset and size; a place is `00000.tar::a.jpg@1536+20481`."""

    def __init__(self, where: Locations):
        self.where, self.open, self.lock = where, {}, threading.Lock()

    def read(self, place: str) -> bytes:
        """As `Reader.read`."""
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
                path = listed(self.where, name)
                while len(self.open) >= 128:
                    self.open.pop(next(iter(self.open))).close()
                self.open[name] = path.open("rb", buffering=0)
            return self.open[name].fileno()


def from_shards(paths: list[Path], options: ReadOptions) -> Source:
    """Webdataset tar shards: an image, and a .txt or a .json with a caption, under the same key.

    Raises:
        BadInput: a shard's name would make places ambiguous.
    """
    root = common(paths)
    names = {str(p.relative_to(root)): p for p in paths}
    if any("::" in n for n in names):
        raise BadInput(f"{root}: expected shards without '::' in their names; rename them")
    position = [0]

    def rows() -> Iterator[Row]:
        numbers = itertools.count(1)
        for shard, path in names.items():
            with path.open("rb") as f:
                yield from _samples(shard, path, f, options, numbers)
            position[0] += path.stat().st_size

    files = {
        n: {k: v for k, v in fingerprint(p).items() if len(names) <= 16 or k != "sha256"} for n, p in names.items()
    }
    return Source(
        "tar shards",
        Shards(Locations("tar", str(root), [], files)),
        rows,
        files,
        {"image": "jpg, png, webp", "text": options.text or "txt or json"},
        sum(f["bytes"] for f in files.values()),
        lambda: position[0],
    )


def _samples(shard: str, path: Path, file: Any, options: ReadOptions, numbers: Iterator[int]) -> Iterator[Row]:
    """A pair for each image of a key; what came without its other half follows at the end of the shard."""
    waiting: dict[str, dict[str, tuple[str, int, int]]] = {}
    stem, last, read = shard.removesuffix(".tar"), "", set()
    known = text_endings(options)

    def full(key: str) -> Iterator[Row]:
        sample, texts = waiting.pop(key), {}
        if len(read) < WAITING:
            read.add(key)
        found, left = matched(sample, known)
        for n, (image, ending) in enumerate(found.items()):
            _, at, length = sample[ending]
            if ending not in texts:
                file.seek(at)
                kind = ending.rpartition(".")[2]
                texts[ending] = caption_in(file.read(length), kind, options) if length <= TEXT_BYTES else TOO_LONG
            name, offset, count = sample[image]
            place = f"{shard}::{name}@{offset}+{count}"
            yield Row(next(numbers), place, texts[ending], f"{stem}/{key}{f'.{image}' if n else ''}", "")
        yield from _left_out(shard, sample, left, numbers)

    for name, offset, count, broken in archives.tar_members(path):
        if broken is not None:
            number = 0 if broken.reason == "damaged archive" else next(numbers)
            yield Row(number, f"{shard}::{name}", None, None, broken.reason)
            continue
        name = relative(name)
        key, ending = key_and_ending(name, options)
        if key != last and matched(waiting.get(last, ()), known)[0]:
            yield from full(last)
        if ending in waiting.setdefault(key, {}):
            yield Row(next(numbers), f"{shard}::{name}", None, None, "duplicate member")
        else:
            waiting[key][ending] = name, offset, count
        if len(waiting) > WAITING:
            raise BadInput(
                f"{path}: expected an image and its caption near each other, got {WAITING} keys without their other"
                " half; sort the shard by name"
            )
        last = key
    for key in list(waiting):
        if matched(waiting[key], known)[0]:
            yield from full(key)
    for key, sample in waiting.items():
        left = matched(sample, known)[1].items()
        left = {e: reason for e, reason in left if key not in read or reason != "another kind of file"}
        yield from _left_out(shard, sample, left, numbers)


def _left_out(
    shard: str, sample: dict[str, tuple[str, int, int]], left: dict[str, str], numbers: Iterator[int]
) -> Iterator[Row]:
    """What of a key is in no pair, each member by name."""
    for ending, reason in left.items():
        number = 0 if reason == "another kind of file" else next(numbers)
        yield Row(number, f"{shard}::{sample[ending][0]}", None, None, reason)


TAR = Format(
    "a .tar shard (or a folder, a glob or a {000..009} of them)",
    (
        "`.tar`, a folder, a glob or `{000..009}` of them",
        "webdataset / img2dataset: jpg, png, webp, ... with .txt, or .json with a caption, of the same key",
        "`000.tar::a.jpg@1536+20481`",
    ),
    endings=(".tar",),
    shards=True,
    certain=True,
    files=from_shards,
    readers={"tar": Shards},
)
