"""The newcomer's first minutes in a real Chromium: the app opens on the built-in case; the lecture on a projector, by
keyboard alone.
"""

from pathlib import Path

import pytest
from harness import no_traceback

from ubt.cases import demo
from ubt.cli.app_in_browser import settle
from ubt.reports.lecture.slides import slides
from ubt.reports.lecture.steps import STEPS

DRAWN = """JSON.stringify([document.querySelector('.st-key-walk').innerText,
  [...document.querySelectorAll('.st-key-walk .js-plotly-plot')].map(g => [g.data, g.layout.shapes])])"""
SLIDER = "document.activeElement.matches('.st-key-walk input[type=range], .st-key-walk [role=slider]')"
SMALLEST = """Math.min(...[...document.querySelectorAll('.st-key-walk :is(p, td, th, text)')].map(
  e => parseFloat(getComputedStyle(e).fontSize)))"""
FITS = Path(__file__).with_name("fits.js").read_text(encoding="utf-8")


def reach(tab, inside: str) -> None:
    """Tab until what has the focus is `inside`, an expression of the page."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        if tab.evaluate(inside):
            return
    pytest.fail(f"no focus by keyboard: {inside}")


def heading(tab, step) -> None:
    tab.get_by_role("heading", level=1, name=step.heading, exact=True).wait_for()


def revealed(tab, step) -> None:
    """By a key for the next step, which shows the answer first."""
    if step.guess:
        tab.locator(".st-key-show").wait_for()
        tab.keyboard.press("PageDown")
    tab.locator(".st-key-whose").wait_for()
    if step.control:
        tab.locator(".st-key-walk .js-plotly-plot .cartesianlayer, .st-key-walk .ubt-pictures").first.wait_for()


def test_the_walk_by_keyboard_alone(app, store, tab):
    tab.set_viewport_size({"width": 1280, "height": 720})
    address = app(store.root)
    tab.goto(address)
    tab.get_by_text("This model is judged").wait_for()
    assert f"case={demo.MAIN}" in tab.url
    tab.locator("[data-testid=stSidebar]").get_by_text("Made by python -m ubt built-in").wait_for()
    tab.goto(f"{address}/learn")
    for step in STEPS:
        heading(tab, step)
        if step is STEPS[0]:
            assert "step=" not in tab.url
            reach(tab, "document.activeElement.innerText.startsWith('B.')")
            tab.keyboard.press("Enter")
            tab.get_by_text("Your guess: B.").wait_for()
        else:
            revealed(tab, step)
        assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
        if step.control:
            reach(tab, SLIDER)
            seen = tab.evaluate(DRAWN)
            tab.keyboard.press("ArrowLeft" if step.control.start == step.control.values[-1] else "ArrowRight")
            tab.wait_for_function(f"before => {DRAWN} !== before", arg=seen)
            settle(tab)
        if step.name == "trigger":
            reach(tab, "document.activeElement.tagName === 'SUMMARY'")
            tab.keyboard.press("Enter")
            tab.get_by_text("Only who knows the trigger can see it work").wait_for()
        tab.keyboard.press("PageDown")
    tab.keyboard.press("PageUp")
    heading(tab, STEPS[-2])
    tab.wait_for_url(f"**step={STEPS[-2].name}**")
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("ArrowRight")
    heading(tab, STEPS[-1])
    no_traceback(tab)
    assert store.names() == []


def test_keys_faster_than_the_page_are_all_taken(app, store, tab):
    tab.goto(f"{app(store.root)}/learn?step={STEPS[2].name}")
    heading(tab, STEPS[2])
    settle(tab)
    for _ in range(sum(2 if step.guess else 1 for step in STEPS[2:9])):
        tab.keyboard.press("PageDown")
    heading(tab, STEPS[9])
    for _ in range(3):
        tab.keyboard.press("PageUp")
    heading(tab, STEPS[6])
    settle(tab)
    assert f"step={STEPS[6].name}" in tab.url


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (2560, 1440)])
def test_no_step_scrolls_and_no_label_is_cut_on_a_projector(app, store, tab, width, height):
    tab.set_viewport_size({"width": width, "height": height})
    tab.goto(f"{app(store.root)}/learn?present=1")
    tab.locator(".ubt-presenter").wait_for()
    tab.keyboard.press("c")
    wrong, size = {}, []
    for step in STEPS:
        heading(tab, step)
        settle(tab, 0.2)
        if step.guess:
            wrong[step.name, "asked"] = tab.evaluate(FITS)
        revealed(tab, step)
        settle(tab, 0.2)
        wrong[step.name, "shown"] = tab.evaluate(FITS)
        size.append(tab.evaluate(SMALLEST))
        tab.keyboard.press("PageDown")
    assert not {where: said for where, said in wrong.items() if said}
    assert min(size) >= 15 * width / 1280
    assert tab.locator(".ubt-presenter").count() == 1
    assert not tab.locator("[data-testid=stSidebar]").is_visible()


def test_keys_of_the_presenter(app, store, tab):
    tab.goto(f"{app(store.root)}/learn?step=captions")
    heading(tab, STEPS[4])
    settle(tab)
    tab.keyboard.press("n")
    assert tab.locator(".ubt-notes").count() == 0
    tab.keyboard.press("p")
    tab.wait_for_url("**present=1**")
    notes = tab.get_by_role("complementary", name="Notes")
    tab.locator(".ubt-presenter").wait_for()
    settle(tab)
    assert not notes.is_visible()
    tab.keyboard.press("n")
    notes.wait_for()
    assert STEPS[4].notes in notes.inner_text()
    tab.keyboard.press("c")
    clock = tab.locator(".ubt-presenter output")
    clock.get_by_text(f"of 60 min, step until {sum(s.minutes for s in STEPS[:5])}").wait_for()
    assert tab.get_by_role("button", name="Clock (C)", pressed=True).is_visible()
    tab.keyboard.press("f")
    tab.wait_for_function("document.fullscreenElement !== null")
    tab.keyboard.press("f")
    tab.wait_for_function("document.fullscreenElement === null")
    revealed(tab, STEPS[4])
    tab.keyboard.press("PageDown")
    heading(tab, STEPS[5])
    tab.wait_for_function("text => document.querySelector('.ubt-notes').innerText.includes(text)", arg=STEPS[5].notes)
    tab.keyboard.press("n")
    notes.wait_for(state="hidden")
    tab.keyboard.press("p")
    tab.locator(".ubt-presenter").wait_for(state="detached")
    tab.locator("[data-testid=stSidebar]").wait_for()
    tab.keyboard.press("ArrowRight")
    tab.locator(".st-key-whose").wait_for()
    no_traceback(tab)


def test_keys_do_nothing_while_somebody_types(app, store, tab):
    tab.goto(f"{app(store.root)}/learn")
    heading(tab, STEPS[0])
    settle(tab)
    tab.evaluate("document.body.append(Object.assign(document.createElement('input'), {id: 'typed'}))")
    tab.locator("#typed").press_sequentially("pnfc")
    tab.keyboard.press("ArrowLeft")
    settle(tab)
    assert tab.locator("#typed").input_value() == "pnfc"
    assert "present=" not in tab.url
    assert tab.locator(".ubt-presenter").count() == 0
    tab.locator("#typed").evaluate("e => e.remove()")
    tab.keyboard.press("p")
    tab.locator(".ubt-presenter").wait_for()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (2560, 1440)])
def test_slides_fit_and_turn_with_a_remote(tab, width, height):
    tab.set_viewport_size({"width": width, "height": height})
    tab.set_content(slides(STEPS))
    cut = tab.evaluate(
        "[...document.querySelectorAll('section')].filter(s => s.scrollHeight > s.clientHeight + 1 || s.scrollWidth >"
        " s.clientWidth + 1).map(s => s.querySelector('h1, h2').innerText)"
    )
    assert cut == []
    for slide in (1, 2, 3):
        tab.evaluate("() => { window.ended = new Promise(done => addEventListener('scrollend', done, {once: true})); }")
        tab.keyboard.press("PageDown")
        tab.evaluate("() => window.ended.then(() => null)")
        assert abs(tab.evaluate("scrollY / innerHeight") - slide) < 0.01
