"""The newcomer's first minutes in a real Chromium: the app opens on the built-in case; the guided walk on a
projector, by keyboard alone.
"""

import pytest
from harness import no_traceback

from ubt.cases import demo
from ubt.ui.walkthrough_steps import STEPS

WALK = "document.querySelector('.st-key-walk').innerText"
SLIDER = "document.activeElement.matches('.st-key-walk input[type=range], .st-key-walk [role=slider]')"


def reach(tab, inside: str) -> None:
    """Tab until what has the focus is `inside`, an expression of the page."""
    for _ in range(60):
        tab.keyboard.press("Tab")
        if tab.evaluate(inside):
            return
    pytest.fail(f"no focus by keyboard: {inside}")


def test_the_walk_by_keyboard_alone(app, store, tab):
    tab.set_viewport_size({"width": 1280, "height": 720})
    address = app(store.root)
    tab.goto(address)
    tab.get_by_text("This model is judged").wait_for()
    assert f"case={demo.MAIN}" in tab.url
    tab.locator("[data-testid=stSidebar]").get_by_text("Made by python -m ubt built-in").wait_for()
    tab.goto(f"{address}/learn")
    for number, step in enumerate(STEPS, 1):
        tab.get_by_role("heading", level=1, name=f"{number}. {step.title}").wait_for()
        tab.locator(".st-key-walk .js-plotly-plot, .st-key-walk .ubt-pictures").first.wait_for()
        assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth <= innerWidth")
        reach(tab, SLIDER)
        seen = tab.evaluate(WALK)
        tab.keyboard.press("ArrowLeft" if number in (7, 9, 10) else "ArrowRight")
        tab.wait_for_function(f"before => {WALK} !== before", arg=seen)
        if number == 1:
            reach(tab, "document.activeElement.tagName === 'SUMMARY'")
            tab.keyboard.press("Enter")
            tab.get_by_text("Only who knows the trigger can see it work").wait_for()
            assert "step=" not in tab.url
        tab.keyboard.press("PageDown")
    tab.keyboard.press("PageUp")
    tab.get_by_role("heading", level=1, name="9. ").wait_for()
    tab.wait_for_url("**step=9**")
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("ArrowRight")
    tab.get_by_role("heading", level=1, name="10. ").wait_for()
    no_traceback(tab)
    assert store.names() == []
