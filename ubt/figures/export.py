"""A figure as files: a page of HTML that needs nothing beside it, and PNG and SVG of a plotly figure."""

import html
from base64 import b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

import plotly.graph_objects as go

from ubt.core.chromium import browser
from ubt.core.errors import UbtError

WIDTH = 1200
"""Width of a plotly figure's picture, in pixels; a PNG has twice as many."""


def page(body: str, title: str, source: str) -> str:
    """A figure, as HTML, on a page with its title and what it shows."""
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
    heading = f"<h1>{html.escape(title)}</h1>" + (f"\n<p>{html.escape(source)}</p>" if source else "")
    return f'{head}\n<body style="font-family:sans-serif;margin:1.5rem">\n{heading}\n{body}\n</body></html>\n'


def chart_page(figure: go.Figure, title: str, source: str) -> str:
    """A plotly figure as such a page."""
    return page(_printed(figure).to_html(full_html=False, include_plotlyjs=True), title, source)


def pictures(figure: go.Figure, kinds: Sequence[str]) -> dict[str, bytes]:
    """A plotly figure as `PNG` or `SVG`, by kind; drawn in Chromium without a network, for nothing else draws what
    plotly draws.

    Raises:
        UbtError: there is no Chromium on this machine, or it did not draw.
    """
    with ThreadPoolExecutor(1) as alone:  # playwright refuses a thread that has an event loop
        return alone.submit(_drawn, figure, kinds).result()


def _drawn(figure: go.Figure, kinds: Sequence[str]) -> dict[str, bytes]:
    from playwright.sync_api import Error
    from plotly.offline import get_plotlyjs

    made = {}
    try:
        with browser() as b:
            tab = b.new_context(offline=True).new_page()
            tab.set_content(f"<!doctype html><meta charset='utf-8'><script>{get_plotlyjs()}</script>")
            for kind in kinds:
                wanted = {
                    "format": kind.lower(),
                    "width": WIDTH,
                    "height": figure.layout.height,
                    "scale": 2 if kind == "PNG" else 1,
                }
                url = tab.evaluate(
                    "([figure, wanted]) => Plotly.toImage(JSON.parse(figure), wanted)",
                    [_printed(figure).to_json(), wanted],
                )
                head, content = url.split(",", 1)
                made[kind] = b64decode(content) if head.endswith("base64") else unquote_to_bytes(content)
    except Error as e:
        raise UbtError(
            f"Chromium did not draw the figure ({str(e).splitlines()[0]}); try another one, named in UBT_CHROMIUM"
        ) from None
    return made


def _printed(figure: go.Figure) -> go.Figure:
    return go.Figure(figure).update_layout(template="plotly_white", paper_bgcolor="white")
