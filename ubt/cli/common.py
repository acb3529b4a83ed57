"""What the commands share: options, signals, long work."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ubt.cases.events import Event
from ubt.cli.console import Show
from ubt.clip import distributed
from ubt.core.errors import BadInput, Cancelled

CacheOption = Annotated[Path, typer.Option("--cache", envvar="UBT_CACHE", help="Folder for cases and artefacts.")]
CACHE = Path("cache")


Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option(help="Of training: auto, fp32 or bf16. Scores are always fp32.")]


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


def changes(items: list[str]) -> dict[str, str]:
    """Settings as `--set` gives them, `group.name=value`, by name.

    Raises:
        BadInput: one has no value.
    """
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
