"""Locks of processes against each other: a name's in a cache, and a user's turn to compute on a device, over caches."""

import contextlib
import errno
import functools
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
PAUSE = 0.05
"""Seconds between two looks at a lock that is waited for."""
_OPEN = set[int]()


class Held(UbtError):
    """Another process holds a lock."""


@contextlib.contextmanager
def hold(path: Path, wait: float = -1) -> Iterator[None]:
    """Hold the lock `path` alone; freed when the process ends, however it ends. `wait`: seconds, for good if negative.
    Whoever holds it deletes its file at the end; a file that has no name any more is nobody's lock.

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
        who = "another process"
        with contextlib.suppress(OSError):  # it may end just now
            who = printable(owner.read_text()[:200])
        raise Held(who) from None


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
    if not _flocks(path.parent):
        with FileLock(path, timeout=wait):
            yield
        return
    end = time.monotonic() + wait
    while (file := _tried(path)) is None:
        if wait >= 0 and time.monotonic() >= end:
            raise Timeout(str(path))
        time.sleep(PAUSE)
    _OPEN.add(file)
    try:
        yield
    finally:
        if file in _OPEN:  # else this is a forked process
            # The folder may have been deleted and made anew meanwhile: then the lock of this name is another's.
            try:
                with contextlib.suppress(OSError):
                    if os.path.samestat(path.stat(), os.fstat(file)):
                        _owner(path).unlink(missing_ok=True)
                        path.unlink()
            finally:
                _OPEN.discard(file)
                os.close(file)


def _tried(path: Path) -> int | None:
    """The lock's file, open and locked; None where another holds it, or has deleted it since it was opened."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        flock(file, LOCK_EX | LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(file)):
            return file
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


@functools.lru_cache(maxsize=16)
def _flocks(folder: Path) -> bool:
    """Whether files in a folder can be locked by the system; elsewhere the package filelock knows other ways."""
    if flock is None:
        return False
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            flock(file, LOCK_SH | LOCK_NB)
        except OSError as e:
            return e.errno not in (errno.ENOSYS, errno.EOPNOTSUPP)
        finally:
            os.close(file)
    return True


def _closed() -> None:
    """A forked process holds no lock of its parent: it may outlive it."""
    for file in _OPEN:
        os.close(file)
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_closed)


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
