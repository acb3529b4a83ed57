"""The page Compare in a real Chromium: a mark that is clicked offers its case."""

from harness import no_traceback, press
from tiny import CPU, tiny

from ubt.cases.pipeline import create
from ubt.cli.app_in_browser import settle


def test_a_mark_that_is_clicked_opens_its_case_whatever_else_is_open(app, full, tiny_case, tab):
    other = create(full, tiny(seed=7), CPU)
    address = app(full.root)
    tab.goto(f"{address}/compare?case={other}&compared={tiny_case.name}&tables=true&sweeps=true")
    mark = tab.locator(".st-key-tradeoff .js-plotly-plot .point").last
    mark.wait_for()
    settle(tab)
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    press(tab, "Open this case")
    tab.get_by_role("heading", level=1, name="Overview").wait_for()
    settle(tab)
    assert f"case={tiny_case.name}" in tab.url
    no_traceback(tab)


def test_a_defence_that_is_ticked_is_in_the_address_and_stays(app, full, tiny_case, tab):
    tab.goto(f"{app(full.root)}/compare?case={tiny_case.name}")
    tab.get_by_role("button", name="Compute the missing 2").wait_for()
    tab.locator("[data-testid=stCheckbox] label", has_text="PoisonCAM").click()
    tab.get_by_role("button", name="Compute the missing 3").wait_for()
    settle(tab)
    assert "defences=poisoned%2Cubt%2Ccleanclip%2Croclip%2Cpoisoncam" in tab.url
    tab.reload()
    tab.get_by_role("button", name="Compute the missing 3").wait_for()
    settle(tab)
    assert tab.get_by_role("checkbox", name="PoisonCAM").is_checked()
    assert not tab.get_by_role("checkbox", name="oracle").is_checked()
    no_traceback(tab)
