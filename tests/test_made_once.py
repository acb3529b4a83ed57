"""What tests share is made once, by one of them, and never stale."""

import importlib.metadata
import os
import threading
import time

import made_once as kept
import pytest


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes a file, slowly, and counts how often."""
    monkeypatch.setattr(kept, "KEPT", tmp_path / "kept")
    made = []

    def slowly(folder) -> None:
        made.append(folder)
        time.sleep(0.1)
        (folder / "cache").mkdir()
        (folder / "cache" / "file").write_text(str(len(made)))

    slowly.made = made
    return slowly


def test_whoever_comes_first_makes_it_and_everybody_gets_a_copy(make, tmp_path):
    copies = [tmp_path / str(i) for i in range(3)]
    threads = [threading.Thread(target=kept.made_once, args=("x", make, c), kwargs={"part": "cache"}) for c in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(make.made) == 1
    (copies[0] / "file").write_text("changed")
    assert [(c / "file").read_text() for c in copies] == ["changed", "1", "1"]
    assert (kept.made_once("x", make, tmp_path / "later") / "cache" / "file").read_text() == "1"
    assert len(make.made) == 1


def test_other_code_and_what_was_left_half_made_make_it_anew(make, tmp_path, monkeypatch):
    def stops(folder) -> None:
        make(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.made_once("x", stops, tmp_path / "0")
    kept.made_once("x", make, tmp_path / "1")
    old = make.made[-1]
    monkeypatch.setattr(kept, "NOW", "another")
    kept.made_once("x", make, tmp_path / "2")
    kept.made_once("x", make, tmp_path / "3")
    assert len(make.made) == 4, "code that is not today's keeps nothing"
    monkeypatch.undo()
    assert old.exists()


def test_a_folder_that_a_package_adds_to_the_path_makes_nothing_anew(tmp_path, monkeypatch):
    (tmp_path / "x-1.dist-info").mkdir()
    (tmp_path / "x-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("x") == "1"
    assert kept.made_from() == kept.NOW


def test_what_nobody_used_for_a_day_goes(make, tmp_path, monkeypatch):
    first = kept.made_once("x", make, tmp_path / "1")
    monkeypatch.setattr(kept, "NOW", "another")
    monkeypatch.setattr(kept, "made_from", lambda: "another")
    second = kept.made_once("x", make, tmp_path / "2")
    assert first.exists()
    os.utime(first / kept.MADE, (0, 0))
    monkeypatch.setattr(kept, "NOW", "third")
    monkeypatch.setattr(kept, "made_from", lambda: "third")
    kept.made_once("x", make, tmp_path / "3")
    assert not first.exists()
    assert second.exists()


def test_a_setting_that_changes_the_last_digits_is_part_of_the_name(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert kept.made_from() != kept.NOW
