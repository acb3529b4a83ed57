"""A case that is answered from the cache is what was written, or is made again; `cases check` reads every byte."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from tiny import CPU, finished, tiny

from ubt.cases.artifact import MANIFEST, Artefact, DamagedArtefact
from ubt.cases.pipeline import Pipeline, standing
from ubt.cases.store import Store
from ubt.cli.main import main
from ubt.core.errors import UbtError
from ubt.reports.case_report.contents import report
from ubt.workflows import check


@pytest.fixture
def store(tiny_store, tmp_path) -> Store:
    shutil.copytree(tiny_store.root, tmp_path / "cache")
    return Store(tmp_path / "cache")


@pytest.fixture
def path_of(store):
    record = store.record(tiny().name(CPU))
    return lambda stage: store.root / "artefacts" / record.artefacts[stage]


def flip(path, at: int, keep_time: bool = False) -> None:
    """Change one byte of a file, neither its size nor, if asked for, its time."""
    told, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns if keep_time else told.st_mtime_ns + 10**9))


def files(folder) -> list:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def made_again(store) -> list[str]:
    done = []
    Pipeline(store, CPU, watch=lambda e: done.append(e.stage) if e.kind == "done" else None).run(tiny())
    return done


def test_a_byte_anywhere_in_a_result_is_noticed_by_the_next_run(store, path_of, tiny_case, caplog):
    """Of every stage of some, one byte somewhere, the manifest's too."""
    rng, stages = np.random.default_rng(0), ("judge", "verdict", "diagnose", "evaluate_clean")
    for stage, kind in zip(stages, ("entry", "manifest", "entry", "manifest"), strict=True):
        there = [f for f in files(path_of(stage)) if (f.name == MANIFEST) == (kind == "manifest")]
        one = there[rng.integers(len(there))]
        flip(one, int(rng.integers(one.stat().st_size)))
    assert set(made_again(store)) == set(stages)
    assert caplog.text.count("made again") == len(stages)
    assert made_again(store) == []
    for stage in stages:
        assert store.whole(path_of(stage).name) is not None


def test_every_byte_is_read_once_and_then_not_while_nothing_changes(store, path_of, monkeypatch):
    read = []
    real = Artefact.verify
    monkeypatch.setattr(Artefact, "verify", lambda self: read.append(self.path.name) or real(self))
    for stamp in (store.root / "checked").iterdir():
        stamp.unlink()
    names = {path_of(s).name for s in standing(store, tiny(), CPU)[1].artefacts}
    assert made_again(store) == []
    assert set(read) <= names
    assert {path_of("judge").name, path_of("data").name} <= set(read)
    read.clear()
    assert made_again(store) == []
    assert read == []
    os.utime(files(path_of("judge"))[0])
    assert made_again(store) == []
    assert read == [path_of("judge").name]


@pytest.mark.parametrize("stamp", [b"", b"{", b"[]", b"\xff", b'{"files": {}}', b'{"manifest": 3}'])
def test_a_damaged_stamp_costs_a_reading_at_most(store, path_of, stamp):
    store.checked(path_of("verdict").name).write_bytes(stamp)
    assert store.find(path_of("verdict").name, whole=True) is not None or b"manifest" in stamp
    assert set(made_again(store)) <= {"verdict"}


def test_what_was_just_written_is_remembered_as_whole(store, monkeypatch):
    store.write("index-0123456789abcdef", {"a": [1], "b": np.arange(3)}, {"seconds": 0.0})
    monkeypatch.setattr(Artefact, "verify", lambda self: pytest.fail("its bytes were read again"))
    assert store.whole("index-0123456789abcdef")["a"] == [1]


def test_a_kind_that_is_none_is_damage(store, path_of):
    file = path_of("verdict") / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["entries"]["verdict"] = "jsom"
    file.write_text(json.dumps(manifest))
    with pytest.raises(DamagedArtefact, match="got 'jsom'; python -m ubt cases check --mend"):
        store.open(path_of("verdict").name)["verdict"]


def test_a_stage_that_is_damaged_is_not_done_where_that_is_asked(store, path_of):
    for until in (None, "verdict"):
        assert standing(store, tiny(), CPU, until=until, whole=True)[0] == "done"
    flip(files(path_of("verdict"))[-1], 3)
    for until in (None, "verdict"):
        assert standing(store, tiny(), CPU, until=until, whole=True)[0] != "done"
        assert standing(store, tiny(), CPU, until=until)[0] == "done"


@pytest.fixture
def told(store, monkeypatch, capsys):
    def run(code: int, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ubt", *arguments, "--cache", str(store.root)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
        return " ".join("".join(capsys.readouterr()).split())

    return run


def test_check_reads_every_byte_and_mends(store, path_of, told):
    """A flip that keeps the file's time escapes the runs; not the check."""
    name = tiny().name(CPU)
    assert "0 damaged" in told(0, "cases", "check", name)
    for stage, kind in (("judge", -1), ("verdict", -1), ("diagnose", 0)):
        flip(files(path_of(stage))[kind], -3, keep_time=True)
    (path_of("evaluate_clean") / MANIFEST).unlink()
    shutil.rmtree(path_of("evaluate_poisoned"))
    said = told(1, "cases", "check")
    assert "5 damaged" in said
    assert said.count(f"of {name}") == 5
    assert "cases check --mend" in said
    assert "all of it is set aside and made again" in told(0, "cases", "check", name, "--mend")
    assert "0 damaged" in told(0, "cases", "check")
    assert store.case(name).state == "done"
    finished(store, name)


def test_the_report_says_what_to_do(store, path_of, told, tmp_path):
    name, out = tiny().name(CPU), str(tmp_path / "r.html")
    flip(next(f for f in files(path_of("verdict")) if f.name != MANIFEST), 3)
    assert "python -m ubt cases check --mend sets it aside" in told(1, "report", name, "--out", out)
    shutil.rmtree(path_of("verdict"))
    warned = report(store, name).sections[0]
    assert warned.title == "Damaged"
    assert f"python -m ubt cases check {name} --mend" in warned.blocks[0].text
    assert "made again" in told(0, "cases", "check", name, "--mend")
    assert "written to" in told(0, "report", name, "--out", out)


def test_what_was_imported_is_checked_and_named_with_its_command(tmp_path):
    store = Store(tmp_path / "cache")
    keys = [f"{kind}-{'0' * 16}" for kind in ("pairs", "labelled", "model")]
    for key in keys:
        entries = {"card": {"source": "a b.pt"}} if key.startswith("model") else {"about": {"path": "a b.csv"}}
        store.write(key, entries | {"rows": np.arange(9)}, {"brought": True})
        flip(store.root / "artefacts" / key / "rows.npy", -1)
    settings = tiny(own__pairs=keys[0], own__test=keys[1], own__reference=keys[2])
    with pytest.raises(DamagedArtefact, match=r"import it again .python -m ubt data, python -m ubt models."):
        Pipeline(store, CPU).run(settings)
    found, _ = check.look(store)
    assert [d.key for d in found] == sorted(keys)
    left = check.mend(store, found)
    assert left[keys[0]] == "import it again: python -m ubt data pairs 'a b.csv'"
    assert left[keys[2]] == "import it again: python -m ubt models import 'a b.pt'"
    assert not any((store.root / "artefacts").iterdir())


def test_a_result_that_is_being_made_is_left_alone(store, path_of):
    flip(files(path_of("judge"))[-1], 3)
    found, _ = check.look(store)
    with store.lock(path_of("judge").name), pytest.raises(UbtError, match="being run by"):
        check.mend(store, found)
    assert path_of("judge").is_dir()
