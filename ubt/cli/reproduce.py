"""The command that makes again what the documents show: `python -m ubt reproduce`."""

import contextlib
import datetime
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from typer import Option

from ubt import __version__
from ubt.cli.common import CACHE, CacheOption, Device, Precision
from ubt.cli.console import say
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import UNKNOWN, Compute, compute
from ubt.reports import manifest
from ubt.reports.manifest import Made
from ubt.reports.paper.cells import beside

COMMAND = (sys.executable, "-m", "ubt")
UNFINISHED = 4
"""The exit code where the budget was spent before all was made."""
STOPPING = 120.0
"""Seconds that a command gets to write its checkpoint once the budget is spent."""


def reproduce(
    budget: Annotated[
        float | None, Option(help="Hours after which to stop; the same command goes on from there.", min=0)
    ] = None,
    only: Annotated[str, Option(help="Only these tables, separated by commas.")] = "",
    accept: Annotated[
        bool, Option("--accept", help="Put what was made into ubt/docs/measured, with its machine and date.")
    ] = False,
    cells: Annotated[
        bool, Option("--known-cells", help="Take the cells that the documents have, and measure only those they lack.")
    ] = False,
    folder: Annotated[Path, Option("--out", help="Folder for the tables.")] = Path("reproduced"),
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Make the tables of ubt/docs/measured.md again, those that say most first, and say what differs from them; stopped
    or interrupted, the same command goes on from there.
    """
    wanted, where = _chosen(only), compute(device, precision)
    shared = ["--cache", str(cache), "--device", where.device, "--precision", where.precision]
    until = None if budget is None else time.monotonic() + 3600 * budget
    differ, failed, done = [], [], set()
    with _terminated_as_interrupted():
        for entry in wanted:
            try:
                if until is not None and time.monotonic() >= until:
                    raise _Spent
                csv = _make(entry, folder, shared, until, cells)
            except _Spent:
                break
            except UbtError as e:
                failed.append(entry.name)
                say(f"{entry.name}: failed: {e}", soft_wrap=True)
            else:
                if not _said(entry, csv, where):
                    differ.append(entry.name)
                if accept:
                    manifest.accept(entry, csv, datetime.date.today().isoformat(), __version__, machine(where))
                    say(f"{entry.name}: accepted; python -m ubt docs --write puts it into the documents")
            done.add(entry.name)
    rest = [entry.name for entry in wanted if entry.name not in done]
    if rest:
        say(f"the budget is spent; to be made: {', '.join(rest)}; the same command goes on from there", soft_wrap=True)
    if failed:
        raise UbtError(f"{len(failed)} of {len(wanted)} tables failed: {', '.join(failed)}")
    if differ and not accept:
        raise UbtError(f"{len(differ)} of {len(wanted)} tables differ: {', '.join(differ)}")
    if rest:
        raise typer.Exit(UNFINISHED)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """While inside, SIGTERM ends this command, and with it the one under way, as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Spent(Exception):
    """The budget is spent."""


def machine(where: Compute) -> str:
    """What figures depend on beside the version: processor, device, precision and threads."""
    return f"{where.processor}, {where}"


def _chosen(only: str) -> list[Made]:
    known = {entry.name: entry for entry in manifest.entries()}
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise BadInput(f"--only: expected some of: {', '.join(known)}; got {unknown[0]!r}")
    chosen = [entry for name, entry in known.items() if not names or name in names]
    for entry in chosen:
        if entry.needs and not names:
            say(f"{entry.name}: left out, it needs {entry.needs}; python -m ubt reproduce --only {entry.name}")
    return [entry for entry in chosen if names or not entry.needs]


def _make(entry: Made, folder: Path, shared: list[str], until: float | None, known: bool) -> Path:
    """Run an entry's commands; the CSV of all of them. `known`: with the cells that the documents have."""
    made, cells = [], manifest.folder() / f"{beside(entry.name)}.csv"
    if known and cells.exists():
        shared = [*shared, "--cells", str(cells)]
    elif known:
        say(f"{entry.name}: the documents have no cells of it, so that all is measured")
    for i, command in enumerate(entry.commands):
        into = folder / entry.name / str(i)
        into.mkdir(parents=True, exist_ok=True)
        say(f"{entry.name}: python -m ubt {command}", soft_wrap=True)
        if code := _run([*map(os.path.expandvars, shlex.split(command)), "--out", str(into), *shared], until):
            raise UbtError(f"python -m ubt {command} ended with {code}; its own message is above")
        made.append(into / f"{entry.name}.csv")
    csv = folder / f"{entry.name}.csv"
    if len(made) == 1:
        csv.write_bytes(made[0].read_bytes())
        if (each := made[0].with_name(cells.name)).exists():
            csv.with_name(cells.name).write_bytes(each.read_bytes())
    else:
        pd.concat([pd.read_csv(path, dtype=str) for path in made]).to_csv(csv, index=False)
    return csv


def _run(arguments: list[str], until: float | None) -> int:
    """Run a command of ours in a process of its own until it ends or the budget is spent; its exit code."""
    process = subprocess.Popen([*COMMAND, *arguments])
    try:
        return process.wait(None if until is None else max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        _stop(process)
        raise _Spent from None
    except KeyboardInterrupt:
        _stop(process)
        raise typer.Exit(130) from None
    finally:
        if process.poll() is None:
            process.kill()


def _stop(process: subprocess.Popen) -> None:
    """Ask a command to stop, and wait while it writes its checkpoint."""
    if os.name == "posix":
        process.send_signal(signal.SIGINT)
    else:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING)


def _said(entry: Made, csv: Path, where: Compute) -> bool:
    """Say how a table that was made again compares; whether it says the same as the one in the documents."""
    before = manifest.folder() / f"{entry.name}.csv"
    if not before.exists():
        say(f"{entry.name}: made; the documents have no CSV of it to compare")
        return True
    found = manifest.compare(before, csv)
    at_home = (entry.version, entry.machine) == (__version__, machine(where)) and UNKNOWN not in entry.machine
    if found.same:
        say(f"{entry.name}: the same to the digit")
        return True
    kinds = {"differs": found.changed, "outside its interval": found.outside, "of one seed, differs": found.untold}
    for kind, lines in kinds.items():
        for line in lines:
            say(f"{entry.name}, {kind}: {line}", soft_wrap=True)
    say(
        f"{entry.name}: {len(found.outside)} of {found.figures} figures outside their 95 % interval,"
        f" {len(found.untold)} without one differ, {len(found.changed)} other differences"
        + ("; this is the version and the machine that made it, where it should be the same" if at_home else "")
    )
    return found.alike and not at_home
