"""The command that makes the built-in cases: `python -m ubt built-in`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, run_missing
from ubt.cli.console import say
from ubt.core.errors import UbtError
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

    store, where = Store(cache), compute(device, precision)
    errors, ran = run_missing(store, where, make_demo.work())
    if errors:
        raise UbtError(
            f"{len(errors)} of {ran} cases failed: " + "; ".join(f"{name}: {e}" for name, e in errors.items())
        )
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{make_demo.make(store, where, folder) / 1e6:.1f} MB written to {folder}")
