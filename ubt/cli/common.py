"""What the commands share: options, signals, long work."""

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cases.events import Event
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, missing, run_each, standing, upto
from ubt.cases.store import Store
from ubt.cli.console import Show, err
from ubt.clip import distributed
from ubt.core.errors import BadInput, Cancelled
from ubt.core.run import Compute

CacheOption = Annotated[Path, Option("--cache", envvar="UBT_CACHE", help="Folder for cases and artefacts.")]
CACHE = Path("cache")
Changes = Annotated[
    list[str] | None, Option("--set", help="Any other setting, as group.name=value (see ubt/docs/reference.md).")
]
QuickGelu = Annotated[
    bool | None, Option("--quick-gelu/--no-quick-gelu", help="The model's activation, where nothing else says it.")
]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, Option(help="Of training: auto, fp32 or bf16. Scores are always fp32.")]


def present_name(store: Store, name: str) -> str:
    """A case's name now, where an earlier version gave it the name that was typed; says so if they differ."""
    if (now := store.renamed(name)) != name:
        err.print(f"{name} is called {now} now", markup=False, highlight=False, soft_wrap=True)
    return now


def stop_on_signal() -> Callable[[], bool]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop at the next step, where a checkpoint is written; a second
    one ends the process at once."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        stop.set()
        if distributed.count() == 1:  # torchrun passes on what the terminal has sent already
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop.is_set


def changes(items: list[str] | None) -> dict[str, str]:
    """The settings that `--set` changes, `group.name=value` each, by name.

    Raises:
        BadInput: one has no value.
    """
    items = items or []
    for item in items:
        if "=" not in item:
            raise BadInput(f"--set: expected group.name=value, got {item!r}")
    return dict(item.split("=", 1) for item in items)


def long_work(name: str, work: Callable[[Callable[[int, int, dict[str, float]], None]], dict]) -> dict:
    """Run `work` with a progress bar; Ctrl-C and SIGTERM stop it at its next step."""
    show = Show(1)
    with show.bars:
        show(Event("starts", name))
        stop = stop_on_signal()

        def progress(done: int, total: int, figures: dict[str, float]) -> None:
            show(Event("progress", name, done, total, figures=figures))
            if stop():
                raise Cancelled(f"cancelled after {done} of {total}; run again to go on from there")

        card = work(progress)
        show(Event("done", name, seconds=card["seconds"]))
    return card


def run_missing(store: Store, where: Compute, work: Sequence[Work]) -> tuple[dict[str, str], int]:
    """Run what is missing of some cases, each up to a stage, with the stages shown; says first how long it will take.

    Returns:
        The errors, by the case's name and its stage, and how many cases were run.
    """
    from ubt.workflows.jobs import remaining

    wanted = [
        (case, where, until)
        for case, until in work
        if standing(store, case, where, until=until, whole=True)[0] != "done"
    ]
    to_compute = set()
    for case, _, until in wanted:
        names = every_key(case, where)
        to_compute |= {names[stage] for stage in missing(store, case, names, upto(until, case.own), whole=True)}
    if to_compute:
        takes = remaining(store, [(case, where, until) for case, until in work]).said
        err.print(
            f"{len(to_compute)} stages to compute, {takes}; interrupted, the same command goes on from there",
            highlight=False,
            soft_wrap=True,
        )
    show, stop = Show(len(to_compute), cached=False), stop_on_signal()
    with show.bars:
        return run_each(store, wanted, show, stop), len(wanted)
