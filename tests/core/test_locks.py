"""Locks of processes against each other."""

import os
import stat

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


def test_the_runtime_folder_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("UBT_RUNTIME")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nosuch"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = locks.runtime()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert locks.runtime() == folder
    (tmp_path / "session").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    assert locks.runtime() == tmp_path / "session" / "ubt"


@pytest.mark.parametrize("found", ["link", "file", "another user's"])
def test_a_runtime_folder_that_is_not_the_users_is_refused(tmp_path, monkeypatch, found):
    """In the folder of temporary files anybody can have made it before."""
    monkeypatch.delenv("UBT_RUNTIME")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if found == "another user's":
        uid = os.getuid()
        locks.runtime().rename(tmp_path / f"ubt-{uid + 1}")
        monkeypatch.setattr("os.getuid", lambda: uid + 1)
    elif found == "file":
        (tmp_path / f"ubt-{os.getuid()}").write_text("")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / f"ubt-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="set UBT_RUNTIME to one"):
        locks.runtime()


def test_a_device_has_a_turn_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    cpu, first = locks.turn("cpu"), locks.turn("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "../1")
    assert locks.turn("cpu") == cpu
    assert len({cpu, first, locks.turn("cuda")}) == 3
    assert locks.turn("cuda").parent == cpu.parent
