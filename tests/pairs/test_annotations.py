"""Labels that nobody loses: undo, sessions side by side, kills, damaged files."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ubt.core.errors import BadInput, UbtError
from ubt.pairs import decision_log, earlier_decisions
from ubt.pairs.annotations import Review, Sent, precision
from ubt.pairs.decision_log import LogFile
from ubt.pairs.events import LABELS, Event, NoEvent


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
    assert [(e.do, e.pairs, e.label) for e in LogFile(made.path).events()][:2] == [
        ("label", ("a",), "clean"),
        ("undo", (), None),
    ]


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
    events = LogFile(made.path).events()
    assert [e.number for e in events] == list(range(1, made.version() + 1))
    assert all("all" in e.pairs for e in events)


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
db.executemany("INSERT INTO log VALUES (?, 'half a line')", ((i,) for i in range(2, 5000)))
db.execute("UPDATE log SET line = 'none'"); os._exit(9)"""
    assert subprocess.run([sys.executable, "-S", "-c", code, str(made.path)]).returncode == 9
    assert told(made) == {"a": ("clean", "", "ann")}
    assert made.label(["a"], "unsure", "ann") == 2


@pytest.fixture
def small(made) -> Review:
    """A review of a few decisions, notes, an undone action and a saved view."""
    for i in range(6):
        made.label([f"p{i}", "all"], LABELS[i % 3], "ann", f"note {i}" if i % 2 else None)
    made.undo("ann")
    made.label(["p1"], None, "ben")
    made.save_view("v", "topk", {"page": "map"})
    return made


def test_a_flipped_bit_gives_the_right_labels_or_is_named_and_what_can_be_read_is_saved(small):
    right, views, content = told(small), small.views(), small.path.read_bytes()
    written = [i for i, byte in enumerate(content) if byte]
    drawn = np.random.default_rng(0)
    places = [*drawn.choice(100, 20, replace=False), *drawn.choice(written, 60, replace=False)]
    named = kept = 0
    for place in map(int, places):
        for path in small.path.parent.iterdir():
            path.unlink()
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(drawn.integers(8))
        small.path.write_bytes(flipped)
        try:
            found = told(small)
        except UbtError as e:
            (aside,) = small.path.parent.glob("review-damaged-*.sqlite")
            assert aside.name in str(e)
            assert aside.read_bytes() == flipped
            assert aside.name in small.notices()[0]
            named += 1
            kept += len(told(small)) >= len(right) - 2
        else:
            assert (found, small.views()) == (right, views)
    assert named == kept > 15


def test_several_damaged_entries_are_counted_and_the_file_goes_on(small):
    content = small.path.read_bytes()
    small.path.write_bytes(content.replace(b'"note 1"', b'"note 7"').replace(b'"note 3"', b'"note 7"'))
    assert small.label(["q"], "clean", "ann") == 10
    with pytest.raises(UbtError, match="8 entries were read and are kept; number 2, 4 could not be read"):
        small.labels()
    (notice,) = small.notices()
    assert "number 2, 4 could not be read" in notice
    assert set(told(small)) == {"p0", "p2", "p4", "q", "all"}
    small.path.write_bytes(small.path.read_bytes().replace(b'"pairs": ["q"]', b'"pairs": ["r"]'))
    with pytest.raises(UbtError, match=r"number 10 could not be read.*set aside as review-damaged-2\.sqlite"):
        small.labels()
    assert len(small.notices()) == 2
    again = Review(small.path.with_name("again"))
    again.prepend(small)
    assert told(again) == told(small)


def earlier(path: Path, decisions: str = "") -> Review:
    """A file of the earlier schema, as the version before made it."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id = {decision_log.APPLICATION}; {earlier_decisions.SCHEMA}")
        db.executescript(
            """
            INSERT INTO actions VALUES (1, 'ann', '2026-01-01T00:00:00+00:00', NULL), (2, 'ben', 'later', NULL),
                (5, 'ben', 'later', 2), (6, 'ann', 'later', NULL);
            INSERT INTO history VALUES ('a', 1, 'clean', 'x'), ('b', 1, 'clean', ''), ('a', 2, 'backdoor', 'x'),
                ('b', 6, NULL, 'only a note');
            INSERT INTO views (name, rule, query) VALUES ('v', 'topk', '{"page": "map"}');
            PRAGMA user_version = 5;
            """
            + decisions
        )
    return Review(path)


def test_a_file_of_the_earlier_schema_is_read_as_it_is_and_carried_over_by_the_first_write(tmp_path):
    old = earlier(tmp_path / "old")
    before, content = told(old), old.path.read_bytes()
    assert before == {"a": ("clean", "x", "ann"), "b": (None, "only a note", "ann")}
    assert (old.views(), old.path.read_bytes()) == ({"v": {"rule": "topk", "query": {"page": "map"}}}, content)
    assert old.undo("ann") == ["b"]
    assert told(old) == {"a": ("clean", "x", "ann"), "b": ("clean", "", "ann")}
    assert old.views() == {"v": {"rule": "topk", "query": {"page": "map"}}}
    assert old.undo("ann") == ["a", "b"]
    assert old.undo("ben") == []
    for change in (
        "UPDATE history SET label = 'cleam' WHERE action = 2",
        "UPDATE actions SET takes_back = 9 WHERE number = 5",
        "DELETE FROM history WHERE action = 6",
        "DELETE FROM actions WHERE number = 6",
        "INSERT INTO history VALUES ('c', 1, 'unsure', '')",
        "UPDATE views SET query = '{'",
    ):
        (tmp_path / "bad").unlink(missing_ok=True)
        with pytest.raises(UbtError, match="move it aside"):
            earlier(tmp_path / "bad", f"{change};").labels()


@pytest.mark.parametrize(
    "tables",
    [
        "CREATE VIEW standing AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, i AS"
        " label, i AS note, i AS who, i AS at, i AS action FROM n",
        "CREATE TABLE log (number INTEGER PRIMARY KEY, line TEXT NOT NULL); CREATE TRIGGER t AFTER INSERT ON log BEGIN"
        " DELETE FROM log; END",
        "CREATE TABLE log (number INTEGER PRIMARY KEY, line TEXT NOT NULL); INSERT INTO log VALUES (1, 'x')",
        "CREATE TABLE log (number, line)",
    ],
)
def test_a_foreign_file_that_says_it_is_ours_is_refused_and_left_alone(made, tables):
    with closing(sqlite3.connect(made.path)) as db:
        db.executescript(f"PRAGMA application_id = {decision_log.APPLICATION}; PRAGMA user_version = 1; {tables}")
    content = made.path.read_bytes()
    for use in (Review.labels, Review.views, lambda r: r.undo("ann"), lambda r: r.receive("tab", "ann", [])):
        with pytest.raises(UbtError, match="move it aside"):
            use(made)
    assert made.path.read_bytes() == content
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


def test_lines_that_are_no_events_are_refused_though_their_digest_holds():
    good = Event(1, "label", "ann", "now", ("a",), "clean")
    assert Event.of_line(good.line()) == good
    for bad in (
        replace(good, label="poisoned"),
        replace(good, do="delete"),
        replace(good, do="note"),
        replace(good, number=0),
        replace(good, notes=("x", "y")),
        replace(good, sent=("page", "1")),
        replace(good, lost=(1.5,)),
    ):
        with pytest.raises(NoEvent, match="this program writes"):
            Event.of_line(bad.line())


def test_what_a_browser_sends_is_done_once_and_in_order(made):
    one, two, three = (
        Sent(n, "label", p, label) for n, p, label in ((1, "a", "clean"), (2, "b", "unsure"), (3, "a", None))
    )
    assert made.receive("tab", "ann", [one]) == (1, {}, [])
    assert made.receive("tab", "ann", [two, one]) == (2, {}, [])
    assert made.receive("tab", "ann", [one, two]) == (2, {}, [])
    assert made.version() == 2
    assert made.receive("other", "ben", [replace(one, label="backdoor")]) == (1, {}, [])
    assert told(made) == {"a": ("backdoor", "", "ben"), "b": ("unsure", "", "ann")}
    assert made.contradictions() == {
        "a": {who: (label, made.labels()["at"][0]) for who, label in (("ann", "clean"), ("ben", "backdoor"))}
    }
    undo = Sent(4, "undo", of=2)
    assert made.receive("tab", "ann again", [one, two, three, undo, Sent(5, "undo", of=2)]) == (5, {}, [])
    assert told(made) == {}
    assert made.receive("tab", "ann again", [undo, Sent(6, "undo")]) == (6, {}, ["a"])
    assert told(made) == {"a": ("backdoor", "", "ben")}
    last, refused, _ = made.receive("tab", "ann", [Sent(7, "label", "a", "poisoned"), Sent(8, "note", "a", note="n")])
    assert (last, list(refused)) == (8, [7])
    assert told(made) == {"a": ("backdoor", "n", "ben")}


def test_a_note_is_no_label_of_who_wrote_it(made):
    made.label(["x"], "clean", "ann")
    made.receive("tab", "ben", [Sent(1, "note", "x", note="look again"), Sent(2, "note", "y", note="only this")])
    assert told(made) == {"x": ("clean", "look again", "ann"), "y": (None, "only this", "ben")}
    made.label(["x"], "backdoor", "ann")
    assert made.contradictions() == {}
    assert made.undo("ann") == made.undo("ann") == ["x"]
    assert told(made)["x"] == (None, "look again", "ben")
    assert made.receive("tab", "ben", [Sent(3, "undo", of=1), Sent(4, "undo")]) == (4, {}, ["y"])
    assert told(made) == {}


def test_a_decision_that_cannot_be_written_is_refused_and_the_others_are_done(made):
    sent = [
        Sent(1, "label", "a", "clean"),
        Sent(2, "note", "a", note="x\ud800"),
        Sent(3, "label", "\ud800", "clean"),
        Sent(4, "note", "a", note="kept"),
    ]
    last, refused, _ = made.receive("tab", "ann", sent)
    assert (last, list(refused)) == (4, [2, 3])
    assert all("lone surrogate" in why for why in refused.values())
    assert told(made) == {"a": ("clean", "kept", "ann")}


def test_fast_undo_takes_back_exactly_the_last_of_its_own_page(made):
    """Random keys of two pages of one browser session, sent in overlapping pieces, against what each should see."""
    drawn, wanted, undoable = np.random.default_rng(1), {}, []
    boxes: dict[str, list[Sent]] = {"one": [], "two": []}
    for _ in range(60):
        page = str(drawn.choice(["one", "two"]))
        number = len(boxes[page]) + 1
        if drawn.random() < 0.3 and undoable:
            page, of, pair, before = undoable.pop()
            boxes[page].append(Sent(len(boxes[page]) + 1, "undo", of=of))
            wanted[pair] = before
        else:
            pair, label = f"{page}{drawn.integers(5)}", str(drawn.choice(LABELS))
            undoable.append((page, number, pair, wanted.get(pair)))
            boxes[page].append(Sent(number, "label", pair, label))
            wanted[pair] = label
        if drawn.random() < 0.4:
            for name, box in boxes.items():
                made.receive(
                    name, "ann", box[int(drawn.integers(len(box) + 1)) // 2 :] if drawn.random() < 0.2 else box
                )
    for name, box in boxes.items():
        assert made.receive(name, "ann", box)[0] == len(box)
    assert {p: label for p, (label, *_) in told(made).items()} == {p: v for p, v in wanted.items() if v}


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
    monkeypatch.setattr(decision_log, "WAIT", 0.05)
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
