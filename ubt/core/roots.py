"""Which folders of this machine may be read for whoever uses the app. The environment says it, so that the app's jobs
know it too; the command line, whose user may read what they may read, is bound only where they say so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ubt.core.errors import BadInput

ROOTS = "UBT_ROOTS"
"""The environment's variable: folders, separated as in PATH. Not set: all; set to nothing: none."""


DATA = "UBT_DATA"
"""The environment's variable that names the folder of data sets, which may be read as well."""
_ALSO: ContextVar[tuple[Path, ...]] = ContextVar("also", default=())


class NotAllowed(BadInput):
    """Nothing is there that may be read; whether anything else is there is not said."""


def roots() -> list[Path] | None:
    """The folders in and below which files may be read, links resolved; None where every file may."""
    named = os.environ.get(ROOTS)
    if named is None:
        return None
    named = os.pathsep.join([named, os.environ.get(DATA, "")])
    return [Path(os.path.realpath(os.path.expanduser(folder))) for folder in named.split(os.pathsep) if folder]  # noqa: PTH111


@contextmanager
def also(folder: Path) -> Iterator[None]:
    """Inside, files of ours below `folder` may be read as well."""
    token = _ALSO.set((*_ALSO.get(), Path(os.path.realpath(folder))))
    try:
        yield
    finally:
        _ALSO.reset(token)


def allowed(path: Path) -> bool:
    """Whether a path, links on the way resolved, leads to where files may be read; it need not be there."""
    known = roots()
    if known is None:
        return True
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        return False
    return any(real.is_relative_to(root) for root in (*known, *_ALSO.get()))


def require(path: Path, asked: Path | None = None) -> None:
    """Do nothing where a path, which `asked` led to, may be read.

    Raises:
        NotAllowed: it may not, or nothing is there; which of the two is not said.
    """
    if not allowed(path):
        raise NotAllowed(f"{str(asked or path)[:200]}: expected a file or folder {within()}, got none")


def within() -> str:
    """Where files may be read, in words."""
    known = roots()
    if not known:
        return "of this machine" if known is None else f"that may be read, but {ROOTS} names no folder of this machine"
    return f"in {' or '.join(map(str, known))}, all that may be read ({ROOTS} names these folders)"
