"""The bench of several sessions: what it makes of labels, memory and processor time."""

import subprocess
import sys

import numpy as np
import pytest

from ubt.cases.store import Store
from ubt.cli.bench_runs.case import generate
from ubt.cli.bench_runs.processes import Processor, memory_mb
from ubt.cli.bench_runs.sessions import Seen, _parts, compared, report, slope
from ubt.pairs import query
from ubt.pairs.annotations import Review
from ubt.pairs.decision_log import LogFile

GIVEN = [[("a", "clean"), ("b", "backdoor"), ("a", "unsure")], [("a", "clean"), ("c", "unsure")]]


@pytest.fixture
def review(tmp_path) -> Review:
    """What two sessions gave; the first was reloaded once, and then had another name."""
    kept = Review(tmp_path / "review.sqlite")
    for who, labels in (("one", GIVEN[0][:2]), ("two", GIVEN[1]), ("one, reloaded", GIVEN[0][2:])):
        for pair, label in labels:
            kept.label([pair], label, who)
    return kept


def events(review: Review) -> list:
    return LogFile(review.path).events()


def test_labels_are_found_with_their_session(review):
    assert compared(GIVEN, events(review)) == {"given": 5, "kept": 5, "astray": 0, "lost": 0, "extra": 0}


def test_labels_that_are_lost_or_nobodys_are_counted(review):
    given = [[*GIVEN[0], ("d", "clean"), ("a", "unsure")], GIVEN[1]]
    assert compared(given, events(review)) == {"given": 7, "kept": 5, "astray": 0, "lost": 2, "extra": 0}
    review.label(["e"], "clean", "two")
    assert compared(GIVEN, events(review)) == {"given": 5, "kept": 5, "astray": 0, "lost": 0, "extra": 1}


def test_a_label_kept_with_another_session_is_astray(tmp_path):
    kept = Review(tmp_path / "review.sqlite")
    for pair, who in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two"), ("e", "two")):
        kept.label([pair], "clean", who)
    given = [[("a", "clean"), ("b", "clean")], [(pair, "clean") for pair in "cde"]]
    assert compared(given, events(kept)) == {"given": 5, "kept": 4, "astray": 1, "lost": 0, "extra": 0}


def test_each_session_labels_a_part_of_its_own(tmp_path):
    store = Store(tmp_path)
    shared = generate(store, 1000, width=8, images=False)
    scores = store.open(store.record(shared).artefacts["score"])["similarity"]["similarity"].to_numpy()
    rows = [query.parse(rule).rows({"similarity_reference": scores}) for rule in _parts(store, shared, 7)]
    assert (sum(map(np.asarray, rows), np.zeros(1000, int)) == 1).all()
    assert max(part.sum() for part in rows) - min(part.sum() for part in rows) <= 2


def test_the_slope_leaves_out_the_first_minutes():
    memory = [(0.0, 70.0), (60.0, 900.0), (120.0, 1000.0), (180.0, 1002.0), (240.0, 1004.0)]
    rise, level = slope(memory)
    assert (rise, level) == (pytest.approx(2.0), pytest.approx(1002.0))
    assert slope(memory[:4]) is None


@pytest.mark.parametrize(("rise", "said"), [(0.0, "flat"), (-5.0, "flat"), (5.0, "flat"), (20.0, "NOT FLAT")])
def test_the_report_says_whether_memory_is_flat(rise, said):
    seen = [
        Seen(given=GIVEN[0], changes=[100.0, 300.0], moves=4),
        Seen(given=GIVEN[1], changes=[200.0], late=["Map"], errors=["Map: no"]),
    ]
    found = {
        "memory": [(60.0 * n, 1500.0 + rise * n, 1000.0 + rise * n) for n in range(6)],
        "seen": seen,
        "labels": {"given": 5, "kept": 4, "astray": 0, "lost": 1, "extra": 0},
        "ran": 1,
        "tracebacks": 2,
        "processor": {"server": 0.5, "jobs": 0.1, "browser": 1.25},
    }
    lines = dict(report(found))
    assert lines["sessions, minutes"] == "2, 5.0"
    assert lines["labels given, kept with their session"] == "5, 4"
    assert lines["labels lost, kept with another session, that nobody gave"] == "1, 0, 0"
    assert lines["change of page, ms (median, 95 %, most)"] == "200, 290, 300"
    assert lines["changes of page, later than a minute"] == "3, Map"
    assert (lines["errors shown, tracebacks in the log"], lines["error, 1 times"]) == ("1, 2", "Map: no")
    assert lines["rise of its own after two minutes, MB a minute"] == f"{rise:+.1f}, {said}"
    assert lines["cores kept busy"] == "server 0.50, jobs 0.10, browser 1.25"


SPIN = "import time, sys\nwhile time.process_time() < float(sys.argv[1]): pass\nprint(1, flush=True); input()"


def test_the_processor_time_of_a_server_is_kept_apart_from_that_of_others():
    server, other = (
        subprocess.Popen([sys.executable, "-c", SPIN, spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for spin in ("0.5", "0")
    )
    try:
        processor = Processor(server.pid)
        for process in (server, other):
            process.stdout.readline()
        processor.look()
        assert processor.last["server", server.pid] >= 0.45 > processor.last["browser", other.pid]
        assert ("browser", server.pid) not in processor.last
        resident, own = memory_mb(server.pid)
        assert 1 < own < resident
        cores = processor.cores()
        assert set(cores) == {"server", "jobs", "browser"} and cores["jobs"] == 0 <= min(cores.values())
    finally:
        for process in (server, other):
            process.communicate(b"\n")
