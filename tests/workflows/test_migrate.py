"""A cache that the version before made keeps its labels, notes, views and imports, whatever happens on the way."""

import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from before import told, unpacked
from tiny import CPU

from ubt.cases.marks import Mark, mark, place
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.errors import BadInput, UbtError
from ubt.pairs.annotations import Review
from ubt.workflows import jobs
from ubt.workflows.import_model import forget, opened
from ubt.workflows.migrate import Moved, migrate


class Killed(BaseException):
    """As if the process ended here."""


@pytest.fixture(scope="module")
def expected() -> dict:
    """What the version before reads of its cache."""
    return told()


@pytest.fixture
def store(tmp_path) -> Store:
    """The cache of the version before."""
    return unpacked(tmp_path / "cache")


def review(store: Store, name: str) -> Review:
    return Review(store.root / "cases" / name / "review.sqlite")


def said(rows: list[dict]) -> list[dict]:
    """Labels with None where there is none."""
    return [{k: v if isinstance(v, str) else None for k, v in row.items()} for row in rows]


def kept(store: Store, name: str) -> tuple[list[dict], dict]:
    """A case's labels and notes, and its views, newest first."""
    found = review(store, name)
    return said(found.labels().to_dict("records")), list(found.views().items())


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def all_is_there(store: Store, moved: dict[str, str], expected: dict) -> None:
    """Every label, note and view of every old case is its new case's, in order; the cases can be run."""
    assert set(moved) == set(expected["cases"])
    assert set(store.names()) == set(moved.values())
    for old, new in moved.items():
        was = expected["cases"][old]
        assert kept(store, new) == (said(was["labels"]), list(was["views"].items()))
        record = store.case(new)
        assert record.state == "new"
        assert CaseSettings.from_dict(record.settings).name(record.compute) == new
        assert jobs.status(store, new).state == "new"
        assert store.case(old) == record
        assert store.renamed(old) == new


def test_everything_is_carried_over_under_the_new_names(store, expected):
    before = files(store.root / "artefacts")
    done = migrate(store)
    assert not [m.skipped for m in done if m.skipped]
    all_is_there(store, {m.old: m.new for m in done}, expected)
    assert all(m.old != m.new for m in done)
    for m in done:
        was = expected["cases"][m.old]
        labels, notes = ([row[k] for row in said(was["labels"]) if row[k]] for k in ("label", "note"))
        assert m == Moved(m.old, m.new, len(labels), len(notes), len(was["views"]))
    assert sum(m.labels for m in done) > 20
    assert files(store.root / "artefacts") == before


def test_titles_and_pins_are_carried_over_unless_the_new_case_has_its_own(store, expected):
    first, second, *_ = expected["cases"]
    for name, title in ((first, "mine"), (second, "old")):
        place(store, name).write_text(Mark(title=title, pinned=True).model_dump_json())
    new = CaseSettings.from_dict(store.record(second).settings).name(CPU)
    place(store, new).parent.mkdir()
    place(store, new).write_text(Mark(title="new").model_dump_json())
    moved = {m.old: m.new for m in migrate(store)}
    assert mark(store, moved[first]) == Mark(title="mine", pinned=True)
    assert moved[second] == new
    assert mark(store, new) == Mark(title="new")


def test_the_latest_decision_can_still_be_undone(store):
    for m in migrate(store):
        if m.labels:
            before = len(review(store, m.new).labels())
            assert review(store, m.new).undo("ann")
            assert len(review(store, m.new).labels()) in (before, before - 1)


def test_imports_stay_and_open(store, expected):
    migrate(store)
    assert {kind: list(store.all_imported(kind)) for kind in expected["imported"]} == expected["imported"]
    (pairs,), (labelled,), (model,) = expected["imported"].values()
    assert len(store.imported(pairs)["pairs"]) == 24
    assert store.imported(pairs)["quarantine"]["reason"].tolist() == ["missing file"]
    assert store.imported(labelled)["classes"] == ["banana", "dog"]
    assert opened(store, model)["card"]["digest"] == models.weights_digest(store.imported(model)["model"])
    store.prune()
    assert {path.name for path in (store.root / "artefacts").iterdir()} == {pairs, labelled, model}


def test_labels_name_the_pairs_of_the_case_that_is_computed_anew(store, expected):
    """Also shows that a case that was carried over runs."""
    for m in migrate(store):
        settings = CaseSettings.from_dict(store.case(m.new).settings)
        ids = {row["id"] for row in expected["cases"][m.old]["labels"]}
        if settings.own.pairs:
            assert ids <= set(store.imported(settings.own.pairs)["pairs"]["id"])
        else:
            case = Pipeline(store, CPU).run(settings, upto("data"))
            assert case.name == m.new
            assert ids <= set(case.artefacts["data"]["pairs"]["id"])
            (old,) = ((store.root / "artefacts").glob("attack-*/truth.parquet"),)
            truths = [store.open(path.parent.name)["truth"]["poisoned"].to_numpy() for path in old]
            assert len(truths) == 2
            assert np.array_equal(*truths)


def test_twice_is_once(store, expected):
    moved = {m.old: m.new for m in migrate(store)}
    before = files(store.root / "cases")
    assert migrate(store) == []
    assert files(store.root / "cases") == before
    all_is_there(store, moved, expected)


def test_two_at_once_are_one(store, expected):
    with ThreadPoolExecutor(2) as pool:
        done = [*pool.map(migrate, [store, Store(store.root)])]
    assert sorted(map(len, done)) == [0, 3]
    all_is_there(store, {m.old: m.new for m in [*done[0], *done[1]]}, expected)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step"), [(Review, "prepend"), (Store, "save_case"), (Store, "rename_case"), (Path, "unlink")]
)
def test_after_a_kill_the_next_run_finishes(store, expected, monkeypatch, owner, step, before):
    real, count = getattr(owner, step), 0

    def killed(self, *arguments, **named):
        nonlocal count
        count += owner is not Path or self.name == "case.json"
        if count == 2 and before:
            raise Killed
        result = real(self, *arguments, **named)
        if count == 2:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, killed)
        with pytest.raises(Killed):
            migrate(store)
    migrate(store)
    all_is_there(store, {old: store.renamed(old) for old in expected["cases"]}, expected)


def test_a_full_disk_skips_a_case_and_says_so(store, expected, monkeypatch):
    def full(self, name, record):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save_case", full)
        assert all("disk is full" in m.skipped for m in migrate(store))
    moved = {m.old: m.new for m in migrate(store)}
    all_is_there(store, moved, expected)


def test_a_dry_run_writes_nothing_and_says_the_same(store):
    before = files(store.root)
    planned = migrate(store, dry_run=True)
    assert files(store.root) == before
    assert planned == migrate(store)


def changed(store: Store, name: str, change) -> None:
    path = store.root / "cases" / name / "case.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: r["settings"].update(nosuch={"a": 1}), "unknown setting 'nosuch'"),
        (lambda r: r["settings"]["split"].update(older=1), "unknown setting 'older'"),
        (lambda r: r["settings"]["split"].update(fraction="much"), "SplitSettings.fraction"),
        (lambda r: r.update(settings=[]), "schema None"),
        (lambda r: r.update(compute={"device": "cpu"}), "its record is damaged"),
        (lambda r: r.update(given=True), "its artefacts were imported"),
        (lambda r: r.update(schema=3), "schema 3"),
        (lambda r: r.update(schema=99), "another version"),
        (lambda r: r.clear(), "damaged"),
    ],
)
def test_what_cannot_be_read_is_skipped_said_and_left_as_it_is(store, expected, change, why):
    bad = next(iter(expected["cases"]))
    changed(store, bad, change)
    before = files(store.root / "cases" / bad)
    done = {m.old: m for m in migrate(store)}
    assert why in done.pop(bad).skipped
    assert not any(m.skipped for m in done.values())
    assert len(done) == 2
    assert files(store.root / "cases" / bad) == before
    assert store.renamed(bad) == bad
    assert not store.record(bad).readable
    with pytest.raises(UbtError):
        store.prune()


def test_a_damaged_review_and_a_case_that_is_run_are_skipped(store, expected):
    damaged, run, other = expected["cases"]
    review(store, damaged).path.write_bytes(b"no database at all, however long it is" * 40)
    with store.lock(run):
        done = {m.old: m.skipped for m in migrate(store)}
    assert "move it aside" in done[damaged]
    assert "being run by process" in done[run]
    assert done[other] == ""
    assert [m.old for m in migrate(store) if not m.skipped] == [run]


def test_what_was_decided_in_the_new_case_before_stays_the_latest(store, expected):
    old = next(iter(expected["cases"]))
    (planned,) = (m for m in migrate(store, dry_run=True) if m.old == old)
    rows = expected["cases"][old]["labels"]
    mine = review(store, planned.new)
    mine.path.parent.mkdir()
    mine.label([rows[0]["id"], "another"], "unsure", "eve", "mine")
    mine.label([rows[1]["id"]], "clean", "eve")
    mine.undo("eve")
    mine.save_view("compared", "flagged", {"page": "map"})
    migrate(store)
    labels = {row["id"]: row for row in kept(store, planned.new)[0]}
    assert (labels[rows[0]["id"]]["label"], labels[rows[0]["id"]]["note"]) == ("unsure", "mine")
    assert labels["another"]["who"] == "eve"
    assert [labels[row["id"]] for row in said(rows)[1:]] == said(rows)[1:]
    views = mine.views()
    assert list(views) == ["compared", "compared (before)", "high “scores”"]
    assert views["compared"]["rule"] == "flagged"
    assert views["compared (before)"] == expected["cases"][old]["views"]["compared"]
    mine.prepend(review(store, old))
    assert mine.views() == views
    assert len(mine.labels()) == len(labels)


def test_a_case_of_an_earlier_version_says_what_to_do(store, expected):
    name = next(iter(expected["cases"]))
    assert {record.state for record in store.cases().values()} == {"outdated"}
    assert "python -m ubt cases migrate" in store.case(name).error
    assert jobs.status(store, name).state == "outdated"
    assert "cases migrate" in jobs.status(store, name).error
    with pytest.raises(UbtError, match="cases migrate"):
        store.prune()
    with pytest.raises(UbtError, match="expected a model that no case names"):
        forget(store, expected["imported"]["model"][0])


def test_a_new_case_takes_its_old_name_with_it(store, expected):
    moved = {m.old: m.new for m in migrate(store)}
    old, new = next(iter(moved.items()))
    store.delete(old)
    assert new not in store.names()
    assert not (store.root / "cases" / old).exists()
    with pytest.raises(BadInput, match="unknown case"):
        store.case(old)


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "nosuch", "nul\0byte", "x" * 5000])
def test_any_other_name_is_itself(store, name):
    assert store.renamed(name) == name


def test_a_circle_of_names_ends(store):
    for name, to in (("a", "b"), ("b", "a")):
        (store.root / "cases" / name).mkdir()
        (store.root / "cases" / name / "moved.json").write_text(json.dumps({"to": to}))
    assert store.renamed("a") in ("a", "b")
    shutil.rmtree(store.root / "cases" / "a")
    assert store.renamed("b") == "a"
