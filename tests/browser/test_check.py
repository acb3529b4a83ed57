"""Checking one's own model in a real Chromium: from dropped files to a running audit, with a reload on the way."""

import re

from harness import no_traceback, press

from ubt.cases.settings import CaseSettings
from ubt.cli.app_in_browser import settle
from ubt.core.files import REFERENCE

HOSTILE = '"><img src=x onerror=alert(1)> [a](http://evil.example).zip'


def step(tab, number: int):
    """A step of the page."""
    return tab.locator("[data-testid=stExpander]").filter(has=tab.locator("summary", has_text=f"{number} ·"))


def complete(tab, number: int, said: str) -> None:
    step(tab, number).locator("summary", has_text="complete").filter(has_text=said).wait_for()


def drop(tab, number: int, *files) -> None:
    step(tab, number).locator("input[type=file]").first.set_input_files(list(files))


def test_from_dropped_files_to_a_running_audit(app, store, tab, tiny_audit):
    pairs, suspect = tiny_audit[2], tiny_audit[2].parent / "suspect"
    tab.goto(f"{app(store.root)}/check")
    step(tab, 1).get_by_text("Drop a file of pairs").wait_for()
    drop(tab, 1, {"name": HOSTILE, "mimeType": "application/zip", "buffer": pairs.read_bytes()})
    step(tab, 1).get_by_text("recognised").wait_for()
    press(tab, "Import pairs")
    complete(tab, 1, "600 of 600 pairs can be used")

    step(tab, 2).get_by_text("Drop a checkpoint").wait_for()
    drop(tab, 2, *(str(suspect / name) for name in ("open_clip_model.safetensors", "open_clip_config.json")))
    press(tab, "Import the model")
    complete(tab, 2, "48 px")
    settle(tab)
    tab.wait_for_url(re.compile("pairs=pairs-.*model=model-|model=model-.*pairs=pairs-"))

    tab.reload()
    complete(tab, 1, "600 of 600 pairs can be used")
    complete(tab, 2, "48 px")
    tab.get_by_text("Next: reference").wait_for()
    path = step(tab, 3).get_by_role("textbox", name="Or its path on this machine, or a public name")
    path.fill(str(REFERENCE))
    path.press("Enter")
    press(tab, "Import the model")
    complete(tab, 3, "healthy, it knows these pairs")

    step(tab, 5).get_by_text("It cannot tell you").wait_for()
    step(tab, 5).get_by_text("Takes ").first.wait_for()
    assert "no verdict" not in step(tab, 5).inner_text()
    settle(tab)
    press(tab, "Run")
    tab.get_by_role("heading", level=1, name="Overview").wait_for()
    tab.get_by_text("The answer will be one of three").wait_for()
    tab.locator(".stMarkdownBadge", has_text="running").wait_for()
    press(tab, "Cancel")
    tab.locator(".stMarkdownBadge", has_text="cancelled").wait_for()
    no_traceback(tab)
    (name,) = store.names()
    settings = CaseSettings.from_dict(store.record(name).settings)
    assert settings.own.audits and settings.own.reference
    assert (settings.data.pairs, settings.select.k) == (600, 4)
