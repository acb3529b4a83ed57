"""The app on a built-in case: every page shows what is shipped and says what is not; Run it live; the guided walk;
What if.
"""

import re

import numpy as np
import pandas as pd
import pytest
from harness import charts, html_of, page, words
from tiny import CPU, tiny

from ubt.cases import demo, store
from ubt.cases.store import Store
from ubt.cli import make_demo
from ubt.core import files, run
from ubt.figures import mark, similarity
from ubt.figures.alt_text import described
from ubt.reports.paper.whatif import WHAT_IF
from ubt.ui.charts import cached_figure
from ubt.ui.navigation import PAGES
from ubt.ui.walkthrough_steps import STEPS
from ubt.workflows import jobs


@pytest.fixture(scope="module")
def shipped(tiny_case, tiny_store, tmp_path_factory):
    """The tiny case as it would be shipped."""
    folder = tmp_path_factory.mktemp("shipped")
    make_demo.keep_case(tiny_store, CPU, demo.MAIN, make_demo.DemoCase("tiny", tiny()), Store(folder))
    return folder


@pytest.fixture
def with_tiny(shipped, monkeypatch, cache):
    for module in (store, demo):
        monkeypatch.setattr(module, "READY", shipped)
    return Store(cache)


@pytest.fixture
def with_own(monkeypatch, cache):
    """What this package ships."""
    for module in (store, demo):
        monkeypatch.setattr(module, "READY", files.READY)
    return Store(cache)


@pytest.mark.parametrize("name", [n for n in PAGES if n not in ("learn", "whatif")])
def test_an_empty_cache_opens_on_the_built_in_case(with_tiny, name):
    at = page(name)
    assert at.session_state["case"] == demo.MAIN
    assert "unexpected" not in words(at)
    assert "built-in" in words(at)
    assert make_demo.COMMAND in words(at)
    shown = {"overview": 2, "separation": 3, "tokens": 1, "unlearn": 4, "compare": 3, "neighbours": 1}
    assert len(charts(at)) >= shown.get(name, 0)
    if name in ("unlearn", "patches", "map"):
        assert "shipped without it" in words(at)
    if name == "tokens":
        assert "built-in case has no other models" in words(at)
    if name == "compare":
        assert "ABL, ABL + text mask" in words(at).replace("\\", "")
        assert "shipped without it; run it live" in words(at).replace("\\", "")
    assert with_tiny.names() == []


def test_run_it_live_takes_its_place(with_tiny, monkeypatch, tiny_case):
    asked = []
    monkeypatch.setattr(jobs, "start", lambda store, name, until=None: asked.append(name) or True)
    at = page("overview")
    at.button(key="live").click().run()
    (live,) = asked
    assert live == tiny().name(run.compute())
    assert at.session_state["case"] == live
    assert at.selectbox(key="case").options[-1] == "built-in: tiny"
    with_tiny.save_case(live, with_tiny.record(live).changed(state="done"))
    at.run()
    assert "built-in: tiny" not in at.selectbox(key="case").options


def test_run_it_live_gets_what_the_page_lacks(with_tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "start", lambda store, name, until=None: asked.append(until) or True)
    page("patches").button(key="live-poisoncam_classify").click().run()
    assert asked == ["poisoncam_classify"]


def test_a_figure_made_once_is_copied_and_stays_as_it_was():
    made = []

    def make():
        made.append(1)
        return similarity.histogram(np.linspace(0, 1, 50), np.arange(50) > 40)

    first = cached_figure(("test", 1), make)
    said = described(first)
    mark(first, 0.5, "here")
    first.data[0].update(name="another")
    second = cached_figure(("test", 1), make)
    assert (len(made), len(second.layout.shapes), second.data[0].name) == (1, 0, "clean (41)")
    assert described(second) == said == described(make())


@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_every_step_has_a_figure_something_to_do_and_a_question(with_own, number):
    at = page("learn", step=str(number))
    step = STEPS[number - 1]
    assert at.title[0].value == f"{number}. {step.title}"
    assert not at.error
    assert len(charts(at)) == (number > 1)
    assert all(c.proto.alt for c in at.get("plotly_chart"))
    assert [e.label for e in at.expander] == [f"**Question.** {step.question}"]
    before, drawn = words(at) + html_of(at), charts(at)
    if at.slider:
        at.slider[0].set_value(at.slider[0].max if at.slider[0].value == at.slider[0].min else at.slider[0].min).run()
    else:
        at.select_slider[0].set_value(
            next(v for v in at.select_slider[0].options if v != at.select_slider[0].value)
        ).run()
    assert not at.error
    assert words(at) + html_of(at) != before
    assert number == 1 or charts(at) != drawn
    if number == 7:
        assert {s["xref"] for s in charts(at)[0]["layout"]["shapes"]} == {"x", "x2"}
    by = 1 if number % 2 else -1
    at.button(key="step-next" if by > 0 else "step-before").click().run()
    assert at.title[0].value.startswith(f"{number + by}. ")


@pytest.mark.parametrize("name", WHAT_IF)
def test_every_point_of_what_if_shows_its_figures_and_leads_to_its_case(with_own, name):
    table = pd.read_parquet(demo.grid())
    part = table[table["sweep"] == name]
    at = page("whatif", what=name)
    slider = at.select_slider(key=f"what-{name}")
    for row, value in zip(part.to_dict("records"), part["shown"], strict=True):
        slider.set_value(value).run()
        assert not at.error
        if not row["state"]:
            assert f"{row['CA, ours']:.2f}" in html_of(at)
            assert len(charts(at)) == 2
        assert {b.key for b in at.button} & ({"what-open"} if row["default"] else {"what-run"})


def test_the_first_screen_says_what_it_is_and_leads_on(with_tiny):
    at = page("overview")
    assert at.title[0].value == "UBT Inspector"
    assert "Find out whether a CLIP model was backdoored" in words(at)
    ways = [b.label for b in at.button if b.key in ("to-learn", "live-first", "to-check")]
    assert [w.split(",")[0] for w in ways] == ["Learn it in ten steps", "Run it live", "Check my model or data"]
    assert re.search(r", (about|a few|under) ", ways[1]), ways[1]
    at.button(key="to-check").click().run()
    assert at.title[0].value == "Check"
