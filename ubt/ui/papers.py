"""The papers' figures on the page: made of cases of this cache, with the button that computes what is missing."""

from collections.abc import Sequence

import streamlit as st

from ubt.figures.panels import panels
from ubt.tables import FIGURES
from ubt.ui import html
from ubt.ui.case import compute, store
from ubt.ui.guard import guard, plain
from ubt.ui.panel import each


@st.fragment
@guard()
def paper_figures(names: Sequence[str] = ("3", "4", "6", "7")) -> None:
    """The paper's figures of separation, one at a time; needs no open case."""
    inside = st.expander("The paper's figures 3, 4, 6 and 7, from cases of this cache", key="papers", bind="query-params")
    if inside.open:
        with inside:
            _figure(names)


def _figure(names: Sequence[str]) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    name = left.segmented_control(
        "Figure", names, format_func=lambda n: FIGURES[n].title, default=names[0], required=True, key="paper-figure", persist_state="session"
    )
    seed = right.number_input("Seed", 0, 2**31, 0, key="paper-seed", persist_state="session")
    figure = FIGURES[name]
    st.caption(f"{plain(figure.source)} The same as python -m ubt figure {name}.")
    frame = figure.measured(store(), compute(), seed)
    st.plotly_chart(panels(frame, figure.columns), key=f"paper-chart-{name}", config={"displayModeBar": False}, alt=figure.title)
    each(f"figure-{name}-{seed}", figure.work(seed), "cases of this figure")
    with st.expander("The figure in numbers"):
        html.table(*figure.lines(frame))
        st.download_button("Save as CSV", figure.csv(frame), f"figure-{name}.csv", "text/csv", icon=":material/download:", key="paper-csv", on_click="ignore")
