"""What a user does on the page and Streamlit does not report: a range brushed or a lasso drawn on a chart, as its
outline and not as a list of points, and a card clicked in a grid.
"""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ubt.ui import web


def outlines(charts: tuple[str, ...], on_outline: Callable[[str, list[float], list[float]], None]) -> None:
    """Call back when something is drawn on one of the charts, by their keys, with the chart's key and the outline's x
    and y; both empty when it was cleared by a double click.
    """

    def report() -> None:
        if (outline := st.session_state["outlines"].get("outline")) and outline["chart"] in charts:
            on_outline(outline["chart"], outline["x"], outline["y"])

    component = st.components.v2.component("ubt_outlines", js=web.text("outlines.js"))
    component(key="outlines", data={"charts": list(charts)}, on_outline_change=report)


def clicks(charts: tuple[str, ...], on_click: Callable[[str | int, bool], None]) -> None:
    """Call back when a pair is clicked in a grid, or a point on one of the charts, with the pair's id, or the point's
    row, and whether Shift or Ctrl was held.
    """

    def report() -> None:
        if pair := st.session_state["clicks"].get("clicked"):
            on_click(int(pair["row"]) if "row" in pair else str(pair["id"]), bool(pair["add"]))

    component = st.components.v2.component("ubt_clicks", js=web.text("clicks.js"))
    component(key="clicks", data={"charts": list(charts)}, on_clicked_change=report)


def fetch_ahead() -> None:
    """Have the browser read what draws charts while the first page is looked at; the first chart then comes a second
    sooner.
    """
    scripts = [path.name for path in (Path(st.__file__).parent / "static" / "static" / "js").glob("PlotlyChart.*.js")]
    component = st.components.v2.component("ubt_fetch_ahead", js=web.text("fetch_ahead.js"))
    component(key="fetch-ahead", data={"scripts": scripts}, height=0)
