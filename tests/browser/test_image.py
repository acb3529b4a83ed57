"""The trigger under the lens in a real Chromium: dragged, moved by keys, drawn."""

import json

import pytest
from harness import no_traceback

from ubt.cases import demo
from ubt.cli.app_in_browser import settle
from ubt.cli.bench_runs.walk import ANSWERS, gate_made, on_image


@pytest.fixture
def gate(store) -> str:
    """A small gate of the built-in case's poisoned model."""
    return gate_made(store)


def place(tab) -> list[int]:
    """Longer side, top and left edge of the patch in the browser."""
    found = tab.locator(".ubt-lens").evaluate("e => JSON.stringify(e.dataset)")
    return [int(json.loads(found)[part]) for part in ("side", "top", "left")]


def test_a_patch_is_dragged_moved_by_keys_and_drawn_while_models_answer(app, store, tab, gate):
    tab.set_viewport_size({"width": 1280, "height": 1000})
    tab.goto(f"{app(store.root)}/image?case={demo.MAIN}")
    on_image(tab)
    patch = tab.locator(".ubt-patch")
    assert place(tab) == [7, 40, 40], "where the case's own trigger lies"
    box, answered = patch.bounding_box(), tab.evaluate(ANSWERS)
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    one = box["width"] / 7
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x - 5 * one, y - 20 * one, steps=4)
    tab.wait_for_function(f"before => ({ANSWERS} || before) !== before", arg=answered)
    tab.mouse.up()
    settle(tab)
    assert place(tab) == [7, 20, 35]
    sliders = tab.locator("[class*='st-key-lens-place']")
    told = [{*s.inner_text().split()} for s in sliders.all()]
    assert all(value in said for value, said in zip(("7", "20", "35"), told, strict=True)), "the sliders follow"
    patch.focus()
    verdict = "document.querySelector('[data-testid=stAlert]').innerText"
    before = tab.evaluate(verdict)
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "+"):
        tab.keyboard.press(key)
    tab.wait_for_function(f"before => {verdict} !== before", arg=before)
    settle(tab)
    assert place(tab) == [8, 19, 33]
    tab.get_by_text("draw", exact=True).first.click()
    board = tab.locator(".ubt-board")
    board.wait_for()
    settle(tab)
    tab.get_by_role("radio", name="red").click()
    at = board.bounding_box()
    tab.mouse.move(at["x"] + at["width"] / 2, at["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] - 5, steps=12)
    tab.mouse.up()
    settle(tab)
    tab.get_by_role("radio", name="red").press("ArrowRight")
    assert tab.get_by_role("radio", name="orange").get_attribute("aria-checked") == "true"
    tab.get_by_role("radio", name="orange").press("ArrowLeft")
    squares = tab.locator(".ubt-paint").get_attribute("data-squares")
    assert [squares[7 * n + 3] for n in range(7)] == ["3"] * 7 and squares.count("3") == 7
    board.focus()
    for key in ("ArrowRight", "Space"):
        tab.keyboard.press(key)
    settle(tab)
    assert tab.locator(".ubt-paint").get_attribute("data-squares").count("3") == 8
    no_traceback(tab)
