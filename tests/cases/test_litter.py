"""What ended processes leave in a cache goes, and nothing that a living one uses."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tiny import CPU, fingerprints, tiny

from ubt.cases import events
from ubt.cases.artifact import DamagedArtefact
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.store import FOLDERS, Store
from ubt.core import locks
from ubt.core.errors import Cancelled, UbtError
from ubt.core.files import scrap

DEAD = 2**22 + 1
"""A process that there is not: Linux counts up to 2**22."""


def written(path: Path, content: bytes = b"x" * 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def under_work(store: Store) -> list[str]:
    return sorted(p.name for p in (store.root / "work").iterdir())


@contextlib.contextmanager
def another_process(code: str, *arguments: object):
    """One that has run some lines, said so, and stays until it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}\nprint(flush=True)\nsys.stdin.read()", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.communicate()


HOLDER = """
from ubt.core import locks
held = locks.hold(__import__("pathlib").Path(sys.argv[1]))
held.__enter__()
"""


def test_a_finished_cases_work_is_empty_and_nothing_is_pruned(full, tiny_case):
    Pipeline(full, CPU).run(tiny())
    assert under_work(full) == []
    assert full.prune() == 0


def test_what_a_kill_left_of_a_finished_step_goes_when_the_step_is_found(full, tiny_case):
    made = fingerprints(tiny_case)
    for stage in ("poison", "select"):
        key = tiny_case.artefacts[stage].path.name
        for name in (f"{key}/checkpoint.safetensors", f"{key}.lock", f"{key}.owner"):
            written(full.root / "work" / name)
    written(full.root / "cases" / tiny_case.name / f".case.json.{DEAD}.tmp")
    assert fingerprints(Pipeline(full, CPU).run(tiny())) == made
    assert under_work(full) == []
    assert full.prune() == 0


def test_prune_frees_what_ended_processes_left_and_says_how_much(full, tiny_case):
    kept = sorted(p for name in ("artefacts", "checked") for p in (full.root / name).rglob("*"))
    finished = tiny_case.artefacts["poison"].path.name
    root, own = full.root, full.root / "cases" / tiny_case.name
    left = [
        root / "work" / finished / "checkpoint.safetensors",
        root / "work" / "view-0" / "events.jsonl",
        root / "work" / "damaged-view-1-5" / "manifest.json",
        root / "work" / f".view-2-7.{DEAD}.tmp" / "deep" / "x.npy",
        root / "work" / f".probe.{DEAD}.tmp",
        root / "work" / "split-0.checked",
        *(root / "work" / f"{tiny_case.name}{suffix}" for suffix in (".lock", ".owner", ".cancel", ".log")),
        root / "work" / "alone.owner",
        root / "artefacts" / "split-0" / "split.parquet",
        root / "checked" / "split-0.json",
        root / "checked" / f".{finished}.json.{DEAD}.tmp",
        root / "sets" / f".cifar10.zip.{DEAD}.tmp",
        own / f".case.json.{DEAD}.tmp",
        own / f".review.sqlite.{DEAD}.tmp",
        root / "cases" / "never" / "events.jsonl",
    ]
    for path in left:
        written(path)
    assert full.prune() == 100 * len(left)
    assert [path for path in left if path.exists()] == []
    assert under_work(full) == []
    assert sorted(p for name in ("artefacts", "checked") for p in (root / name).rglob("*")) == kept
    assert full.prune() == 0


def test_what_analysts_decided_stays_though_the_case_is_gone(full, tiny_case):
    labels = written(full.root / "cases" / "gone" / "review.sqlite")
    damaged = written(full.root / "cases" / tiny_case.name / "review-damaged-1.sqlite")
    journal = written(full.root / "cases" / tiny_case.name / "review.sqlite-journal")
    full.prune()
    assert labels.exists() and damaged.exists() and journal.exists()


def test_what_a_living_process_holds_stays(full, tiny_case):
    work, finished = full.root / "work", tiny_case.artefacts["poison"].path.name
    with another_process(HOLDER, work / f"{finished}.lock"), another_process(HOLDER, work / "running.lock") as other:
        held = [
            written(work / finished / "checkpoint.safetensors"),
            written(work / "running.cancel"),
            written(work / "running.log"),
            written(work / f".big.{other.pid}.tmp"),
            written(full.root / "cases" / "running" / f".case.json.{other.pid}.tmp"),
            written(full.root / "checked" / f".{finished}.json.{os.getpid()}.tmp"),
        ]
        assert full.prune() == 0
        full.tidy(finished)
        assert [path for path in held if not path.exists()] == []
        assert full.held(finished) and full.held("running")
    assert full.prune() == 500
    assert under_work(full) == []


def test_the_log_of_a_job_that_is_about_to_begin_stays(full):
    log = full.root / "work" / "soon.log"
    with log.open("wb") as out:
        locks.shared(out)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=out)
    try:
        full.prune()
        assert log.exists()
    finally:
        child.communicate(b"\n")
    full.prune()
    assert not log.exists()


def test_a_case_that_begins_while_others_are_pruned_keeps_what_it_uses(full, tiny_case, monkeypatch):
    """It names its artefacts before it takes any."""
    record = full.record(tiny_case.name)
    folder = full.root / "cases" / tiny_case.name
    scrap(folder / "case.json")
    unheld, begun = Store.lock, threading.Event()

    def lock(self, name, wait=-1):
        if not begun.is_set():
            begun.set()
            full.save_case(tiny_case.name, record)
        return unheld(self, name, wait)

    monkeypatch.setattr(Store, "lock", lock)
    full.prune()
    lost = [stage for stage, key in record.artefacts.items() if not (full.root / "artefacts" / key).is_dir()]
    assert len(lost) <= 1


def test_an_interrupted_step_keeps_its_checkpoint_and_nothing_else(tmp_path):
    store = Store(tmp_path)

    def soon(event: events.Event) -> bool:
        return (event.stage, event.done) == ("poison", 5)

    last: list[events.Event] = [events.Event("run")]
    with pytest.raises(Cancelled):
        Pipeline(store, CPU, watch=lambda e: last.append(e), cancelled=lambda: soon(last[-1])).run(tiny())
    (scratch,) = (p for p in (tmp_path / "work").iterdir() if p.is_dir())
    for name in (f".text.npy.{DEAD}.tmp", f".result.{DEAD}.tmp/model/x", f".checkpoint.safetensors.{DEAD}.tmp"):
        written(scratch / name)
    assert store.prune() == 300
    assert {p.name for p in scratch.iterdir()} <= {"checkpoint.safetensors", "observed.json"}
    written(scratch / f".text.npy.{DEAD}.tmp")
    store.scratch(scratch.name)
    assert {p.name for p in scratch.iterdir()} <= {"checkpoint.safetensors", "observed.json"}


def test_a_half_deleted_case_or_artefact_is_never_seen(full, tiny_case, monkeypatch):
    """A kill while something is deleted: whoever looks finds all of it or nothing."""
    monkeypatch.setattr("ubt.cases.store.scrap", lambda path: 1 / 0)
    for path in (full.root / "cases" / tiny_case.name, tiny_case.artefacts["poison"].path):
        with pytest.raises(ZeroDivisionError):
            full.drop(full.root / path.parent.name / path.name)
    monkeypatch.undo()
    assert full.names() == []
    assert full.open(tiny_case.artefacts["poison"].path.name) is None
    (full.root / "work").joinpath(next(n for n in under_work(full))).stat()
    shutil.rmtree(full.root / "artefacts")
    (full.root / "artefacts").mkdir()
    for name in under_work(full):
        (full.root / "work" / name).rename(full.root / "work" / name.replace(str(os.getpid()), str(DEAD)))
    assert full.prune() > 0
    assert under_work(full) == []


def deletes(root: Path, at: str):
    """A watcher that deletes the cache when a stage begins."""

    def watch(event: events.Event) -> None:
        if (event.kind, event.stage) == ("starts", at):
            shutil.rmtree(root)

    return watch


@pytest.mark.parametrize("stage", ["attack", "data", "poison"])
def test_a_cache_that_is_deleted_during_a_run_is_said_and_nothing_of_it_stays(tmp_path, stage, monkeypatch):
    monkeypatch.setenv("UBT_CHECKPOINT_SECONDS", "0")
    root = tmp_path / "cache"
    with pytest.raises(UbtError, match="deleted meanwhile; run again to begin anew"):
        Pipeline(Store(root), CPU, watch=deletes(root, stage)).run(tiny(), upto("poison"))
    assert not root.exists()


def test_a_cache_that_is_half_deleted_during_a_run_is_cleared(tmp_path):
    """Whoever deletes it and whoever writes into it may cross."""
    root = tmp_path / "cache"

    def watch(event: events.Event) -> None:
        if (event.kind, event.stage) == ("starts", "data"):
            for name in set(FOLDERS) - {"work"}:
                shutil.rmtree(root / name)

    with pytest.raises(UbtError, match="deleted meanwhile"):
        Pipeline(Store(root), CPU, watch=watch).run(tiny(), upto("data"))
    assert not root.exists()


def test_nobody_waits_for_a_lock_in_a_deleted_cache(tmp_path):
    store = Store(tmp_path / "cache")
    shutil.rmtree(store.root)
    with pytest.raises(UbtError, match="deleted meanwhile"):
        Pipeline(store, CPU).run(tiny())
    assert not store.root.exists()


@pytest.mark.parametrize("number", ["EMFILE", "ENOMEM"])
def test_what_cannot_be_read_for_want_of_files_or_memory_is_not_taken_for_damaged(full, tiny_case, monkeypatch, number):
    import errno

    key = tiny_case.artefacts["poison"].path.name

    def refused(self, *_, **__):
        raise OSError(getattr(errno, number), "no more")

    monkeypatch.setattr("pathlib.Path.read_text", refused)
    with pytest.raises(OSError) as raised:
        full.find(key)
    assert not isinstance(raised.value, DamagedArtefact)
    monkeypatch.undo()
    assert full.find(key) is not None


def test_what_is_decided_while_prune_looks_is_kept(full, monkeypatch):
    """A label on a built-in case, whose folder has nothing else, is written at any moment."""
    folder = full.root / "cases" / "built-in"
    (folder / "old").mkdir(parents=True)
    rename = Path.rename

    def labelled_just_before(self, to):
        if self == folder:
            (folder / "review.sqlite").write_text("a decision")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", labelled_just_before)
    full.prune()
    assert (folder / "review.sqlite").read_text() == "a decision"


def test_a_deleted_case_takes_nothing_of_what_others_are_told(full, tiny_case):
    log, told = full.root / "work" / "other.log", full.root / "work" / "import-1" / "events.jsonl"
    told.parent.mkdir()
    for path in (log, told):
        path.write_text("what happened")
    full.delete(tiny_case.name)
    assert log.exists() and told.exists()
    full.prune()
    assert not log.exists() and not told.exists()


def test_the_checkpoint_of_a_reference_stays_for_days_though_a_case_is_deleted(full, tiny_case):
    recent, old, other = (full.root / "work" / name for name in ("reference-1", "reference-2", "unknown-1"))
    for folder in (recent, old, other):
        written(folder / "checkpoint.safetensors")
        written(folder / f".checkpoint.safetensors.{DEAD}.tmp")
    os.utime(old, (0, 0))
    full.delete(tiny_case.name)
    assert [p.name for p in recent.iterdir()] == ["checkpoint.safetensors"]
    assert not old.exists() and not other.exists()
