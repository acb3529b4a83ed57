"""The command that makes the built-in cases: `python -m ubt built-in`."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cases.demo import GRID
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, run_missing
from ubt.cli.console import require_clone, say
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import READY
from ubt.core.run import compute


def built_in(
    folder: Annotated[Path, Option("--out", help="Folder for them.")] = READY,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Make the built-in cases, those that the guided walk sets beside them, and the grid of What if; an interrupted
    run goes on.
    """
    from ubt.cli import make_demo

    _check(folder)
    store, where = Store(cache), compute(device, precision)
    errors, ran = run_missing(store, where, make_demo.work())
    if errors:
        raise UbtError(
            f"{len(errors)} of {ran} cases failed: " + "; ".join(f"{name}: {e}" for name, e in errors.items())
        )
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{make_demo.make(store, where, folder) / 1e6:.1f} MB written to {folder}")


def _check(folder: Path) -> None:
    """Raises:
    BadInput: they cannot be written there, or something else would be overwritten, so that the work need not begin.
    """
    from ubt.cli.make_demo import PARTS

    if folder == READY:
        require_clone("built-in without --out FOLDER")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise BadInput(f"--out: expected a folder that can be written, got {folder}; name another")
    if any((folder / part).exists() for part in PARTS) and not (folder / GRID).is_file():
        raise BadInput(f"--out: expected a new folder, or one of built-in cases, got {folder}; name another")
