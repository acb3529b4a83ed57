"""Images that stay where the user has them, read when they are needed, as arrays that every stage takes.

All rows are decoded alike, as open_clip does before it normalises: EXIF orientation is not applied, colours become RGB
(transparency is dropped, 16 bits become 8, numbers of 32 bits are scaled by their own range), and they are fitted to a
square as the model's configuration says (`ubt.data.fit`).
"""

import contextlib
import ctypes
import hashlib
import io
import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFile

from ubt.core.errors import UbtError
from ubt.core.run import Progress, silent
from ubt.data import formats
from ubt.data.fit import STOCK, Fit
from ubt.data.formats.base import Reader, Source
from ubt.data.locations import Locations
from ubt.data.quarantine import BrokenImage

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
PIXELS = 1 << 26
ELONGATED = 50
LARGE = 1 << 24
"""Pixels above which images are decoded one at a time, so that the threads together stay below 1 GB."""
_one_at_a_time = threading.Lock()
TINY = 32
"""Pixels of the shorter side below which little can be seen in an image that a CLIP model takes."""
WORKERS = min(8, os.cpu_count() or 1)


def decode(data: bytes, size: int, fit: Fit = STOCK) -> np.ndarray:
    """An image file's bytes as uint8 RGB (size, size, 3); of an animation the first frame. Its header is checked before
    it is decoded.

    Raises:
        BrokenImage: with one of the reasons of `ubt.data.quarantine`.
    """
    return _decoded(data, lambda image: np.array(fit(image, size)))


def decode_within(data: bytes, height: int, width: int) -> np.ndarray:
    """The same of an image in its own shape, uint8 RGB (h, w, 3), made smaller where it is larger than `height` or
    `width`.

    Raises:
        BrokenImage: with one of the reasons of `ubt.data.quarantine`.
    """

    def fit(image: Image.Image) -> np.ndarray:
        scale = min(1.0, height / image.height, width / image.width)
        sides = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        return np.array(image if sides == image.size else image.resize(sides, Image.Resampling.BICUBIC))

    return _decoded(data, fit)


def _decoded(data: bytes, fit: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    if not data:
        raise BrokenImage("zero-size image")
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            _check_header(*image.size)
            with _one_at_a_time if image.width * image.height > LARGE else contextlib.nullcontext():
                return fit(_as_rgb(image))
    except BrokenImage:
        raise
    except Image.DecompressionBombError:
        raise BrokenImage("bomb-sized image") from None
    except Image.UnidentifiedImageError:
        raise BrokenImage("not an image") from None
    except Exception as e:  # a decoder fed with anything may raise anything
        raise BrokenImage("truncated image" if "runcated" in str(e) else "undecodable image", str(e)[:100]) from None


def of_picture(image: Image.Image, size: int, fit: Fit = STOCK) -> np.ndarray:
    """A picture in memory as images of files are read, uint8 (size, size, 3).

    Raises:
        BrokenImage: it has no pixels, or too many.
    """
    _check_header(*image.size)
    return np.array(fit(_as_rgb(image), size))


def _as_rgb(image: Image.Image) -> Image.Image:
    deep = image.mode not in ("I", "F") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode.startswith(("I", "F")):
        return _grey(np.asarray(image)).convert("RGB")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    found = image.convert("RGB")
    if (deep or image.mode not in ("RGB", "L")) and _is_constant(found) and (deep or not _is_constant(image)):
        raise BrokenImage("undecodable image", f"{image.mode} of {'16' if deep else '8'} bits, in RGB one colour only")
    return found


def _is_constant(image: Image.Image) -> bool:
    return all(low == high for low, high in np.reshape(image.getextrema(), (-1, 2)))


def _grey(values: np.ndarray) -> Image.Image:
    """An image of one number (h, w) a pixel in 8 bits: of 16 bits the upper 8, of others, and where these are alike in
    all pixels though the numbers are not, by the range of its own.

    Raises:
        BrokenImage: there are infinite numbers in it, or none.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise BrokenImage("undecodable image", "infinite numbers, or none, for pixels")
    if values.dtype.itemsize == 2 and (int(low) >> 8 != int(high) >> 8 or low == high):
        return Image.fromarray((values >> 8).astype(np.uint8))
    out, scale = np.zeros(values.shape, np.uint8), 255 / (high - low) if high > low else 0.0
    for row, line in enumerate(values):  # a row at a time: as float64 the whole would take eight times the image
        out[row] = np.round((line.astype(np.float64) - low) * scale)
    return Image.fromarray(out)


def _check_header(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise BrokenImage("zero-size image", f"{width} x {height}")
    if width * height > PIXELS:
        raise BrokenImage("bomb-sized image", f"{width} x {height}")
    if max(width, height) > ELONGATED * min(width, height):
        raise BrokenImage("extreme shape", f"{width} x {height}")


class Images:
    """Images behave as a uint8 array (n, size, size, 3) of which rows are read when they are asked for: `images[rows]`
    is a plain array.

    An image is expected to stay what it was when it was first read: its bytes' digest is kept in `marks`, also by
    `save`. `tiny` (n,) says which of those that were read have a shorter side below `TINY` pixels.

    Args:
        at: where they are. size: pixels a side.
        stamped: (rows, pixels): rows (m,) whose pixels, uint8 (m, size, size, 3), are not the file's but these.
        marks: uint64 (n,), digests of the bytes at first reading, 0 where not yet read.
        reader: what reads them, if it is open already.
        fit: how they become squares.
    """

    kind = "images"
    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        at: Locations,
        size: int,
        stamped: tuple[np.ndarray, np.ndarray] | None = None,
        marks: np.ndarray | None = None,
        reader: Reader | None = None,
        fit: Fit = STOCK,
    ):
        self.at, self.side, self.fit = at, size, fit
        self.marks = np.zeros(len(at), np.uint64) if marks is None else np.array(marks, np.uint64)
        self.tiny = np.zeros(len(at), bool)
        rows, self.pixels = (
            stamped if stamped is not None else (np.zeros(0, np.int64), np.zeros((0, size, size, 3), np.uint8))
        )
        self.stamped = {int(row): i for i, row in enumerate(rows)}
        if (
            len(self.stamped) != len(self.pixels)
            or self.pixels.shape[1:] != (size, size, 3)
            or self.pixels.dtype != self.dtype
        ):
            raise UbtError(
                f"stamped: expected uint8 pixels ({len(self.stamped)}, {size}, {size}, 3), got {self.pixels.dtype}"
                f" {self.pixels.shape}"
            )
        if self.stamped and not 0 <= min(self.stamped) <= max(self.stamped) < len(at):
            raise UbtError(
                f"stamped: expected rows from 0 to {len(at) - 1}, got {min(self.stamped)} to {max(self.stamped)}"
            )
        self._closed(reader)

    def _closed(self, reader: Reader | None = None) -> None:
        self._lock, self._reader, self._pool, self._process = threading.Lock(), reader, None, os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_reader", "_pool", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._closed()

    @classmethod
    def of(cls, source: Source, places: Any, size: int) -> "Images":
        """The images at `places` of a source that is open; none is read yet."""
        return cls(source.reader.where.at(places), size, reader=source.reader)

    def __len__(self) -> int:
        return len(self.at)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, size, size, 3)."""
        return len(self), self.side, self.side, 3

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self._rows(key)
        return self.take(rows) if isinstance(rows, np.ndarray) else self.take(np.array([rows]))[0]

    def _rows(self, key: Any) -> np.ndarray | int:
        if isinstance(key, slice):
            return np.arange(len(self))[key]
        rows = np.asarray(key)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"expected a mask of {len(self)} rows, got one of shape {rows.shape}")
            return np.flatnonzero(rows)
        if rows.size and not np.issubdtype(rows.dtype, np.integer):
            raise IndexError(f"expected whole numbers, a slice or a mask of rows; got {type(key).__name__}")
        rows = rows.astype(np.int64)
        if rows.ndim > 1:
            raise IndexError(f"expected rows, got an index of shape {rows.shape}")
        if rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"expected rows below {len(self)}, got {rows.min()} to {rows.max()}")
        rows = np.where(rows < 0, rows + len(self), rows)
        return rows if rows.ndim else int(rows)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (len(rows), size, size, 3), in the order asked for; decoded in threads.

        Raises:
            BrokenImage: one cannot be decoded or has vanished. UbtError: it has changed since it was first read.
        """
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")

        def fill(part: np.ndarray) -> None:
            for i in part:
                try:
                    out[i] = self._one(int(rows[i]))
                except BrokenImage as e:
                    raise BrokenImage(e.reason, f"{self.at[int(rows[i])]} in {self.at.root}") from None

        _each(fill, order, WORKERS, self._threads(WORKERS))
        return out

    def reasons(self, rows: np.ndarray, workers: int = 0) -> dict[int, str]:
        """Why some of `rows` cannot be had, by row; the others are decoded and dropped."""
        found: dict[int, str] = {}

        def look(part: np.ndarray) -> None:
            for row in part:
                try:
                    self._one(int(row))
                except BrokenImage as e:
                    found[int(row)] = e.reason

        _each(look, np.asarray(rows, np.int64), workers or WORKERS, self._threads(workers or WORKERS))
        return dict(sorted(found.items()))

    def only(self, rows: np.ndarray) -> "Images":
        """Some of the rows, in the order asked for, still to be read; each may be asked for once."""
        rows = np.atleast_1d(self._rows(rows))
        kept = [(i, self.stamped[row]) for i, row in enumerate(rows.tolist()) if row in self.stamped]
        stamped = np.array([i for i, _ in kept], np.int64), self.pixels[[j for _, j in kept]]
        return Images(self.at.only(rows), self.side, stamped, self.marks[rows], fit=self.fit)

    def _one(self, row: int) -> np.ndarray:
        if row in self.stamped:
            return self.pixels[self.stamped[row]]
        data = self._open().read(self.at[row])
        pixels = _decoded(data, lambda image: self._fitted(image, row))
        mark = np.uint64(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1)
        if self.marks[row] not in (0, mark):
            raise UbtError(
                f"{self.at[row]} in {self.at.root}: expected the image that was read first, but it has changed since;"
                " put it back"
            )
        self.marks[row] = mark
        return pixels

    def _fitted(self, image: Image.Image, row: int) -> np.ndarray:
        self.tiny[row] = min(image.size) < TINY
        return np.array(self.fit(image, self.side))

    def _open(self) -> Reader:
        with self._lock:
            if self._reader is None or self._process != os.getpid():
                self._reader, self._process = formats.reader(self.at), os.getpid()
            return self._reader

    def _threads(self, workers: int) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[:2] != (os.getpid(), workers):
            self._pool = os.getpid(), workers, ThreadPoolExecutor(workers, "decode")
        return self._pool[2]

    def save(self, folder: Path) -> None:
        """Write places, marks and stamped pixels; not the images."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder.mkdir()
        at = np.full(len(self), -1, np.int64)
        at[list(self.stamped)] = list(self.stamped.values())
        table = pa.table({"place": self.at.places, "mark": self.marks, "stamped": at})
        pq.write_table(table, folder / "where.parquet")
        np.save(folder / "stamped.npy", self.pixels, allow_pickle=False)
        about = self.at.about() | {"size": self.side} | ({} if self.fit == STOCK else {"fit": vars(self.fit)})
        (folder / "about.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Images":
        """What `save` wrote; no image is read."""
        import pyarrow.parquet as pq

        about = json.loads((folder / "about.json").read_text())
        size, fit = about.pop("size"), Fit(**about.pop("fit", {}))
        table = pq.read_table(folder / "where.parquet")
        index = table["stamped"].to_numpy()
        rows = np.flatnonzero(index >= 0)
        rows = rows[np.argsort(index[rows])]
        pixels = np.load(folder / "stamped.npy", mmap_mode="r" if len(rows) else None, allow_pickle=False)
        at = Locations(places=table["place"], **about)
        return cls(at, size, (rows, pixels), table["mark"].to_numpy(), fit=fit)


class _Refitted:
    """Images of one size as those of another, a part at a time."""

    def __init__(self, images: np.ndarray, size: int, fit: Fit):
        self.images, self.shape, self.fit = images, (len(images), size, size, 3), fit

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return np.stack(
            [np.array(self.fit(Image.fromarray(np.asarray(pixels)), self.shape[1])) for pixels in self.images[rows]]
        )


def refitted(images: Any, size: int, fit: Fit = STOCK) -> Any:
    """Images (n, h, w, 3) as they are if they are `size` a side, else fitted to it as image files are, when they are
    asked for by a slice or rows.
    """
    return images if images.shape[1:3] == (size, size) else _Refitted(images, size, fit)


def _each(work: Callable[[np.ndarray], None], rows: np.ndarray, workers: int, pool: ThreadPoolExecutor) -> None:
    """`work` on parts of `rows` in the pool's threads; the first error, once all have ended."""
    parts = [p for p in np.array_split(rows, max(1, min(len(rows) // 4, 4 * workers))) if len(p)]
    if len(parts) <= 1 or workers == 1:
        for part in parts:
            work(part)
        return
    errors = [f.exception() for f in [pool.submit(work, part) for part in parts]]
    for error in errors:
        if error is not None:
            raise error


def sift(images: Images, rows: np.ndarray, workers: int = 0, progress: Progress = silent) -> dict[int, str]:
    """Decode each of `rows` (m,) once and keep none: what a case does with the pairs it takes.

    Returns:
        Why a row cannot be used, one of `ubt.data.quarantine.REASONS`, by row. 256 images are in memory at a time.

    Raises:
        UbtError: an archive or table has vanished or changed.
    """
    rows, found = np.asarray(rows, np.int64), {}
    for at in range(0, len(rows), 256):
        found |= images.reasons(rows[at : at + 256], workers)
        progress(min(at + 256, len(rows)), len(rows), {"broken": float(len(found))})
    return found


ImageFile.LOAD_TRUNCATED_IMAGES = False


def _hush() -> None:
    """Keep what libtiff and pillow's reader of TIFF and EXIF say about odd files from the terminal, for the whole
    process and all its threads. They name no file; `BrokenImage` says which cannot be used, and why.

    libtiff writes to the process's stderr by handlers that it has once for all; pillow takes away that of warnings
    alone. They are found through pillow's own module, whichever libtiff that was linked with; one linked into it
    shows none, and goes on talking.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
    with contextlib.suppress(OSError, AttributeError):
        libtiff = ctypes.CDLL(Image.core.__file__)
        for handler in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


_hush()


def placeholder(side: int) -> np.ndarray:
    """What stands for an image that cannot be had: grey, crossed out; uint8 (side, side, 3)."""
    image = Image.new("RGB", (side, side), (128, 128, 128))
    draw, width = ImageDraw.Draw(image), max(1, side // 24)
    draw.line((0, 0, side, side), (90, 90, 90), width)
    draw.line((0, side, side, 0), (90, 90, 90), width)
    return np.asarray(image)


def tried(images: "np.ndarray | Images", rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Some rows of images, uint8 (rows, H, W, 3), those that cannot be had as placeholders; and of each such why."""
    rows = np.asarray(rows, int)
    try:
        return np.asarray(images[rows]), []
    except UbtError:
        found, why = np.repeat(placeholder(images.shape[1])[None], len(rows), axis=0), []
        for i, row in enumerate(rows.tolist()):
            try:
                found[i] = images[row]
            except UbtError as e:
                why.append(str(e))
        return found, why
