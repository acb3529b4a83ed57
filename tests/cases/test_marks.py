"""Titles and pins are kept beside a case, and nothing else of it changes."""

import pytest
from tiny import CPU, tiny

from ubt.cases.marks import LONGEST, Mark, mark, place, set_mark
from ubt.cases.pipeline import create
from ubt.cases.read_only import ReadOnlyStore
from ubt.cases.store import Store
from ubt.core.errors import BadInput, Forbidden, UbtError


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def name(store) -> str:
    return create(store, tiny(), CPU)


def test_a_title_and_a_pin_come_back_and_the_record_stays_to_the_byte(store, name):
    path = store.root / "cases" / name / "case.json"
    before = path.read_bytes()
    assert mark(store, name) == Mark()
    set_mark(store, name, title=" the  *first*\n<b>one</b> ")
    set_mark(store, name, pinned=True)
    assert mark(store, name) == Mark(title="the *first* <b>one</b>", pinned=True)
    set_mark(store, name, title="")
    assert mark(store, name) == Mark(pinned=True)
    assert path.read_bytes() == before
    assert store.names() == [name]
    store.delete(name)
    assert not place(store, name).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"title": 3}', b'{"pinned": "maybe"}', b"\xff", b'{"more": 1}'])
def test_a_file_that_cannot_be_read_says_nothing(store, name, content):
    place(store, name).write_bytes(content)
    assert mark(store, name) == Mark()
    set_mark(store, name, pinned=True)
    assert mark(store, name) == Mark(pinned=True)


def test_what_cannot_be_called_something_says_why(store, name):
    with pytest.raises(BadInput, match=f"at most {LONGEST} characters, got {LONGEST + 1}"):
        set_mark(store, name, title="x" * (LONGEST + 1))
    with pytest.raises(BadInput, match="unknown case"):
        set_mark(store, "nosuch", title="x")
    with pytest.raises(UbtError):
        set_mark(store, "../../x", title="x")
    with pytest.raises(Forbidden):
        set_mark(ReadOnlyStore(store.root), name, title="x")
    assert mark(store, name) == Mark()
    assert [p.name for p in (store.root / "cases").iterdir()] == [name]


def test_what_a_built_in_case_is_called_outlives_prune(full):
    built_in = "ready-badnet"
    set_mark(full, built_in, title="ours")
    full.prune()
    assert mark(full, built_in).title == "ours"
    assert built_in not in full.names()
    assert full.case(built_in).built_in
