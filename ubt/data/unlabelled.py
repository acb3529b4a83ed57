"""Images without captions or labels: those of a folder, at any depth, or of a zip."""

import contextlib
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
"""Images of one folder or zip."""


def read(folder: Path, size: int, count: int, seed: int, fit: Fit = STOCK) -> tuple[np.ndarray, dict[str, int]]:
    """Some images of a folder, drawn by the seed, uint8 (n, size, size, 3), at most `count`; and how many of those
    looked at cannot be used, by reason. Links to folders are not followed.

    Raises:
        BadInput: there is no such folder, or no image in it. NotAllowed: it may not be read.
    """
    return some(opened(folder, size, fit), count, seed)


def opened(source: Path, size: int, fit: Fit = STOCK) -> Images:
    """Every image of a folder or a zip, by name in natural order (`at` says which), read when asked for; `left_out`
    says which of them are not among these.

    Raises:
        BadInput: there is no such folder, it is no zip, there is no image in it, or there are more than `MOST`.
        NotAllowed: it may not be read.
    """
    reader, names, _ = _listed(source)
    if not names:
        raise BadInput(f"{source}: expected images ({', '.join(IMAGE_ENDINGS)}), found none")
    return Images(reader.where.at(names), size, reader=reader, fit=fit)


def left_out(source: Path) -> list[tuple[str, str]]:
    """What looks like an image of a folder or a zip, or like a folder of such, and cannot be read as one: its name, as
    text, and why.
    """
    return _listed(source)[2]


def identity(folder: Path) -> str:
    """A digest of the names, sizes and times of a folder's images, or of a zip's size and time.

    Raises:
        BadInput: there is no such folder. NotAllowed: it may not be read.
    """
    if folder.is_file():
        roots.require(folder)
        now = folder.stat()
        return digest([now.st_size, now.st_mtime_ns])
    files_in, names, _ = _listed(folder)
    seen = []
    for name in names:
        with contextlib.suppress(OSError):
            now = (files_in.folder.root / name).lstat()
            seen.append([name, now.st_size, now.st_mtime_ns])
    return digest(seen)


def _listed(source: Path) -> tuple[Files | Zip, list[str], list[tuple[str, str]]]:
    """What reads a source's images, their names in order, and what is left out with the reason."""
    roots.require(source)
    if source.is_file():
        reader = Zip(Locations("zip", str(source.resolve()), [], {source.name: fingerprint(source)}))
        names, lost = list(reader.members.good), [(n, e.reason) for n, e in reader.members.refused.items()]
        found = sorted((n for n in names if _is_image(n)), key=natural)
    elif source.is_dir():
        reader, found, lost = Files(Folder(source)), [], []
        for base, files, unread in walk(reader.folder.root):
            found += [base + name for name in sorted(files, key=natural) if _is_image(name)]
            lost += [(row.image, row.broken) for row in unread]
    else:
        raise BadInput(f"{source}: expected a folder of images, or a zip of them, got neither")
    if len(found) > MOST:
        raise BadInput(f"{source}: expected at most {MOST:,} images, got {len(found):,}; divide them")
    lost = [(name, why) for name, why in lost if _is_image(name) or why.endswith("folder")]
    lost += [(name, "unusable name") for name in found if not _is_text(name)]
    return reader, [name for name in found if _is_text(name)], [(_as_text(name), why) for name, why in lost]


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_ENDINGS)


def _is_text(name: str) -> bool:
    """Whether a file's name is Unicode; on disk it may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


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
