"""What a user does on the page and Streamlit does not report: a range brushed or a lasso drawn on a chart, as its
outline and not as a list of points, and a card clicked in a grid.
"""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from ubt.ui import web


def listen(
    charts: tuple[str, ...],
    on_outline: Callable[[str, list[float], list[float]], None],
    on_click: Callable[[str | int, bool], None],
) -> None:
    """Call back when something is drawn on one of the charts, by their keys, or a pair is clicked in a grid.

    Args:
        on_outline: called with the chart's key and the outline's x and y; both empty when it was cleared by a double
            click. on_click: called with a pair's id, or the row of a point that was clicked, and whether Shift or Ctrl
            was held.
    """

    def report() -> None:
        event = st.session_state["bridge"]
        if (outline := event.get("outline")) and outline["chart"] in charts:
            on_outline(outline["chart"], outline["x"], outline["y"])
        if pair := event.get("clicked"):
            on_click(int(pair["row"]) if "row" in pair else str(pair["id"]), bool(pair["add"]))

    component = st.components.v2.component("ubt_bridge", js=web.text("chart_events.js"))
    component(key="bridge", data={"charts": list(charts)}, on_outline_change=report, on_clicked_change=report)


def fetch_ahead() -> None:
    """Have the browser read what draws charts while the first page is looked at; the first chart then comes a second
    sooner.
    """
    scripts = [path.name for path in (Path(st.__file__).parent / "static" / "static" / "js").glob("PlotlyChart.*.js")]
    component = st.components.v2.component("ubt_fetch_ahead", js=web.text("fetch_ahead.js"))
    component(key="fetch-ahead", data={"scripts": scripts}, height=0)
