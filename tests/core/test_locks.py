"""Locks of processes against each other."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ubt.core import locks
from ubt.core.errors import BadInput, UbtError


def test_one_holds_it_and_the_other_is_told_who(tmp_path):
    path = tmp_path / "x.lock"
    with locks.hold(path):
        assert locks.is_held(path)
        with pytest.raises(UbtError, match=f"process {os.getpid()}, since "), locks.hold(path, wait=0):
            pass
    assert not locks.is_held(path)
    path.with_suffix(".owner").write_text("\x1b[31mnobody" * 100)
    with locks.hold(path), pytest.raises(UbtError) as told:
        path.with_suffix(".owner").write_text("\x1b[31mnobody" * 100)
        with locks.hold(path, wait=0):
            pass
    assert "\x1b" not in str(told.value) and len(str(told.value)) < 1000


def test_a_lock_leaves_nothing_and_a_look_makes_nothing(tmp_path):
    path = tmp_path / "x.lock"
    assert not locks.is_held(path)
    with locks.hold(path):
        assert locks.is_held(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("of a killed process")
    assert not locks.is_held(path)
    assert list(tmp_path.iterdir()) == []


def test_many_take_turns_though_each_deletes_the_lock(tmp_path):
    """Nobody holds a file that has lost its name."""
    counter, path = tmp_path / "n", tmp_path / "x.lock"
    counter.write_text("0")
    code = (
        "import sys; from pathlib import Path; from ubt.core import locks; locks.PAUSE = 0.0005\n"
        "for _ in range(150):\n"
        "    with locks.hold(Path(sys.argv[1])):\n"
        "        n = int(Path(sys.argv[2]).read_text()); Path(sys.argv[2]).write_text(str(n + 1))\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(path), str(counter)]) for _ in range(3)]
    assert [p.wait() for p in others] == [0, 0, 0]
    assert counter.read_text() == "450"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n"]


def test_a_lock_in_a_folder_that_was_made_anew_is_anothers(tmp_path):
    path = tmp_path / "work" / "x.lock"
    path.parent.mkdir()
    with locks.hold(path):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        with locks.hold(path, wait=0):
            theirs = path.stat().st_ino
            assert locks.is_held(path)
            assert path.stat().st_ino == theirs
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_that_stays_holds_nothing(tmp_path):
    path = tmp_path / "x.lock"
    reading, writing = os.pipe()
    with locks.hold(path):
        if not (child := os.fork()):
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    assert not locks.is_held(path)
    with locks.hold(path, wait=0):
        pass
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)


def test_where_the_system_cannot_lock_files_filelock_does(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_flocks", lambda folder: False)
    path = tmp_path / "x.lock"
    with locks.hold(path):
        assert locks.is_held(path)
    assert not locks.is_held(path)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Another folder in place of /tmp, and no choice of the user's."""
    monkeypatch.delenv("UBT_RUNTIME")
    monkeypatch.setattr(locks, "SHARED", tmp_path)
    return tmp_path


def test_the_runtime_folder_is_the_users_alone_and_one_for_all_of_their_processes(shared, monkeypatch):
    folder = locks.runtime()
    assert folder.parent == shared
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setenv("TMPDIR", "/nosuch")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nosuch")
    assert locks.runtime() == folder
    monkeypatch.setenv("UBT_RUNTIME", str(shared / "a" / "b"))
    assert locks.runtime() == shared / "a" / "b"


@pytest.mark.parametrize("found", ["link", "file", "another user's"])
def test_a_runtime_folder_that_is_not_the_users_is_refused(shared, monkeypatch, found):
    """In the folder of temporary files anybody can have made it before."""
    uid = os.getuid()
    if found == "another user's":
        locks.runtime().rename(shared / f"ubt-{uid + 1}")
        monkeypatch.setattr("os.getuid", lambda: uid + 1)
    elif found == "file":
        (shared / f"ubt-{uid}").write_text("")
    else:
        (shared / "elsewhere").mkdir()
        (shared / f"ubt-{uid}").symlink_to(shared / "elsewhere")
    with pytest.raises(BadInput, match="set UBT_RUNTIME to one"):
        locks.runtime()


def test_each_device_has_a_turn_of_its_own(monkeypatch):
    def of(visible: str | None):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return locks.turn("cuda")

    cpu = locks.turn("cpu")
    assert of(None) == of("") == of("0") == of("0,1") == of(" 0 ,1")
    assert len({cpu, of("0"), of("1"), of("1,0"), of("GPU-8e")}) == 4
    assert of("../x").parent == cpu.parent


def test_a_lock_is_free_however_its_release_is_interrupted(tmp_path, monkeypatch):
    def interrupted(self, missing_ok=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), locks.hold(tmp_path / "a.lock"):
        patched.setattr(Path, "unlink", interrupted)
    with locks.hold(tmp_path / "a.lock", wait=0):
        pass
