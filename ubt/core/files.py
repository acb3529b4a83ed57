"""Files: shipped folders, digests, writing a file in one step."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[1] / "assets" / "weights" / "scenes-clip"
"""The shipped clean reference model."""
READY = Path(__file__).parents[1] / "assets" / "demo"
"""The shipped built-in cases, laid out as a cache folder."""
ROOT = Path(__file__).parents[2]
"""The folder that the library lies in: in a clone of the repository, its root."""
_INSTALLED = Path(__file__).parents[1] / "app"
APP = _INSTALLED if (_INSTALLED / "app.py").is_file() else ROOT
"""The folder of `app.py` and `pages/`: beside the library in a clone, inside it where it was installed."""


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


DEEPEST = 64
"""Most levels of a JSON file from outside, so that nobody who copies, compares or prints it runs out of stack."""


def read_json(path: Path, most: int = 2**20) -> Any:
    """What a JSON file says that may come from anybody; no more than `most` bytes are read.

    Raises:
        OSError: it cannot be read. ValueError: it is larger, no UTF-8, no JSON, or nested too deeply.
    """
    with path.open("rb") as f:
        data = f.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most / 2**20:g} MB")
    try:
        found = json.loads(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    inside = [found]
    for _ in range(DEEPEST):
        if not inside:
            return found
        parts = (v.values() if isinstance(v, dict) else v for v in inside if isinstance(v, (dict, list)))
        inside = [value for part in parts for value in part]
    raise ValueError("it is nested too deeply")


def disk_full(error: Exception) -> bool:
    """Whether an error, of whichever library, says that the disk is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


_TEMPORARY = re.compile(r"\.(.+)\.(\d+)(?:@([0-9a-f]+))?\.tmp", re.DOTALL)
_DAY = 86_400
_STARTED = time.time()


def temporary(path: Path) -> Path:
    """The name under which this process writes a file or a folder before it puts it in place."""
    return path.with_name(f".{path.name}.{os.getpid()}@{_machine()}.tmp")


@functools.cache
def _machine() -> str:
    """Where process numbers are this process's own: another machine, or container, that sees the same folder has others
    under the same numbers.
    """
    space = Path("/proc/self/ns/pid")
    return digest([platform.node(), str(space.readlink()) if space.is_symlink() else ""])[:8]


def abandoned(folder: Path, name: str | None = None) -> Iterator[Path]:
    """What lies in a folder under a `temporary` name, of what is called `name` or of anything, and whose process has
    ended; of a process elsewhere that is not known, so that a day must have passed.
    """
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            if (of := _TEMPORARY.fullmatch(path.name)) is None or name not in (None, of[1]):
                continue
            if _ended(path, int(of[2])) if of[3] in (None, _machine()) else _older(path, time.time() - _DAY):
                yield path


def _older(path: Path, than: float) -> bool:
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime < than
    return False


def _ended(path: Path, process: int) -> bool:
    """Whether the process that was writing `path` has ended. One of the same number can live again, as in a container
    that is started anew: what is older than this process is not its own.
    """
    if process == os.getpid():
        return _older(path, _STARTED - 1)
    if os.name != "posix":
        return True  # there a file that is open cannot be deleted
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def scrap(path: Path) -> int:
    """Delete a file or a folder, as far as it can be deleted; returns the bytes freed."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            freed = sum(scrap(inner) for inner in path.iterdir())
            path.rmdir()
            return freed
        size = path.lstat().st_size
        path.unlink()
        return size
    return 0


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name with `write(temporary_path)`, then put it in place in one step. What a killed
    process left of the same file is deleted first.
    """
    for left in abandoned(path.parent, path.name):
        scrap(left)
    part = temporary(path)
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def replace_folders(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Put copies of some folders below `source` in place of those of the same names below `folder`, which is there: all
    are copied beside them before the first is replaced. What a killed process left of the same is deleted first.
    """
    for left in abandoned(folder):
        scrap(left)
    copies = {folder / name: temporary(folder / name) for name in names}
    try:
        for path, copy in copies.items():
            shutil.copytree(source / path.name, copy)
        for path, copy in copies.items():
            aside = temporary(folder / f"{path.name}.before")
            if path.exists():
                path.rename(aside)
            copy.rename(path)
            scrap(aside)
    finally:
        for copy in copies.values():
            scrap(copy)
