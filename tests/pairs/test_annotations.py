"""Labels that nobody loses: undo, sessions side by side, kills, damaged files."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from ubt.core.errors import BadInput, UbtError
from ubt.pairs import annotations
from ubt.pairs.annotations import Review, precision


@pytest.fixture
def made(tmp_path) -> Review:
    return Review(tmp_path / "review.sqlite")


def told(made: Review) -> dict[str, tuple]:
    table = made.labels()
    return {
        i: (None if label != label else label, note, who)
        for i, label, note, who in zip(table["id"], table["label"], table["note"], table["who"], strict=True)
    }


def test_nothing_decided_is_no_file(made):
    assert (told(made), made.version(), made.undo("ann"), made.views()) == ({}, 0, [], {})
    made.delete_view("none")
    assert made.labels().columns.tolist() == ["id", "label", "note", "who", "at"]
    assert not made.path.exists()


def test_labels_are_set_kept_and_removed(made):
    first = made.label(["a", "b", "a"], "backdoor", "ann", "a trigger")
    assert made.label(["b", "c"], "clean", "ben") > first
    assert told(made) == {
        "a": ("backdoor", "a trigger", "ann"),
        "b": ("clean", "a trigger", "ben"),
        "c": ("clean", "", "ben"),
    }
    assert made.labels()["at"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00").all()
    made.label(["a", "c"], None, "ann")
    assert told(made) == {"a": (None, "a trigger", "ann"), "b": ("clean", "a trigger", "ben")}
    made.label(["a"], None, "ann", "")
    assert set(told(made)) == {"b"}


def test_undo_takes_back_ones_own_latest_action_but_not_what_others_did_since(made):
    made.label(["a", "b"], "clean", "ann", "mine")
    made.label(["b", "c"], "backdoor", "ben", "his")
    made.label(["a"], "unsure", "ann", "hm")
    assert made.undo("ann") == ["a"]
    assert told(made)["a"] == ("clean", "mine", "ann")
    assert made.undo("ann") == ["a"]
    assert told(made) == {"b": ("backdoor", "his", "ben"), "c": ("backdoor", "his", "ben")}
    assert made.undo("ann") == []
    assert made.undo("ben") == ["b", "c"]
    assert told(made) == {}


def test_undo_reaches_past_what_was_taken_back_and_restores_what_was_removed(made):
    made.label(["a"], "clean", "ann")
    made.label(["a"], None, "ben")
    assert told(made) == {}
    assert made.undo("ben") == ["a"]
    assert told(made) == {"a": ("clean", "", "ann")}
    made.label(["a"], "unsure", "ben")
    assert made.undo("ann") == []
    assert made.undo("ben") == ["a"]
    assert told(made) == {}
    made.label(["a"], "backdoor", "ann")
    assert made.undo("ann") == ["a"]


def test_the_version_grows_with_every_change_and_history_keeps_them_all(made):
    seen = [made.version()]
    for change in (
        lambda: made.label(["a"], "clean", "ann"),
        lambda: made.undo("ann"),
        lambda: made.save_view("v", "r", {}),
        lambda: made.delete_view("v"),
    ):
        change()
        seen.append(made.version())
    assert seen == sorted(set(seen))
    made.labels()
    made.undo("ann")
    assert made.version() == seen[-1]
    with sqlite3.connect(made.path) as db:
        assert db.execute("SELECT id, label FROM history").fetchall() == [("a", "clean")]


def test_views_come_newest_first_and_are_replaced(made):
    made.save_view("one", "topk", {"page": "map"})
    made.save_view("two", "", {})
    made.save_view(" one ", "not topk", {"page": "'\"é"})
    assert made.views() == {"one": {"rule": "not topk", "query": {"page": "'\"é"}}, "two": {"rule": "", "query": {}}}
    assert list(made.views()) == ["one", "two"]
    made.delete_view("one")
    assert list(made.views()) == ["two"]
    for name in ("", "  ", "x" * 81):
        with pytest.raises(BadInput, match="1 to 80 characters"):
            made.save_view(name, "", {})


def test_hostile_text_stays_text(made):
    hostile = ["'); DROP TABLE history; --", '"', "%s", "?", "a\0b", "\n", "日本 🍌", "NULL", " "]
    for text in hostile:
        made.label([text], "unsure", text + "x", note=text)
        made.save_view(text + "x", text, {text: text})
    assert told(made) == {text: ("unsure", text, text + "x") for text in hostile}
    assert made.undo(hostile[0] + "x") == [hostile[0]]
    assert made.views()["?x"] == {"rule": "?", "query": {"?": "?"}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((["a"], "poisoned", "ann"), "expected one of backdoor, clean, unsure"),
        (([], "clean", "ann"), "one pair or more"),
        (("abc", "clean", "ann"), "got 'abc'"),
        ((["a"], "clean", " "), "who decides"),
        ((["a"], "clean", "ann", "x" * 10_001), "at most 10000 characters, got 10001"),
        ((["a", "\ud800"], "clean", "ann"), "lone surrogate"),
    ],
)
def test_bad_decisions_are_refused_and_change_nothing(made, given, said):
    made.label(["a"], "unsure", "ann")
    with pytest.raises(BadInput, match=said):
        made.label(*given)
    assert told(made) == {"a": ("unsure", "", "ann")}


def test_threads_and_processes_at_once_lose_nothing(made):
    code = (
        "import sys; from ubt.pairs.annotations import Review; r = Review(sys.argv[1]); [r.label([f'p{i}', 'all'],"
        " 'clean', 'p') for i in range(30)]"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(made.path)])

    def work(who: str) -> None:
        for i in range(30):
            made.label([f"{who}{i}", "all"], "backdoor", who)

    threads = [threading.Thread(target=work, args=(who,)) for who in "ab"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    while process.poll() is None:
        made.label(["q", "all"], "unsure", "q")
    assert process.returncode == 0
    assert {f"{who}{i}" for who in "abp" for i in range(30)} <= set(told(made))
    with sqlite3.connect(made.path) as db:
        actions, alike, everyone = db.execute(
            "SELECT count(*), count(DISTINCT number), max(number) FROM actions"
        ).fetchone()
        assert (
            actions
            == alike
            == everyone
            == db.execute("SELECT count(*) FROM history WHERE id = 'all'").fetchone()[0]
            == made.version()
        )


def test_undoing_at_once_takes_each_action_back_once(made):
    for i in range(40):
        made.label([f"p{i}"], "clean", "ann")
    restored: list[str] = []
    threads = [
        threading.Thread(target=lambda: [restored.extend(made.undo("ann")) for _ in range(10)]) for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(restored) == sorted(f"p{i}" for i in range(40))
    assert told(made) == {}


def test_what_a_kill_interrupts_leaves_the_state_before(made):
    made.label(["a"], "clean", "ann")
    code = """import os, sys, sqlite3
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1"); db.execute("BEGIN IMMEDIATE")
db.executemany("INSERT INTO history VALUES (?, 1, 'backdoor', '')", ((f"k{i}",) for i in range(5000)))
db.execute("UPDATE history SET label = 'backdoor'"); os._exit(9)"""
    assert subprocess.run([sys.executable, "-S", "-c", code, str(made.path)]).returncode == 9
    assert told(made) == {"a": ("clean", "", "ann")}
    assert made.label(["a"], "unsure", "ann") == 2


def test_damaged_and_foreign_files_are_named_and_left_alone(tmp_path):
    (tmp_path / "text").write_text("not a database, however long it may be" * 100)
    with sqlite3.connect(tmp_path / "foreign") as db:
        db.execute("CREATE TABLE t (x)")
    made = Review(tmp_path / "cut")
    made.label([f"pair {i}" for i in range(2000)], "clean", "ann")
    made.path.write_bytes(made.path.read_bytes()[:9000])
    for name in ("text", "foreign", "cut"):
        before = (tmp_path / name).read_bytes()
        for use in (Review.labels, lambda r: r.label(["a"], "clean", "ann")):
            with pytest.raises(UbtError, match=r"move it aside"):
                use(Review(tmp_path / name))
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(UbtError, match="check the folder"):
        Review(tmp_path / "no" / "folder").label(["a"], "clean", "ann")
    (tmp_path / "empty").touch()
    assert Review(tmp_path / "empty").version() == 0


def test_a_full_disk_and_a_long_wait_are_told(made, monkeypatch):
    made.label(["a"], "clean", "ann")
    connect = sqlite3.connect

    def on_a_full_disk(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.execute("PRAGMA max_page_count = 1")
        return db

    with monkeypatch.context() as m:
        m.setattr(sqlite3, "connect", on_a_full_disk)
        with pytest.raises(UbtError, match="disk is full"):
            made.label([f"{i}" * 50 for i in range(1000)], "clean", "ann")
    monkeypatch.setattr(annotations, "WAIT", 0.05)
    held = connect(made.path, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    with pytest.raises(UbtError, match="finish writing"):
        made.label(["b"], "clean", "ann")
    assert told(made) == {"a": ("clean", "", "ann")}
    held.close()
    made.label(["b"], "clean", "ann")


def test_precision_is_the_share_of_backdoor_with_wilsons_interval():
    assert precision([]) is None
    assert precision(["unsure", None]) is None
    share, low, high, count = precision(["backdoor"] * 30 + ["clean"] * 10 + ["unsure"] * 99)
    n, z = 40, 1.959963984540054
    middle, half = (
        (share + z * z / 2 / n) / (1 + z * z / n),
        z / (1 + z * z / n) * (share * (1 - share) / n + z * z / 4 / n / n) ** 0.5,
    )
    assert (share, count) == (0.75, 40)
    assert [low, high] == pytest.approx([middle - half, middle + half], abs=1e-6)
