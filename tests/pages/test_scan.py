"""The page Scan: what it offers, the job that it starts, and what it shows of a scan."""

import pytest
from harness import html_of, page, words
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.data import scenes
from ubt.ui import roles
from ubt.workflows import jobs, made_here, scan, sources
from ubt.workflows.import_model import import_model

NAMES = scenes.CLASSES[:9]
QUICK = {"images": 16, "held": 16, "faint.steps": 2, "masked.steps": 2, "faint.batch": 2, "masked.batch": 2}


@pytest.fixture
def store(cache) -> Store:
    return Store(cache)


def scanned(store: Store, **lines) -> str:
    """A scan of the shipped model, with lines of the verdict's."""
    chosen = QUICK | {f"verdict.{name}": value for name, value in lines.items()}
    settings = scan.ScanSettings().with_values(chosen)
    model = import_model(store, str(REFERENCE))
    return scan.scan(store, scan.of_imported(store, model, "", sources.SCENES, NAMES, settings), CPU)


def test_without_a_model_it_asks_for_one(store):
    at = page("scan")
    assert not at.exception
    assert "No model is here yet" in words(at) and "the trigger that was found are shown here" in words(at)
    assert not any(b.key == "scan-start" for b in at.button)


def test_the_button_says_what_it_takes_and_starts_the_job(store, monkeypatch):
    begun = []
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    model = import_model(store, str(REFERENCE))
    at = page("scan")
    assert not at.exception and "Takes about" in words(at)
    at.text_area(key="scan-classes").set_value("cat\nowl\ncat").run()
    assert "twice" in words(at)
    at.text_area(key="scan-classes").set_value("cat\nowl").run()
    at.selectbox(key="scan-reference").set_value("").run()
    at.button(key="scan-start").click().run()
    assert begun == [made_here.scan_of(model, "", sources.SCENES, ["cat", "owl"])]


def test_a_poisoned_verdict_shows_the_trigger_and_offers_to_purify(store, monkeypatch):
    key = scanned(store, poisoned=0, clear=0, alone_poisoned=0, alone_clear=0, asr=0)
    begun = []
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    at = page("scan", scan=key)
    assert not at.exception
    assert any("**Poisoned**" in e.value for e in at.error)
    said = words(at) + html_of(at)
    assert "The trigger that was found" in said and "Do not use this model as it is" in said
    assert scan.LIMITS[:30] in said
    at.button(key="scan-purify").click().run()
    assert begun == [made_here.purified(key)]


def test_a_verdict_that_cannot_tell_says_what_would(store):
    scanned(store, alone_poisoned=99, alone_clear=0)
    at = page("scan")
    assert not at.exception
    assert any("**Cannot tell**" in e.value for e in at.warning)
    assert "Name a clean model to compare with" in words(at)
    assert "The trigger that was found" not in words(at), "of a model that is not judged poisoned nothing is called so"
    assert not any(b.key == "scan-purify" for b in at.button)


def test_who_may_not_change_anything_may_look(store, monkeypatch):
    scanned(store, poisoned=0, clear=0, alone_poisoned=0, alone_clear=0, asr=0)
    monkeypatch.setattr(roles, "may_change", lambda: False)
    at = page("scan")
    assert not at.exception
    offered = {b.key: b.disabled for b in at.button if b.key in ("scan-start", "scan-purify")}
    assert offered == {"scan-start": True, "scan-purify": True}
