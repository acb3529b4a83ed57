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
