"""Every page of the built-in case, and those that a lab case or an audit shows otherwise, as somebody reads them who
does not see well: checked by axe-core, by all rules in one theme, the other one by page, the built-in case's by those
of colours in the other too; at 200 % zoom, by keyboard.
"""

from pathlib import Path

import axe_playwright_python
import pytest

from ubt.cli.app_in_browser import page_link, settle
from ubt.ui.navigation import PAGES, page

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RUN = """rules => axe.run({exclude: [['[data-testid=stSidebarNav]']]}, {resultTypes: ['violations'],
  ...(rules && {runOnly: {type: 'rule', values: rules}})}).then(found =>
  found.violations.filter(v => ['serious', 'critical'].includes(v.impact))
    .map(v => [v.id, ...v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))]))"""
"""Streamlit's navigation is left out: its list holds headings beside its items, which no app can change."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe-core that a theme can break."""
SCHEME = "theme => getComputedStyle(document.querySelector('.stApp')).colorScheme === theme"
OF_A_LAB_CASE = ["overview", "cases", "data", "inspect", "map", "review", "patches", "unlearn"]
"""Pages that show of a lab case what the built-in one does not have: what can be run, cancelled, edited and deleted."""
OF_AN_AUDIT = (
    "overview cases scan image inspect separation neighbours map review tokens patches unlearn compare".split()
)
"""Pages that show an audit otherwise: without the truth, with estimates."""


WIDE = "() => document.querySelector('[data-testid=stMain]').scrollWidth - innerWidth"


@pytest.mark.parametrize(
    ("cache", "pages", "ways"),
    [("store", [*PAGES], (None, OF_COLOURS)), ("mapped", OF_A_LAB_CASE, (None,)), ("audited", OF_AN_AUDIT, (None,))],
    ids=["built-in", "lab", "audit"],
)
def test_no_serious_fault_in_either_theme_and_nothing_is_cut_at_200_percent(app, tab, request, cache, pages, ways):
    tab.goto(app(request.getfixturevalue(cache).root))
    found, themes = {}, ["light", "dark"]
    for name in pages:
        tab.set_viewport_size({"width": 1440, "height": 900})
        page_link(tab, page(name).title).click()
        tab.wait_for_function("name => location.pathname === '/' + name", arg="" if name == "overview" else name)
        tab.get_by_role("heading", level=1).first.wait_for()
        settle(tab)
        tab.evaluate(AXE)
        for theme, rules in zip(themes, ways, strict=False):
            tab.emulate_media(color_scheme=theme)
            tab.wait_for_function(SCHEME, arg=theme)
            settle(tab, 0.2)
            found[name, theme] = tab.evaluate(RUN, rules)
        themes.reverse()
        tab.set_viewport_size({"width": 720, "height": 450})
        settle(tab, 0.2)
        found[name, "cut at 200 %"] = max(0, tab.evaluate(WIDE))
    assert {where: faults for where, faults in found.items() if faults} == {}


def test_a_threshold_a_pair_and_a_label_by_keyboard_alone(app, store, tab):
    """From the top of *Inspect* Tab leads to the query, a threshold's line, a card; arrow keys and Enter act."""
    tab.goto(f"{app(store.root)}/inspect")
    tab.locator(".ubt-card.chosen").wait_for()
    settle(tab)
    reached = []
    for _ in range(120):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate("() => { const e = document.activeElement; return e.className + ' ' + (e.ariaLabel || ''); }")
        )
        if "ubt-card" in reached[-1]:
            break
    assert any("Selection: a query" in name for name in reached)
    assert any("ubt-line" in name for name in reached)
    before = tab.locator(".ubt-card.chosen").get_attribute("data-pair")
    tab.keyboard.press("Tab")
    wanted = tab.evaluate("document.activeElement.dataset.pair")
    assert wanted != before
    tab.keyboard.press("Enter")
    tab.locator(f".ubt-card.chosen[data-pair='{wanted}']").wait_for()
