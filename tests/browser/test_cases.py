"""The page Cases in a real Chromium: find a case, pin it, rename it, compare it with another, open it, delete it."""

import re
from urllib.parse import parse_qs, urlsplit

from harness import no_traceback, press
from tiny import CPU, tiny

from ubt.cases import demo
from ubt.cases.marks import Mark, mark
from ubt.cases.pipeline import create
from ubt.cli.app_in_browser import settle

HEAD, ROW = 35, 35
"""Pixels of the table's head and of a row."""


def tick(tab, row: int) -> None:
    """Click the box at the left of a row."""
    settle(tab)
    box = tab.locator("[data-testid=stDataFrame]").first.bounding_box()
    tab.mouse.click(box["x"] + 18, box["y"] + HEAD + ROW * row + ROW / 2)
    settle(tab)


def shown(tab) -> list[str]:
    """The titles in the table, as a screen reader has them."""
    settle(tab)
    cells = tab.locator("[data-testid=stDataFrame] table [role=gridcell]").all_text_contents()
    return [cell for cell in cells if re.search("seed|mine", cell)]


def address(tab, name: str) -> str:
    return parse_qs(urlsplit(tab.url).query).get(name, [""])[0]


def test_find_pin_rename_compare_open_and_delete(app, full, tiny_case, tab):
    every = 3 + len(demo.names())
    others = [create(full, tiny(seed=seed), CPU) for seed in (7, 8)]
    tab.goto(f"{app(full.root)}/?case={tiny_case.name}")
    tab.get_by_role("link", name=f"All cases ({every})").click()
    tab.get_by_role("heading", level=1, name="Cases").wait_for()
    assert len(shown(tab)) >= 3
    tab.get_by_label("Find").fill("finished")
    tab.keyboard.press("Enter")
    tab.get_by_text(f"1 of {every} cases").wait_for()
    assert address(tab, "find") == "finished"
    tick(tab, 0)
    tab.get_by_text("1 chosen").wait_for()
    press(tab, "Pin")
    tab.get_by_role("button", name="Unpin").wait_for()
    press(tab, "Rename…")
    dialog = tab.get_by_role("dialog")
    dialog.get_by_label("Title").fill("mine <b>*x*</b>")
    tab.keyboard.press("Tab")
    dialog.get_by_role("button", name="Rename", exact=True).click()
    dialog.wait_for(state="detached")
    assert mark(full, tiny_case.name) == Mark(title="mine <b>*x*</b>", pinned=True)
    assert shown(tab) == ["mine <b>*x*</b>"]
    tab.get_by_label("Find").fill("")
    tab.keyboard.press("Enter")
    tab.get_by_text(f"1 of {every} cases").wait_for(state="detached")
    assert shown(tab)[0] == "mine <b>*x*</b>"
    tick(tab, 1)
    tab.get_by_text("Settings that differ: 1").wait_for()
    assert address(tab, "compare") == f"{tiny_case.name},{others[1]}"
    tab.reload()
    tab.get_by_text("Settings that differ: 1").wait_for()
    tab.get_by_text("2 chosen").wait_for()
    press(tab, "Clear")
    tab.get_by_text("Choose rows by their boxes").wait_for()
    assert not address(tab, "compare")
    tick(tab, 1)
    press(tab, "Delete…")
    tab.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    tab.get_by_role("link", name=f"All cases ({every - 1})").wait_for()
    assert set(full.names()) == {tiny_case.name, others[0]}
    tick(tab, 0)
    press(tab, "Open this case")
    tab.get_by_role("heading", level=1, name="Overview").wait_for()
    assert address(tab, "case") == tiny_case.name
    tab.get_by_text("mine <b>*x*</b>").first.wait_for()
    no_traceback(tab)
