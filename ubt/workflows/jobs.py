"""Long work in a process of its own, which outlives the browser tab and the app that asked for it.

`start` runs `python -m ubt.workflows.jobs CACHE CASE [STAGE]` and returns; how it gets on is read from the case's
record and journal (`status`), by any process. Whoever holds the case's lock is its one job; a job that was killed is
started again and resumes. `start_each` runs several cases in one process, `start_view` computes a view
(`ubt.workflows.derived`), `start_import` imports what an analyst has.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ubt.cases import events as journal
from ubt.cases import litter
from ubt.cases.cost_model import cost
from ubt.cases.events import Event, Journal
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Pipeline, run_each, upto
from ubt.cases.plan import composed
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import limits, locks
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import digest, disk_full
from ubt.core.run import Compute, Progress, Run, compute
from ubt.core.text import printable
from ubt.workflows import derived, ingest, made_here, time_left, uploads
from ubt.workflows.time_left import TWO_CORES, Estimate, Left, Step

LIVE = ("running", "waiting")
NICE = 5
"""A job yields to the app on a machine they share."""
TELLING, LATEST = 5.0, 5
"""Declared seconds of finished steps that tell a machine's speed, and the cases that are looked at for them."""


@dataclass(frozen=True)
class Status:
    """A case as it stands. `state`: new, partial, running, cancelled, interrupted, failed, done, damaged or outdated.
    `share` of the work that is done; `left`: how long it takes yet, None when nothing runs; `error`: why it failed.
    """

    state: str
    steps: dict[str, Step] = field(default_factory=dict)
    share: float = 0.0
    left: Left | None = None
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether some process runs it now."""
        return self.state == "running"

    @property
    def current(self) -> str | None:
        """The stage under way."""
        return next((name for name, step in self.steps.items() if step.state in LIVE), None)

    @property
    def finished(self) -> tuple[str, ...]:
        """The stages that are done."""
        return tuple(name for name, step in self.steps.items() if step.state == "done")


def start(store: Store, name: str, until: str | None = None, wait: float = 15.0) -> bool:
    """Run a case, or the stages that lead to `until`, in a process of its own; returns once it is under way.

    Returns:
        Whether a process was started; False if the case was being run already, which this call then joins.

    Raises:
        BadInput: there is no such case. UbtError: the process ended at once; the message is its own.
    """
    before = _known(store, name).updated
    return _process(
        store, name, [name, *([until] if until else [])], lambda: store.record(name).updated != before, wait
    )


def start_each(store: Store, title: str, work: Sequence[tuple[str, str | None]], wait: float = 15.0) -> bool:
    """Run cases on record, each or the stages of it that lead to the one named, one after another in one process, which
    holds the lock `title`; otherwise as `start`.
    """
    for name, until in work:
        upto(until, CaseSettings.from_dict(_known(store, name).settings).own)
    return _process(store, title, ["--each", title, json.dumps(work)], lambda: False, wait)


def start_view(store: Store, name: str, kind: str, options: dict[str, Any], wait: float = 15.0) -> bool:
    """Compute a view of a case in a process that holds the view's name; otherwise as `start`."""
    key = derived.key(_known(store, name), kind, options)
    return _process(store, key, ["--view", name, kind, json.dumps(options)], lambda: store.find(key) is not None, wait)


def import_lock(wanted: ingest.Wanted) -> str:
    """The lock that whoever imports something holds."""
    return f"import-{digest(vars(wanted))}"


def start_import(store: Store, wanted: ingest.Wanted, wait: float = 15.0) -> bool:
    """Import pairs, labelled images or a model, or make what `ubt.workflows.made_here` makes, in a process that holds
    `import_lock`; otherwise as `start`.
    """
    lock = import_lock(wanted)
    store.require_writable()
    if not store.held(lock):
        _told(store, lock).unlink(missing_ok=True)
    uploads.use(store, wanted.source)
    return _process(store, lock, ["--import", json.dumps(vars(wanted))], lambda: bool(imported(store, lock)), wait)


def imported(store: Store, lock: str) -> str:
    """What the last finished process that held a `import_lock` put into the store; empty if nothing, or no longer
    there.
    """
    key = next((e.stage for e in reversed(journal.read(_told(store, lock))) if e.kind == "done"), "")
    return key if key and store.find(key) is not None else ""


def being_imported(store: Store) -> dict[str, ingest.Wanted]:
    """What is being imported now, by whatever process, by its lock."""
    found = {}
    for lock, said in litter.being_imported(store).items():
        with contextlib.suppress(TypeError):
            found[lock] = ingest.Wanted(**said)
    return found


def view_progress(store: Store, key: str) -> Event:
    """The latest that a view, or an import, under way has told."""
    return next((e for e in reversed(journal.read(_told(store, key))) if e.kind != "run"), Event("starts"))


def _told(store: Store, key: str) -> Path:
    return store.root / "work" / key / "events.jsonl"


def failure(store: Store, lock: str) -> str:
    """What the last process that held `lock` said when it ended, if anything."""
    with contextlib.suppress(OSError):
        said = (store.root / "work" / f"{lock}.log").read_text(errors="replace").strip().splitlines()
        return (limits.told(said[-1]) or said[-1]) if said else ""
    return ""


def _known(store: Store, name: str) -> CaseRecord:
    record = store.record(name)
    if not record.readable:
        raise BadInput(record.error)
    return record


def _process(store: Store, lock: str, arguments: list[str], begun: Callable[[], bool], wait: float) -> bool:
    store.require_writable()
    if store.held(lock):
        return False
    log = store.root / "work" / f"{lock}.log"
    command = [sys.executable, "-m", "ubt.workflows.jobs", str(store.root.resolve()), *arguments]
    package = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with log.open("wb") as out:
        locks.shared(out)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environment
        )
    threading.Thread(target=process.wait, daemon=True).start()
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if store.held(lock) or begun():
            return True
        if process.poll() is not None:
            said = failure(store, lock)
            if not process.returncode and not said:
                return True
            raise UbtError(said or f"the job of {lock} ended at once with {process.returncode}; run it again")
        time.sleep(0.05)
    return True


def cancel(store: Store, name: str) -> bool:
    """Ask whoever runs a case, or the cases of `start_each` by its title, to stop at the next step, where a checkpoint
    is written. Returns whether anybody runs it.
    """
    store.require_writable()
    held = store.held(name)
    if held:
        store.cancel_flag(name).touch()
    return held


def status(store: Store, name: str, until: str | None = None) -> Status:
    """How a case stands, from what is on disk; `share` and `left` are of the stages that lead to `until`, if one is
    named, else of those of a case and, while it is being run, of what it is run up to beyond them.
    """
    held = store.held(name)
    record = store.record(name)
    if not record.readable:
        return Status("outdated" if record.state == "outdated" else "damaged", error=record.error)
    try:
        settings, state = CaseSettings.from_dict(record.settings), record.state
    except UbtError as e:
        return Status(
            "damaged",
            error=(
                f"{name}: expected a case that this version can read, but {e}; delete it, or open it with the version"
                " that made it"
            ),
        )
    if state == "running" and not held:
        held = store.held(name)
        state = "running" if held else "interrupted"
    steps = {stage: _step(store, key) for stage, key in record.artefacts.items()}
    told = _this_run(store, name) if held else []
    if held:
        state = "running"
        for event in told:
            if event.stage in steps and steps[event.stage].state != "done":
                kind = {"progress": "running", "starts": "running", "waits": "waiting"}.get(event.kind, "missing")
                steps[event.stage] = Step(kind, event.seconds, event.done, event.total)
    elif state == "done" and any(steps[s.name].state != "done" for s in upto(None, settings.own) if s.name in steps):
        state = "partial"
    counted = composed(settings.own).every if held and until is None else upto(until, settings.own)
    wanted = {s.name: steps.get(s.name, Step()) for s in counted if until or s.name in steps}
    costs = {name: cost(name, settings) for name in wanted}
    share, left = 1 - time_left.undone(costs, wanted) / sum(costs.values()), None
    if held:
        timed = _timed(store, record.compute)
        under = next((name for name, step in wanted.items() if step.state == "running"), "")
        left = time_left.left(
            costs, wanted, told, time_left.speed(costs, wanted, TELLING) or timed.speed, timed.least.get(under, 0.0)
        )
    return Status(state, steps, share, left, record.error if state == "failed" else "")


def remaining(store: Store, work: Sequence[tuple[CaseSettings, Compute, str | None]], damaged: str = "") -> Estimate:
    """How long the missing steps of some cases take, each up to a stage, one after another and each once: at the speed
    of those that are done, else at that of the latest cases of this cache.

    Args:
        damaged: the artefact of a step that is not done, although it is there.
    """
    costs: dict[str, float] = {}
    steps: dict[str, Step] = {}
    for settings, where, until in work:
        name, names = settings.name(where), every_key(settings, where)
        under = status(store, name).steps if store.held(name) else {}
        for stage in upto(until, settings.own):
            if (key := names[stage.name]) not in costs:
                costs[key] = cost(stage.name, settings)
                step = Step() if key == damaged else _step(store, key)
                steps[key] = step if step.state == "done" else under.get(stage.name, step)
    if not costs:
        return Estimate(0.0, measured=True)
    speed = time_left.speed(costs, steps, TELLING) or pace(store, work[0][1])
    return Estimate(time_left.undone(costs, steps) * (speed or TWO_CORES), measured=speed is not None)


@dataclass(frozen=True)
class _Timed:
    """What the latest cases of a cache took for each second that their stages declare: `speed` of all, None where too
    little was computed to tell, and the `least` of each stage.
    """

    speed: float | None
    least: dict[str, float]


def _timed(store: Store, where: Compute) -> _Timed:
    costs: dict[str, float] = {}
    steps: dict[str, Step] = {}
    least: dict[str, float] = {}
    for name in store.names()[:LATEST]:
        record = store.record(name)
        if record.imported or record.compute != where:
            continue
        with contextlib.suppress(UbtError):
            settings = CaseSettings.from_dict(record.settings)
            for stage, key in record.artefacts.items():
                costs[key], steps[key] = cost(stage, settings), _step(store, key)
                if steps[key].state == "done":
                    least[stage] = min(steps[key].seconds / costs[key], least.get(stage, math.inf))
    return _Timed(time_left.speed(costs, steps, TELLING), least)


def pace(store: Store, where: Compute) -> float | None:
    """How many seconds the latest cases of this cache took there for a second that their stages declare; None where
    too little was computed to tell.
    """
    return _timed(store, where).speed


def _step(store: Store, key: str) -> Step:
    found = store.find(key)
    return Step() if found is None else Step("done", found.manifest["seconds"])


def _this_run(store: Store, name: str) -> list[Event]:
    events = journal.read(store.journal(name))
    last = max((i for i, e in enumerate(events) if e.kind == "run"), default=0)
    return events[last + 1 :]


def main(root: str, name: str, *more: str) -> int:
    """The job's own process: one case, `--each TITLE WORK` (JSON: pairs of case and stage, or null), `--view CASE KIND
    OPTIONS`, or `--import WANTED`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    if hasattr(os, "nice"):
        os.nice(NICE)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        limits.check()
        store = Store(Path(root))
        works = {"--view": _view, "--import": _import, "--each": _each}
        with store.explained():
            if name in works:
                return works[name](store, *more, stop=stop.is_set)
            with _quiet(store, name):
                return _one(store, name, *more, stop=stop.is_set)
    except Cancelled:
        return 0
    except UbtError as e:
        print(printable(e), file=sys.stderr)
        return 1
    except OSError as e:
        full = f"{root}: the disk is full; free some space and run again" if disk_full(e) else repr(e)
        said = limits.ran_out(e) or full
        print(printable(said), file=sys.stderr)
        return 1


def _one(store: Store, name: str, until: str | None = None, *, stop: Callable[[], bool]) -> int:
    record = _known(store, name)
    settings = CaseSettings.from_dict(record.settings)
    Pipeline(store, record.compute, cancelled=stop).run(settings, upto(until, settings.own))
    return 0


@contextlib.contextmanager
def _quiet(store: Store, lock: str) -> Iterator[None]:
    """Delete the log of a job that ends well and has said nothing."""
    yield
    with contextlib.suppress(OSError):
        if not (log := store.root / "work" / f"{lock}.log").stat().st_size:
            log.unlink()


@contextlib.contextmanager
def _held(store: Store, lock: str, stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Hold a lock; gives what says whether somebody has asked whoever holds it to stop."""
    flag = store.cancel_flag(lock)
    with store.lock(lock, wait=1), _quiet(store, lock):
        flag.unlink(missing_ok=True)
        try:
            yield lambda: stop() or flag.exists()
        finally:
            flag.unlink(missing_ok=True)


def _progress(tell: Journal, kind: str, what: str, stopped: Callable[[], bool]) -> Progress:
    """Progress that is told, and that ends the work once it is asked to stop."""
    started = time.monotonic()

    def progress(done: int, total: int, figures: dict[str, float]) -> None:
        tell(Event("progress", kind, done, total, time.monotonic() - started, figures))
        if stopped():
            raise Cancelled(f"{what}: cancelled")

    return progress


def _view(store: Store, name: str, kind: str, chosen: str, *, stop: Callable[[], bool]) -> int:
    record, options = _known(store, name), json.loads(chosen)
    key = derived.key(record, kind, options)
    with _held(store, key, stop) as stopped, contextlib.ExitStack() as turn:
        scratch = store.scratch(key)
        tell = Journal(_told(store, key), fresh=True)
        progress = _progress(tell, kind, kind, stopped)
        try:
            _wait(turn, record.compute, tell, kind, stopped)
            derived.make(store, record, kind, options, Run(compute=record.compute, progress=progress))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _wait(turn: contextlib.ExitStack, where: Compute, tell: Journal, kind: str, stopped: Callable[[], bool]) -> None:
    """Wait for the turn to compute there, and keep it."""
    tell(Event("waits", kind))
    lock = locks.turn(where.device)
    while True:
        with contextlib.suppress(UbtError):
            turn.enter_context(locks.hold(lock, wait=0.5))
            return
        if stopped():
            raise Cancelled(f"{kind}: cancelled")


def _import(store: Store, chosen: str, *, stop: Callable[[], bool]) -> int:
    wanted = ingest.Wanted(**json.loads(chosen))
    lock = import_lock(wanted)
    with _held(store, lock, stop) as stopped, contextlib.ExitStack() as turn:
        (store.scratch(lock) / "wanted.json").write_text(chosen)
        tell, started = Journal(_told(store, lock), fresh=True), time.monotonic()
        tell(Event("starts", wanted.kind))
        progress = _progress(tell, wanted.kind, wanted.source, stopped)
        if wanted.kind in made_here.MADE:
            _wait(turn, where := compute(), tell, wanted.kind, stopped)
            key = made_here.make(store, wanted, where, progress)
        else:
            key = ingest.import_wanted(store, wanted, progress)
        tell(Event("done", key, seconds=time.monotonic() - started))
    return 0


def _each(store: Store, title: str, work: str, *, stop: Callable[[], bool]) -> int:
    with _held(store, title, stop) as stopped:
        found = [(store.record(name), until) for name, until in json.loads(work)]
        cases = [(CaseSettings.from_dict(r.settings), r.compute, until) for r, until in found if r.readable]
        errors = run_each(store, cases, cancelled=stopped)
    for name, error in errors.items():
        print(printable(f"{name}: {error}"), file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
