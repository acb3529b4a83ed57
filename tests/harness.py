"""A page through Streamlit's own test harness, and what it shows; hands in a real browser."""

import functools
import json
from pathlib import Path

from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from ubt.cli.app_in_browser import settle

ROOT = Path(__file__).parents[1]
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
"""The harness starts a server a test, and each reads the metadata of all installed packages, as long as a page takes.
"""


def page(name: str, **query) -> AppTest:
    """A page as a link to it opens it, or the first one."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for k, v in query.items():
        at.query_params[k] = v
    if name != "overview":
        at.switch_page(f"pages/{name}.py")
    at.run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    return " ".join(
        str(e.value)
        for kind in (at.markdown, at.caption, at.info, at.error, at.warning, at.success, at.title, at.subheader)
        for e in kind
    )


def html_of(at: AppTest) -> str:
    return " ".join(h.proto.body for h in at.get("html"))


def charts(at: AppTest) -> list[dict]:
    return [json.loads(e.proto.spec) for e in at.get("plotly_chart")]


def slider(at: AppTest, name: str):
    """A threshold's slider, `fraction`, `threshold` or `k`, of whichever case is in view."""
    return next(s for s in at.slider if (s.key or "").startswith(f"{name}-"))


def press(tab, name: str) -> None:
    tab.get_by_role("button", name=name, exact=True).click()


def go(tab, name: str) -> None:
    tab.get_by_role("link", name=name).click()
    tab.get_by_role("heading", level=1, name=name).wait_for()


def counts(tab) -> str:
    return tab.locator(".ubt-table").first.inner_text()


def finished(tab) -> None:
    tab.locator(".stMarkdownBadge", has_text="finished").wait_for()


def no_traceback(tab) -> None:
    assert "Traceback" not in tab.locator("body").inner_text()


def said(tab) -> str:
    settle(tab)
    return tab.locator(".st-key-said").inner_text().strip()


def drag(tab, chart: str, corners: list[tuple[float, float]]) -> None:
    """Draw on a chart, corners as shares of its width and height, once the page listens to it."""
    tab.wait_for_function("key => document.querySelector(`.st-key-${key} .js-plotly-plot`)?.ubtOutlines", arg=chart)
    settle(tab)
    box = tab.locator(f".st-key-{chart} .nsewdrag").bounding_box()
    points = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    tab.mouse.move(*points[0])
    tab.mouse.down()
    for point in points[1:]:
        tab.mouse.move(*point, steps=4)
    tab.mouse.up()


def rule_of(tab) -> str:
    return tab.locator(".st-key-rule input").input_value()
