"""The built-in case is complete: on an empty cache no page lacks what could be there, and every control does what it
says.
"""

import re

import pytest
from harness import charts, html_of, page, words
from tiny import CPU

from ubt.cases import demo, store
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import files
from ubt.core.run import Run
from ubt.defenses import poisoncam
from ubt.reports.paper import compare
from ubt.reports.paper.table import KL, MEASURES, SECONDS
from ubt.ui.navigation import PAGES
from ubt.ui.selection import HELP
from ubt.workflows import derived, jobs

FORMATTED = "$$STREAMLIT_INTERNAL_KEY_TESTING"
"""Where the harness keeps how the options of a widget are written."""
LACKS = (
    *("shipped without", "was imported without", "no other models", "not been located", "nothing has been"),
    *("not run yet", "there is no map", "no pair has been", "is missing", "are missing", "cannot be run"),
)
"""What pages say of what they do not have."""
CASES = {"case", "compared", "one-case", "check-reference", "scan-images", "image-images"}
"""Controls whose options are this cache's cases: one, while it is empty."""
WAITING = {"select-back", "select-clear", "step-before", "open", "pin", "rename", "delete"}
"""Controls that are greyed out until something is selected, or a step was taken."""
_CHOSEN = [f"{page}-{what}" for page in ("scan", "image") for what in ("model", "reference", "classes")]
LATER = ("export-kind", "try-target", *_CHOSEN)
"""Controls that decide what a button beside them saves or starts."""


@pytest.fixture
def shipped(monkeypatch, cache):
    """What this package ships, and nothing else."""
    for module in (store, demo):
        monkeypatch.setattr(module, "READY", files.READY)
    return cache


@pytest.mark.parametrize("name", PAGES)
def test_no_page_lacks_anything(shipped, name):
    at = page(name)
    said = (words(at).replace(HELP, "") + html_of(at)).replace("\\", "").lower()
    assert [lack for lack in LACKS if lack in said] == [] or name == "help"
    assert {e.key for e in _widgets(at) if e.disabled} <= WAITING
    assert {e.key for e in _choices(at) if len(e.options) < 2} <= CASES


def test_a_scan_offers_the_models_of_the_case_in_view(shipped):
    offered = page("scan").selectbox(key="scan-model").options
    assert offered == ["the poisoned model of the case in view", "the purified model of the case in view"]


@pytest.mark.parametrize("name", [name for name in PAGES if name not in ("help", "data")])
def test_every_control_changes_what_its_page_shows(shipped, name):
    before, at = _seen(page(name)), page(name)
    assert _seen(at) == before, "expected a page that is the same twice, else nothing below is told"
    for kind, key in [(e.type, e.key) for e in _widgets(at) if e.key and e.key not in CASES | WAITING]:
        if key in LATER or (kind, key) not in {(e.type, e.key) for e in _widgets(at)}:
            continue
        widget = next(e for e in _widgets(at) if (e.type, e.key) == (kind, key))
        before = _seen(at, widget.id)
        if not widget.disabled and _move(at, widget):
            at.run()
            assert not at.exception, key
            assert _seen(at, widget.id) != before, f"{kind} {key} does nothing"


def test_a_trigger_is_tried_on_the_shipped_models(shipped, monkeypatch):
    def start(store, name, kind, options):
        record = store.record(name)
        return derived.make(store, record, kind, options, Run(compute=record.compute))

    monkeypatch.setattr(jobs, "start_view", start)
    at = page("patches")
    at.button(key="build-probe").click().run()
    assert "the poisoned model takes" in words(at)
    assert "After purification it is" in words(at)
    kept = {path.name for path in (shipped / "artefacts").iterdir()}
    Store(shipped).prune()
    assert {path.name for path in (shipped / "artefacts").iterdir()} == kept


def test_every_defence_has_its_figures(shipped):
    kept = Store(shipped)
    case = compare.subject(kept, demo.MAIN, CPU)
    cells = compare.cells(kept, [case], list(compare.METHODS)).set_index("method")
    assert not cells["state"].any()
    assert cells[list(MEASURES.values())].notna().all(axis=None)
    others = cells.drop(index=["clean", "retrain"])
    assert others[[*KL.values(), *SECONDS.values()]].notna().all(axis=None)
    assert set(compare.stages(kept, case, list(compare.METHODS))["method"]) >= set(others.index)
    at = page("compare", defences=",".join(compare.METHODS))
    shown = at.dataframe[0].value
    assert shown["defence"].tolist() == cells["defence"].tolist()
    assert shown["state"].eq("measured").all()


def test_patches_compares_every_strategy(shipped):
    kept = Store(shipped)
    settings = CaseSettings.from_dict(kept.record(demo.MAIN).settings)
    for strategy in poisoncam.STRATEGIES:
        found = demo.artefact(kept, settings.with_values({"locate.strategy": strategy}), "poisoncam_locate")
        assert len(kept.open(found)["candidates"]) == settings.locate.images
    at = page("patches")
    assert len(charts(at)) == 4
    (table,) = (h for h in html_of(at).split("<table")[1:] if "full coverage" in h)
    assert all(strategy in table for strategy in poisoncam.STRATEGIES)
    assert ">-<" not in table


def test_a_table_nobody_measured_here_shows_what_the_documents_have(shipped):
    at = page("tokens")
    assert "the figures shown are of `python -m ubt table 4" in words(at)
    drawn = [trace for chart in charts(at) for trace in chart["data"] if trace.get("name") in ("as published", "ours")]
    assert drawn
    assert all(any(x is not None for x in trace["x"]) for trace in drawn if isinstance(trace["x"], list))


def _widgets(at) -> list:
    """The widgets of the page itself."""
    kinds = "selectbox multiselect button_group slider select_slider toggle checkbox radio number_input button".split()
    return [e for e in at.main if getattr(e, "type", "") in kinds]


def _choices(at) -> list:
    return [e for e in _widgets(at) if hasattr(e, "options") and e.type not in ("slider", "select_slider")]


def _move(at, widget) -> bool:
    """Give a widget another value; False where it has none, or where what it does is no change of the page."""
    if widget.type in ("toggle", "checkbox"):
        widget.set_value(not widget.value)
    elif widget.type in ("slider", "number_input"):
        if widget.min is None or widget.max is None or isinstance(widget.value, (list, tuple)):
            return False
        widget.set_value(widget.min if widget.value != widget.min else widget.max)
    elif widget.type == "select_slider":
        widget.set_value(next(v for v in widget.options if v != widget.value))
    elif widget.type in ("selectbox", "button_group", "multiselect"):
        chosen = [widget.index] if widget.type == "selectbox" else widget.indices
        now = [widget.options[i] for i in chosen if i is not None]
        at.session_state[FORMATTED][widget.id] = str
        other = next((o for o in widget.options if o not in now), None)
        if other is None:
            return False
        widget.set_value([other] if isinstance(widget.value, list) else other)
    else:
        return False
    return True


def _seen(at, without: str = "") -> list[bytes | str]:
    """All that a page shows, but for one widget, names of files to save, and how long a search took."""
    protos = (getattr(e, "proto", None) for e in at.main)
    shown = (p for p in protos if p is not None and (not without or getattr(p, "id", "") != without))
    return [re.sub(r"\d+ ms|deferred_file_id: .*|/media/\S+", "", str(p)) for p in shown]
