"""Images without captions or labels: those of a folder, at any depth, or of a zip."""

import contextlib
import itertools
from pathlib import Path

import numpy as np

from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.data.fit import STOCK, Fit
from ubt.data.formats.base import Files
from ubt.data.formats.folders import walk
from ubt.data.formats.zip_pairs import Zip
from ubt.data.images import Images, sift
from ubt.data.locations import IMAGE_ENDINGS, Folder, Locations, fingerprint, natural

MOST = 1_000_000
"""Files of a folder that are looked at."""


def read(folder: Path, size: int, count: int, seed: int, fit: Fit = STOCK) -> tuple[np.ndarray, dict[str, int]]:
    """Some images of a folder, drawn by the seed, uint8 (n, size, size, 3), at most `count`; and how many of those
    looked at cannot be used, by reason. Links to folders are not followed.

    Raises:
        BadInput: there is no such folder, or no image in it. NotAllowed: it may not be read.
    """
    return some(opened(folder, size, fit), count, seed)


def opened(source: Path, size: int, fit: Fit = STOCK) -> Images:
    """Every image of a folder or a zip, by name in natural order (`at` says which), read when asked for. Links to
    folders are not followed.

    Raises:
        BadInput: there is no such folder, it is no zip, or there is no image in it. NotAllowed: it may not be read.
    """
    if source.is_file():
        roots.require(source)
        reader = Zip(Locations("zip", str(source.resolve()), [], {source.name: fingerprint(source)}))
        names = sorted((n for n in reader.members.good if n.lower().endswith(IMAGE_ENDINGS)), key=natural)[:MOST]
    else:
        reader, names = _listed(source)
    if not names:
        raise BadInput(f"{source}: expected images ({', '.join(IMAGE_ENDINGS)}), found none")
    return Images(reader.where.at(names), size, reader=reader, fit=fit)


def identity(folder: Path) -> str:
    """A digest of the names, sizes and times of a folder's images, or of a zip's size and time.

    Raises:
        BadInput: there is no such folder. NotAllowed: it may not be read.
    """
    if folder.is_file():
        roots.require(folder)
        now = folder.stat()
        return digest([now.st_size, now.st_mtime_ns])
    files_in, names = _listed(folder)
    seen = []
    for name in names:
        with contextlib.suppress(OSError):
            now = (files_in.folder.root / name).lstat()
            seen.append([name, now.st_size, now.st_mtime_ns])
    return digest(seen)


def _listed(folder: Path) -> tuple[Files, list[str]]:
    roots.require(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: expected a folder of images, or a zip of them, got neither")
    files_in = Files(Folder(folder))
    names = (
        base + name
        for base, files, _ in walk(files_in.folder.root)
        for name in sorted(files, key=natural)
        if name.lower().endswith(IMAGE_ENDINGS)
    )
    return files_in, list(itertools.islice(names, MOST))


def some(images: Images, count: int, seed: int) -> tuple[np.ndarray, dict[str, int]]:
    """Of images some, uint8 (n, size, size, 3), and what cannot be used, as `read`."""
    order, good, reasons = np.random.default_rng(seed).permutation(len(images)), [], {}
    for start in range(0, len(order), count):
        if len(good) == count:
            break
        part = order[start : start + count]
        bad = sift(images, part)
        for reason in bad.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        good += [row for row in part if row not in bad][: count - len(good)]
    return np.asarray(images[np.array(good, np.int64)]) if good else np.zeros((0, 1, 1, 3), np.uint8), reasons
