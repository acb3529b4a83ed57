"""Who may do what: without a log-in everybody everything; with one, readers look and analysts change."""

from pathlib import Path

import pytest
from harness import page, words
from tiny import CPU, tiny

from ubt.cases.pipeline import create
from ubt.cases.read_only import ReadOnlyStore
from ubt.cases.store import Store
from ubt.core.errors import Forbidden, UbtError
from ubt.pairs.annotations import Review, Sent
from ubt.reports.case_report import contents
from ubt.ui import roles
from ubt.ui.navigation import PAGES
from ubt.workflows import jobs
from ubt.workflows.export_model import zipped
from ubt.workflows.ingest import Wanted, import_wanted
from ubt.workflows.migrate import migrate


@pytest.fixture
def login(monkeypatch):
    """Logs somebody in by the claims of a log-in; analysts are those of ana's lab."""
    monkeypatch.setenv(roles.ANALYSTS, "ana@team.example, *@lab.example")

    def as_(**claims) -> None:
        monkeypatch.setattr(roles, "asked", lambda: "proxy")
        monkeypatch.setattr(roles, "claims", lambda: claims)

    return as_


def held(root: Path) -> dict[str, int]:
    """Every file of a cache and when it was written."""
    return {str(p): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.name != "checked.json"}


@pytest.mark.parametrize(
    ("claims", "may"),
    [
        ({"email": "ana@team.example"}, True),
        ({"email": " Ana@Team.Example "}, True),
        ({"email": "bo@lab.example", "email_verified": True}, True),
        ({"email": "bo@lab.example", "email_verified": False}, False),
        ({"email": "bo@lab.example", "email_verified": "true"}, True),
        ({"email": "bo@lab.example", "email_verified": "false"}, False),
        ({"email": "bo@lab.example", "email_verified": 0}, False),
        ({"email": "bo@lab.example", "email_verified": None}, False),
        ({"email": "bo@lab.example.evil"}, False),
        ({"email": "ana@team.example@evil"}, False),
        ({"email": "bo@team.example"}, False),
        ({"email": ""}, False),
        ({"email": None}, False),
        ({"email": ["ana@team.example"]}, False),
        ({"name": "ana@team.example"}, False),
        ({}, False),
    ],
)
def test_analysts_are_those_who_are_named(login, monkeypatch, claims, may):
    login(**claims)
    assert roles.may_change() == may
    monkeypatch.delenv(roles.ANALYSTS)
    assert not roles.may_change()


def test_without_a_log_in_everybody_may_do_everything(cache):
    roles.asked.cache_clear()
    assert roles.asked() == ""
    assert roles.may_change()
    assert roles.who() == ""


def test_secrets_that_cannot_be_read_let_nobody_in(tmp_path, monkeypatch):
    (secrets := tmp_path / "secrets.toml").write_text("[auth\n")
    monkeypatch.setattr(roles.config, "get_option", lambda name: [str(secrets)] if name == "secrets.files" else None)
    roles.asked.cache_clear()
    with pytest.raises(UbtError, match="cannot be read"):
        roles.asked()
    secrets.unlink()
    monkeypatch.setattr(roles.config, "get_option", lambda name: {"X-Mail": "mail"} if "Headers" in name else [])
    with pytest.raises(UbtError, match="kept as `email`"):
        roles.asked()
    monkeypatch.setattr(roles.st, "secrets", {"auth": {}})
    monkeypatch.setattr(roles.config, "get_option", lambda name: {"X-Mail": "email"} if "Headers" in name else [])
    with pytest.raises(UbtError, match="expected one log-in, got two"):
        roles.asked()
    roles.asked.cache_clear()


@pytest.mark.parametrize("claims", [{}, {"email": "bo@lab.example", "email_verified": False}])
def test_nothing_is_shown_to_whoever_is_not_logged_in(full, monkeypatch, login, claims):
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    login(**claims)
    at = page("overview")
    assert "did not say who you are" in words(at)
    assert not at.selectbox
    assert not at.subheader


@pytest.mark.parametrize("name", PAGES)
def test_a_reader_looks_at_every_page(full, monkeypatch, login, name):
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    login(email="bo@team.example")
    at = page(name)
    said = words(at)
    assert r"bo\@team\.example, reader" in said
    assert "went wrong" not in said
    assert "expected an analyst" not in said
    assert not [t for t in at.text_input if (t.key or "").startswith("path-")]


@pytest.mark.parametrize("name", ["overview", "cases", "inspect", "separation", "triggers", "map"])
def test_what_a_reader_cannot_press_does_nothing_when_it_is_sent_all_the_same(full, monkeypatch, login, name):
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    login(email="bo@team.example")
    query = {"select": "flagged"} if name in ("inspect", "separation", "map") else {}
    if name == "cases":
        query["compare"] = f"{full.names()[0]},{create(full, tiny(seed=5), CPU)}"
    at = page(name, **query)
    locked = [b.key for b in at.button if b.disabled and b.key not in ("select-back", "select-clear")]
    before = held(full.root)
    for key in locked:
        at.button(key=key).proto.disabled = False
        at.button(key=key).click().run()
        assert not at.exception
    assert held(full.root) == before
    assert locked


def test_an_analyst_has_every_button(full, monkeypatch, login):
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    login(email="ana@team.example")
    at = page("overview")
    assert r"ana\@team\.example, analyst" in words(at)
    assert not at.button(key="new").disabled


READS = {"open", "whole", "find", "imported", "all_imported", "held", "journal", "cancel_flag", "size", "earlier"}
READS |= {"record", "renamed", "names", "cases", "case", "checked", "deleted", "said_deleted", "explained"}


def test_a_store_that_can_only_be_read_changes_nothing(full, tiny_case):
    store, name = ReadOnlyStore(full.root), full.names()[0]
    before = held(full.root)
    methods = {n for n in dir(Store) if not n.startswith("_") and callable(getattr(Store, n))}
    for method in methods - READS:
        with pytest.raises(Forbidden):
            getattr(store, method)()
    changes = [
        lambda: create(store, tiny(seed=5), CPU),
        lambda: jobs.start(store, name),
        lambda: jobs.start_each(store, "each", [(name, None)]),
        lambda: jobs.start_view(store, name, "map", {"models": ["poisoned"]}),
        lambda: jobs.start_import(store, Wanted("pairs", "x.csv")),
        lambda: jobs.cancel(store, name),
        lambda: import_wanted(store, Wanted("labelled", str(full.root))),
        lambda: migrate(store),
    ]
    for change in changes:
        with pytest.raises(UbtError):
            change()
    assert held(full.root) == before
    assert store.record(name) == full.record(name)
    assert len(zipped(store, name, "purified")) > 100_000
    assert contents.report(store, name).sections


def test_a_review_that_can_only_be_read_keeps_what_it_has(tmp_path):
    Review(tmp_path / "r").label(["a"], "clean", "ana")
    review = Review(tmp_path / "r", read_only=True)
    for change in (
        lambda: review.label(["a"], "backdoor", "bo"),
        lambda: review.undo("ana"),
        lambda: review.receive("page", "bo", [Sent(1, "label", "a", "backdoor")]),
        lambda: review.save_view("v", "", {}),
    ):
        with pytest.raises(Forbidden):
            change()
    assert review.labels()["label"].tolist() == ["clean"]
