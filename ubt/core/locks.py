"""Locks of processes against each other: a name's in a cache, and a user's turn to compute on a device, over caches."""

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from ubt.core.errors import BadInput, UbtError
from ubt.core.text import printable

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # not on Windows
    flock = None

SHARED = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())
"""Where every process of a user looks."""


class Held(UbtError):
    """Another process holds a lock."""


@contextlib.contextmanager
def hold(path: Path, wait: float = -1) -> Iterator[None]:
    """Hold the lock `path` alone; freed when the process ends, however it ends. `wait`: seconds, for good if negative.
    Whoever holds it deletes its file at the end: nobody takes a file for the lock that has no name any more.

    Raises:
        Held: another process holds it; who does.
    """
    owner = _owner(path)
    try:
        with _taken(path, wait):
            with contextlib.suppress(OSError):  # a full disk must not keep `prune` from making room
                owner.write_text(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
            yield
    except Timeout:
        raise Held(printable(owner.read_text()[:200]) if owner.exists() else "another process") from None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock `path`; the file of a killed one is deleted."""
    if not path.exists():
        return False
    try:
        with _taken(path, 0):
            return False
    except Timeout:
        return True


def _owner(path: Path) -> Path:
    return path.with_suffix(".owner")


@contextlib.contextmanager
def _taken(path: Path, wait: float) -> Iterator[None]:
    with FileLock(path, timeout=wait):
        mine = path.stat()
        try:
            yield
        finally:
            # The folder may have been deleted and made anew meanwhile: then the lock is another's.
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), mine):
                    _owner(path).unlink(missing_ok=True)
                    path.unlink()


def shared(file: IO[bytes]) -> None:
    """Mark an open file as in use, by this process and those that inherit it, as long as one of them has it open."""
    if flock is not None:
        with contextlib.suppress(OSError):
            flock(file.fileno(), LOCK_SH | LOCK_NB)


def in_use(path: Path) -> bool:
    """Whether some process has a file open that was marked with `shared`."""
    if flock is None:
        return False  # there a file that is open cannot be deleted
    try:
        with path.open("rb") as file:
            flock(file.fileno(), LOCK_EX | LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def runtime() -> Path:
    """The folder of what this user's processes share while they run: `UBT_RUNTIME`, else `ubt-UID` in `/tmp`, whatever
    `TMPDIR` says, so that all of them find the same; made if it is not there, for this user alone.

    Raises:
        BadInput: it cannot be made, or is another user's.
    """
    chosen, posix = os.environ.get("UBT_RUNTIME"), hasattr(os, "getuid")
    user = os.getuid() if posix else os.environ.get("USERNAME", "")
    folder = Path(chosen) if chosen else SHARED / f"ubt-{user}"
    try:
        folder.mkdir(mode=0o700, parents=bool(chosen), exist_ok=True)
        found = folder.lstat()
        if not (stat.S_ISDIR(found.st_mode) or chosen):
            raise OSError("no folder")
        if posix and found.st_uid != user and not chosen:
            raise OSError(f"of user {found.st_uid}")
    except OSError as e:
        raise BadInput(
            f"UBT_RUNTIME: expected a folder of this user's that can be made, got {folder} ({e.strerror or e}); set"
            " UBT_RUNTIME to one"
        ) from None
    return folder


def turn(device: str) -> Path:
    """The lock of whoever computes on a device: two stages at once slow each other far more than twofold, whatever
    cache they work on. A GPU is the first that `CUDA_VISIBLE_DEVICES` names; each has a turn of its own.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    which = f"-{re.sub('[^A-Za-z0-9-]', '-', first)[:100]}" if device == "cuda" else ""
    return runtime() / f"{device}{which}.lock"
