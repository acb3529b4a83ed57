"""The part of the command line that makes what the package ships of finished cases: `python -m ubt ready`."""

from pathlib import Path
from typing import Annotated

import typer

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision
from ubt.cli.console import Show, err, out
from ubt.core.errors import UbtError
from ubt.core.files import READY
from ubt.core.run import compute


def ready(
    folder: Annotated[Path, typer.Option("--out", help="Folder for them.")] = READY,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Make the ready-made cases, those that the guided walk sets beside them, and the grid of What if; an interrupted
    run goes on.
    """
    from ubt.cases.pipeline import every_key, run_each, standing, upto
    from ubt.cli import make_demo
    from ubt.cli.common import stop_on_signal
    from ubt.workflows.jobs import remaining

    store, where = Store(cache), compute(device, precision)
    wanted = [
        (case, where, until)
        for case, until in make_demo.work()
        if standing(store, case, where, until=until)[0] != "done"
    ]
    lacking = {
        key
        for case, _, until in wanted
        for s in upto(until, case.own)
        if store.find(key := every_key(case, where)[s.name]) is None
    }
    if lacking:
        minutes = max(1, round(remaining(store, wanted) / 60))
        err.print(
            f"{len(lacking)} stages to compute, about {minutes} min; interrupted, the same command goes on from there",
            highlight=False,
            soft_wrap=True,
        )
    show = Show(len(lacking), cached=False)
    with show.bars:
        errors = run_each(store, wanted, show, stop_on_signal())
    if errors:
        raise UbtError(
            f"{len(errors)} of {len(wanted)} cases failed: " + "; ".join(f"{name}: {e}" for name, e in errors.items())
        )
    folder.mkdir(parents=True, exist_ok=True)
    out.print(f"{make_demo.make(store, where, folder) / 1e6:.1f} MB written to {folder}", markup=False, highlight=False)
