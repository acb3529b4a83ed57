"""Locks of processes against each other: a name's in a cache, and a user's turn to compute on a device, over caches."""

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ubt.core.errors import BadInput, UbtError
from ubt.core.text import printable

SHARED = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())
"""Where every process of a user looks."""


@contextlib.contextmanager
def hold(path: Path, wait: float = -1) -> Iterator[None]:
    """Hold the lock `path` alone; freed when the process ends, however it ends. `wait`: seconds, for good if negative.

    Raises:
        UbtError: another process holds it; who does.
    """
    owner = path.with_suffix(".owner")
    try:
        with FileLock(path, timeout=wait):
            with contextlib.suppress(OSError):  # a full disk must not keep `prune` from making room
                owner.write_text(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
            yield
    except Timeout:
        raise UbtError(printable(owner.read_text()[:200]) if owner.exists() else "another process") from None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock `path`."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


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
