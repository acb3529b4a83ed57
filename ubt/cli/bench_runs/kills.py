"""What is left, and what is lost, when work is killed: a case, imports, exports, labels and `prune` are ended by
SIGKILL at random moments, each gone on with to its end, and compared with an undisturbed run.

Half of the moments are drawn from the time that the work takes, half from the files that it opens, renames and deletes:
the first fall into long steps, the second between two short ones. A process that has loaded everything forks each piece
of work, so that a kill costs no start of Python.
"""

import contextlib
import csv
import hashlib
import os
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.run import compute
from ubt.pairs.annotations import Review, Sent
from ubt.workflows import ingest

SETTINGS = {
    "data.pairs": 200,
    "attack.rate": 0.05,
    "split.fraction": 0.12,
    "select.k": 4,
    "test.per_class": 1,
    "verdict.threshold": -1.0,
    "verdict.displaced": -1.0,
    "verdict.apart": -1.0,
    "poison.epochs": 1,
    "poison.batch": 64,
    "overfit.steps": 2,
    "overfit.batch": 12,
    "unlearn.steps": 2,
    "unlearn.batch": 8,
    "unlearn.keep_batch": 32,
    "published.steps": 2,
    "retain.anchors": 8,
    "retain.pool": 64,
}
"""A case of a few seconds."""
LOADED = (
    "ubt.attacks.poisoning",
    "ubt.defenses.token_unlearning.overfit",
    "ubt.evaluation.judge",
    "open_clip",
    "scipy.stats",
    "skimage.metrics",
    "sklearn.mixture",
    "pyarrow.parquet",
)
"""What the work imports; no thread may run where processes are forked."""
ROWS, DECISIONS, SENT = 60, 40, 4
"""Pairs that are imported; decisions that a page makes; how many it sends at once."""
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect")
"""What Python tells of files, before it happens."""
LATE = 1.05
"""The latest moment, in the time that the undisturbed work takes."""
DEAD = 2**22 + 1
"""A process that there is not: Linux counts up to 2**22."""


@dataclass(frozen=True)
class Job:
    """Where everything lies, and up to which stage the case is run (None: to its end)."""

    root: Path
    until: str | None = None

    @property
    def store(self) -> Store:
        """The cache in which it is killed."""
        return Store(self.root / "cache")

    @property
    def settings(self) -> CaseSettings:
        """The case's."""
        return CaseSettings().with_values(SETTINGS)

    @property
    def name(self) -> str:
        """The case's."""
        return self.settings.name(compute("cpu", "fp32"))

    @property
    def review(self) -> Review:
        """The case's labels."""
        return Review(self.store.root / "cases" / self.name / "review.sqlite")

    @property
    def source(self) -> Path:
        """The pairs that are imported."""
        return self.root / "own" / "pairs.csv"

    @property
    def exported(self) -> Path:
        """The pairs that are exported."""
        return self.root / "exported" / "pairs.zip"


@dataclass(frozen=True)
class Work:
    """Work that is killed: what takes it back, what does it or goes on with it, and what it comes to, as plain values
    that are equal for equal results.
    """

    undo: Callable[[Job], None]
    do: Callable[[Job], None]
    result: Callable[[Job], Any]


@dataclass
class Killed:
    """What became of one kind of work: kills by the clock and at a file; `late`: came when all was done; `differences`:
    results that are not those of the undisturbed run; `left`: names that stayed under `work/` after it was gone on
    with; `freed`: bytes that `prune` then found to delete.
    """

    clock: int = 0
    file: int = 0
    late: int = 0
    differences: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    freed: int = 0

    @property
    def kills(self) -> int:
        """All of them."""
        return self.clock + self.file


def _run_case(job: Job) -> None:
    Pipeline(job.store, compute("cpu", "fp32")).run(job.settings, upto(job.until) if job.until else None)


def _forget_case(job: Job) -> None:
    if job.name in job.store.cases():
        job.store.delete(job.name)


def _case(job: Job) -> Any:
    record = job.store.case(job.name)
    made = {stage: job.store.find(key) for stage, key in record.artefacts.items()}
    files = {stage: {f: v["sha256"] for f, v in a.manifest["files"].items()} for stage, a in made.items() if a}
    figures = {name: value for name, value in (record.metrics or {}).items() if name != "seconds"}
    return record.state, files, figures


def _import(job: Job) -> None:
    ingest.import_pairs(job.store, job.source)


def _forget_import(job: Job) -> None:
    for key, artefact in job.store.all_imported("pairs").items():
        with job.store.lock(key):
            job.store.drop(artefact.path)


def _imported(job: Job) -> Any:
    return {key: a.manifest["files"] for key, a in job.store.all_imported("pairs").items()}


def _export(job: Job) -> None:
    ingest.write_pairs(job.store, job.name, job.exported)


def _forget_export(job: Job) -> None:
    job.exported.unlink(missing_ok=True)


def _export_of(job: Job) -> Any:
    beside = sorted(p.name for p in job.exported.parent.iterdir())
    with zipfile.ZipFile(job.exported) as archive:
        return beside, {entry.filename: entry.CRC for entry in archive.infolist()}


def _label(job: Job) -> None:
    """What a page does: it sends again what was not confirmed."""
    sent = [_decision(n) for n in range(1, DECISIONS + 1)]
    done = 0
    while done < DECISIONS:
        done = job.review.receive("page", "kills", sent[done : done + SENT])[0]


def _decision(n: int) -> Sent:
    if n % 10 == 0:
        return Sent(n, "undo")
    return Sent(n, "label", f"{n * 7 % 30:06d}", ("backdoor", "clean", "unsure")[n % 3], f"note {n}")


def _forget_labels(job: Job) -> None:
    for path in job.review.path.parent.glob("review*"):
        path.unlink()


def _labels(job: Job) -> Any:
    return job.review.labels().drop(columns="at").sort_values("id").to_dict("records")


def _prune(job: Job) -> None:
    job.store.prune()


def _litter(job: Job) -> None:
    """Of every kind that `prune` takes."""
    root = job.store.root
    for folder in (root / "artefacts" / "split-0", root / "work" / "overfit-0", root / "cases" / "half"):
        folder.mkdir(exist_ok=True)
        for n in range(3):
            (folder / f"{n}.npy").write_bytes(bytes(1000))
    for name in ("case.lock", "case.owner", "case.cancel", "case.log", "alone.lock", f".probe.{DEAD}.tmp"):
        (root / "work" / name).write_bytes(b"left")
    for path in (root / "checked" / "split-1.json", root / "cases" / job.name / f".case.json.{DEAD}.tmp"):
        path.write_bytes(b"left")


def _pruned(job: Job) -> Any:
    root = job.store.root
    kept = [p.relative_to(root) for folder in ("artefacts", "checked") for p in (root / folder).rglob("*")]
    return sorted(map(str, kept)), sorted(p.name for p in (root / "cases").iterdir()), _case(job)


WORK: Mapping[str, Work] = {
    "case": Work(_forget_case, _run_case, _case),
    "import": Work(_forget_import, _import, _imported),
    "export": Work(_forget_export, _export, _export_of),
    "label": Work(_forget_labels, _label, _labels),
    "prune": Work(_litter, _prune, _pruned),
}


def measure(
    folder: Path,
    kills: int = 100,
    seed: int = 0,
    until: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Kill each kind of work about equally often.

    Args:
        folder: emptied first, deleted afterwards. until: the stage up to which the case is run; None: to its end.

    Returns:
        `work`: kind to `Killed`; `left`: what is under `work/` at the end; `freed`: bytes that a last `prune` frees.

    Raises:
        UbtError: there is no SIGKILL here, or work failed without having been killed.
    """
    if os.name != "posix":
        raise UbtError("--kills: expected a system that has SIGKILL, got Windows; run it on Linux")
    shutil.rmtree(folder, ignore_errors=True)
    job, draw = Job(folder.absolute(), until), np.random.default_rng(seed)
    (job.root / "exported").mkdir(parents=True)
    _write_source(job.source)
    try:
        with _nursery(job) as do:
            undisturbed = {kind: _undisturbed(kind, job, do) for kind in WORK}
            found = {kind: Killed() for kind in WORK}
            kinds = draw.permutation([list(WORK)[n % len(WORK)] for n in range(kills)])
            for n, kind in enumerate(kinds):
                _kill(str(kind), job, do, undisturbed[str(kind)], found[str(kind)], draw)
                if (n + 1) % 10 == 0:
                    say(f"{n + 1} of {kills} kills")
        left = _under_work(job)
        return {"work": found, "left": left, "freed": job.store.prune()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Undisturbed:
    result: Any
    seconds: float
    files: int


Do = Callable[..., tuple[bool, int]]
"""Does work in a process: `do(kind, seconds=None, at=0)`, killed after so many seconds or before it touches its file
number `at`. Returns whether it was killed, and how many files it touched.
"""


def _undisturbed(kind: str, job: Job, do: Do) -> _Undisturbed:
    """The second of two runs: the first also makes what the next kinds of work need."""
    do(kind)
    WORK[kind].undo(job)
    started = time.monotonic()
    _, files = do(kind)
    return _Undisturbed(WORK[kind].result(job), time.monotonic() - started, files)


def _kill(kind: str, job: Job, do: Do, undisturbed: _Undisturbed, found: Killed, draw: np.random.Generator) -> None:
    """Kill it once, go on with it to its end, and look at what came of it."""
    work, by_clock = WORK[kind], found.clock <= found.file
    while True:
        work.undo(job)
        if by_clock:
            killed, _ = do(kind, seconds=draw.uniform(0, LATE * undisturbed.seconds))
        else:
            killed, _ = do(kind, at=int(draw.integers(1, undisturbed.files + 1)))
        if killed:
            break
        found.late += 1
    found.clock, found.file = found.clock + by_clock, found.file + (not by_clock)
    do(kind)
    if work.result(job) != undisturbed.result:
        found.differences.append(f"kill {found.kills} of {kind}")
    found.left += _under_work(job)
    found.freed += job.store.prune()


def _under_work(job: Job) -> list[str]:
    return sorted(p.name for p in (job.store.root / "work").iterdir())


def _write_source(path: Path) -> None:
    from PIL import Image

    (path.parent / "images").mkdir(parents=True)
    draw = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption"))
        for n in range(ROWS):
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(path.parent / f"images/{n}.png")
            table.writerow((f"images/{n}.png", f"a photo of {hashlib.sha256(bytes([n])).hexdigest()[:8]}"))


@contextlib.contextmanager
def _nursery(job: Job) -> Iterator[Do]:
    """A process that has loaded what the work imports, and forks a process for each piece of work."""
    spawn = get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, job), daemon=True)
    process.start()
    there.close()

    def do(kind: str, seconds: float | None = None, at: int = 0) -> tuple[bool, int]:
        here.send((kind, seconds, at))
        code, files = here.recv()
        if code not in (0, -signal.SIGKILL):
            raise UbtError(f"expected the {kind} to end well, but it ended with {code}; its error stands above")
        return code != 0, files

    try:
        yield do
    except EOFError:
        raise UbtError("expected the process that forks the work to stay, but it ended; run it again") from None
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()


def _serve(pipe: Connection, job: Job) -> None:
    os.environ |= {"UBT_CHECKPOINT_SECONDS": "0", "UBT_RUNTIME": str(job.root / "runtime")}
    for module in LOADED:
        import_module(module)
    with contextlib.suppress(EOFError):
        while True:
            kind, seconds, at = pipe.recv()
            pipe.send(_forked(kind, job, seconds, at))


def _forked(kind: str, job: Job, seconds: float | None, at: int) -> tuple[int, int]:
    """How a process ended that did the work, negative where a signal ended it; and how many files it touched."""
    reading, writing = os.pipe()
    if not (process := os.fork()):
        os.setpgid(0, 0)
        os.close(reading)
        os._exit(_child(kind, job, at, writing))
    with contextlib.suppress(OSError):  # whoever of the two comes first
        os.setpgid(process, process)
    os.close(writing)
    end, status = time.monotonic() + (np.inf if seconds is None else seconds), 0
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() >= end:
            os.killpg(process, signal.SIGKILL)
            ended = os.waitpid(process, 0)
            break
        time.sleep(0.001)
    status = os.waitstatus_to_exitcode(ended[1])
    with os.fdopen(reading) as told:
        return status, int(told.read() or 0)


def _child(kind: str, job: Job, at: int, writing: int) -> int:
    touched, own = 0, str(job.root)

    def audit(event: str, args: tuple) -> None:
        nonlocal touched
        if event in FILE_EVENTS and args and str(args[0]).startswith(own):
            touched += 1
            if touched == at:
                os.killpg(0, signal.SIGKILL)

    sys.addaudithook(audit)
    try:
        WORK[kind].do(job)
        os.write(writing, str(touched).encode())
        return 0
    except BaseException:
        traceback.print_exc()
        return 1


def report(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row a kind of work and one of all: kills, by the clock, at a file, results that differ, names left under
    `work/`, bytes that `prune` then freed.
    """
    rows = [
        (kind, k.kills, k.clock, k.file, len(k.differences), len(k.left), k.freed) for kind, k in found["work"].items()
    ]
    rows.append(("all", *(sum(row[i] for row in rows) for i in range(1, 7))))
    return [(name, *(f"{n:,}" for n in counts)) for name, *counts in rows]
