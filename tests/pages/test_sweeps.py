"""Sweeps on a page: one is chosen, drawn, and what it lacks is one job."""

import pytest
from harness import charts, words
from streamlit.testing.v1 import AppTest

from ubt.cases.store import Store
from ubt.core import run
from ubt.reports.paper import SWEEPS
from ubt.workflows import jobs


@pytest.fixture
def at(cache) -> AppTest:
    at = AppTest.from_string("from ubt.ui.sweeps import sweeps\nsweeps()", default_timeout=60).run()
    assert not at.exception
    return at


def test_a_sweep_without_its_cases_is_empty_heat_maps_and_says_how_long_it_takes(at):
    (chart,) = charts(at)
    assert [t["type"] for t in chart["data"]].count("heatmap") == 4
    assert "0 of 40 results of this sweep measured; the rest takes about " in words(at)
    assert "python -m ubt sweep susp-k --seeds 1 --attacks badnet" in words(at)
    assert len(at.get("download_button")) == 2


def test_another_sweep_and_other_attacks(at):
    at.selectbox(key="sweep").set_value("cleanclip-poisons").run()
    at.get("button_group")[0].set_value(["badnet", "sig"]).run()
    assert not at.exception
    (chart,) = charts(at)
    assert {t["type"] for t in chart["data"]} == {"scatter"}
    assert len({t["yaxis"] for t in chart["data"]}) == 4
    assert "0 of 20 results" in words(at)


def test_what_is_missing_is_one_job(at, cache, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "start_each", lambda store, title, work, wait: asked.append((title, work)) or True)
    at.selectbox(key="sweep").set_value("cleanclip-data").run()
    at.button(key="each-sweep-cleanclip-data").click().run()
    ((title, work),) = asked
    assert title == "sweep-cleanclip-data"
    assert work == [(case.name(run.compute()), stage) for case, stage in SWEEPS["cleanclip-data"].work(1)]
    assert set(Store(cache).names()) == {name for name, _ in work}
