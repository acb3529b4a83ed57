"""The file of decisions: what is rolled back, and what its head says that its lines do not."""

import errno
import sqlite3
from contextlib import closing

import pytest

from ubt.core.errors import BadInput, UbtError
from ubt.pairs.annotations import Review
from ubt.pairs.decision_log import Log, LogFile
from ubt.pairs.events import Event


@pytest.fixture
def made(tmp_path) -> Review:
    """A review of three decisions."""
    review = Review(tmp_path / "review.sqlite")
    for i in range(3):
        review.label([f"p{i}"], "clean", "ann", f"note {i}")
    return review


def ids(made: Review) -> set[str]:
    return set(made.labels()["id"])


def test_what_is_rolled_back_is_forgotten(made):
    def work(log: Log) -> None:
        log.events()
        log.append(Event(0, "label", "ann", pairs=("b",), label="clean"))
        raise BadInput("changed its mind")

    for _ in range(2):
        with pytest.raises(BadInput, match="changed its mind"):
            LogFile(made.path).write(work)
        assert ids(made) == {"p0", "p1", "p2"}
    assert list(made.path.parent.iterdir()) == [made.path]


def test_a_damaged_file_that_cannot_be_copied_leaves_no_empty_one(made, monkeypatch):
    made.path.write_bytes(made.path.read_bytes().replace(b'"note 1"', b'"note 7"'))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("shutil.copy2", full)
        with pytest.raises(UbtError, match="disk is full"):
            made.labels()
    assert list(made.path.parent.iterdir()) == [made.path]


@pytest.mark.parametrize("bit", [0, 2, 20, 30, 31])
def test_a_flipped_bit_of_the_last_number_loses_no_decision(made, bit):
    content = bytearray(made.path.read_bytes())
    content[63 - bit // 8] ^= 1 << bit % 8  # where SQLite has user_version
    made.path.write_bytes(content)
    assert made.version() != 3
    number = made.label(["q"], "clean", "ann")
    assert ids(made) == {"p0", "p1", "p2", "q"}
    assert LogFile(made.path).events()[-1].number == number < 100
    assert len(made.notices()) == 1


@pytest.mark.parametrize("number", [1 << 30, (1 << 31) - 1, 1 << 62])
def test_a_file_that_lacks_more_numbers_than_anybody_lost_is_refused_and_left_alone(made, number):
    with closing(sqlite3.connect(made.path)) as db, db:
        line = Event(number, "label", "ann", "now", ("b",), "clean").line()
        db.execute("INSERT INTO log VALUES (?, ?)", (number, line))
        db.execute(f"PRAGMA user_version = {number}")
    content = made.path.read_bytes()
    with pytest.raises(UbtError, match="move it aside"):
        made.labels()
    assert made.path.read_bytes() == content
    assert list(made.path.parent.iterdir()) == [made.path]
