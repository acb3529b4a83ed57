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
from ubt.reports.lecture.steps import STEPS
from ubt.reports.paper.whatif import WHAT_IF
from ubt.ui.charts import cached_figure
from ubt.ui.navigation import PAGES
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
    shown = {"overview": 2, "separation": 3, "tokens": 2, "unlearn": 4, "compare": 3, "neighbours": 1}
    assert len(charts(at)) >= shown.get(name, 0)
    if name == "patches":
        assert "shipped without it" in words(at)
    if name == "map":
        assert "There is no map" in words(at)
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


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_asks_first_and_then_shows_whose_case_it_is(with_own, step):
    at = page("learn", step=step.name)
    assert at.title[0].value == step.heading
    if step.guess:
        assert not charts(at)
        assert not at.slider
        assert not at.select_slider
        assert [b.label for b in at.button if b.key.startswith("guess-")] == [
            f"{letter}.  {option}" for letter, option in zip("ABCD", step.options, strict=False)
        ]
        at.button(key=f"guess-{step.name}-{len(step.options) - 1}").click().run()
        assert f"Your guess: {'ABCD'[len(step.options) - 1]}. **Answer: {'ABCD'[step.right]}.**" in words(at)
    shown = step.start()
    assert not at.error
    assert shown.whose in words(at)
    assert len(charts(at)) == (shown.figure is not None)
    assert all(c.proto.alt for c in at.get("plotly_chart"))
    assert [e.label for e in at.expander] == ([f"**Question.** {step.question}"] if step.question else [])
    if step.control:
        before = words(at), html_of(at), charts(at)
        control = (at.slider or at.select_slider)[0]
        values = step.control.values
        control.set_value(values[-1] if control.value == values[0] else values[0]).run()
        assert not at.error
        assert (words(at), html_of(at), charts(at)) != before
    if at.button(key="step-next").disabled:
        assert step is STEPS[-1]
    else:
        at.button(key="step-next").click().run()
        assert at.title[0].value == STEPS[STEPS.index(step) + 1].heading
        at.button(key="step-before").click().run()
        assert not [b for b in at.button if b.key == "show"]


def test_an_old_link_and_presenter_mode(with_own):
    at = page("learn", step="3", present="1")
    assert at.title[0].value.startswith("3. ")
    assert ".ubt-presenter" in html_of(at)
    assert not at.expander
    at.button(key="present").click().run()
    assert ".ubt-presenter" not in html_of(at)
    assert "present" not in at.query_params
    at.button(key="show").click().run()
    assert "Your guess" not in words(at)
    assert at.expander


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
