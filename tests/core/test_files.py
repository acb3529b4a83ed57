"""Files are written in one step, and what a kill leaves of them goes with the next."""

import os
import time

import pytest

from ubt.core import files

DEAD = 2**22 + 1


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path):
    path = tmp_path / "pairs.zip"
    mine, others = tmp_path / f".pairs.zip.{DEAD}.tmp", tmp_path / f".pairs.zip.old.{DEAD}.tmp"
    living = tmp_path / f".pairs.zip.{os.getppid()}.tmp"
    for left in (mine, others, living):
        left.write_text("half")
    files.replace_file(path, lambda part: part.write_text("whole"))
    assert path.read_text() == "whole"
    assert not mine.exists() and others.exists() and living.exists()


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("before")

    def write(part):
        part.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        files.replace_file(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"] and path.read_text() == "before"


def test_a_process_of_the_same_number_that_lived_before_has_ended(tmp_path):
    """As in a container that is started anew."""
    part = files.temporary(tmp_path / "x")
    part.write_text("half")
    assert list(files.abandoned(tmp_path)) == []
    os.utime(part, (1, 1))
    assert list(files.abandoned(tmp_path)) == [part]


def test_scrap_counts_what_it_deletes_and_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("kept")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(bytes(10))
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    size = (tmp_path / "a" / "link").lstat().st_size
    assert files.scrap(tmp_path / "a") == 10 + size
    assert (tmp_path / "elsewhere" / "kept").exists() and not (tmp_path / "a").exists()
    assert files.scrap(tmp_path / "a") == 0


def test_what_a_process_elsewhere_writes_is_left_for_a_day(tmp_path):
    ours = files.temporary(tmp_path / "a")
    theirs = ours.with_name(f".a.{DEAD}@00000000.tmp")
    dead = ours.with_name(ours.name.replace(f".{os.getpid()}@", f".{DEAD}@"))
    for path in (ours, theirs, dead):
        path.touch()
    assert [*files.abandoned(tmp_path)] == [dead]
    os.utime(theirs, (time.time() - 90_000,) * 2)
    assert {*files.abandoned(tmp_path, "a")} == {dead, theirs}


def filled(folder, content):
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{content}.txt").write_text(content)
    return folder


def held(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_folders_are_replaced_by_copies_and_nothing_else_is(tmp_path):
    source, folder = filled(tmp_path / "new", "new"), filled(tmp_path / "old", "old")
    (folder / "c.txt").write_text("mine")
    (folder / f".a.{DEAD}.tmp").mkdir()
    files.replace_folders(source, folder, ("a", "b"))
    assert held(folder) == {"a/new.txt", "b/new.txt", "c.txt"}
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b", "c.txt"]
    assert held(source) == {"a/new.txt", "b/new.txt"}
    (empty := tmp_path / "empty").mkdir()
    files.replace_folders(source, empty, ("a",))
    assert held(empty) == {"a/new.txt"}


def test_folders_stay_where_one_cannot_be_copied(tmp_path):
    source, folder = filled(tmp_path / "new", "new"), filled(tmp_path / "old", "old")
    files.scrap(source / "b")
    with pytest.raises(OSError):
        files.replace_folders(source, folder, ("a", "b"))
    assert held(folder) == {"a/old.txt", "b/old.txt"}
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]
