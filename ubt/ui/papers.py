"""The papers' figures on the page: made of cases of this cache, with the button that computes what is missing, and to save."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from ubt.browser import chromium
from ubt.cases import Store
from ubt.config import Compute
from ubt.pipeline import every_key, standing
from ubt.tables import FIGURES
from ubt.tables.figure import KINDS, Figure
from ubt.ui import html
from ubt.ui.case import compute, store
from ubt.ui.guard import guard, plain
from ubt.ui.panel import each


@st.fragment
@guard()
def paper_figures(names: Sequence[str]) -> None:
    """Some of the paper's figures, one at a time; needs no open case."""
    said = f"{', '.join(names[:-1])} and {names[-1]}"
    inside = st.expander(f"The paper's figures {said}, from cases of this cache", key="papers", bind="query-params")
    if inside.open:
        with inside:
            _figure(names)


@st.cache_data(max_entries=8, show_spinner="Reading the figure's cases…")
def _measured(root: str, name: str, seed: int, made_of: tuple[tuple[str, str], ...], _where: Compute) -> pd.DataFrame:
    return FIGURES[name].measured(Store(Path(root)), _where, seed)


@st.cache_data(max_entries=8, show_spinner="Drawing…")
def _png(root: str, name: str, seed: int, made_of: tuple[tuple[str, str], ...], _frame: pd.DataFrame) -> bytes:
    return FIGURES[name].pictured(_frame, ["PNG"])["PNG"]


def _figure(names: Sequence[str]) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    key = f"paper-figure-{names[0]}"
    name = left.segmented_control("Figure", names, format_func=lambda n: FIGURES[n].title, default=names[0], required=True, key=key, persist_state="session")
    seed = right.number_input("Seed", 0, 2**31, 0, key="paper-seed", persist_state="session")
    figure = FIGURES[name]
    st.caption(f"{plain(figure.source)} The same as python -m ubt figure {name}.")
    where, work = compute(), figure.work(seed)
    made_of = tuple((every_key(case, where)[until], standing(store(), case, where, until=until)[0]) for case, until in work)
    frame = _measured(str(store().root.resolve()), name, seed, made_of, where)
    if figure.chart:
        st.plotly_chart(figure.drawn(frame), key=f"paper-chart-{name}", config={"displayModeBar": False}, alt=figure.title)
    else:
        st.image(_png(str(store().root.resolve()), name, seed, made_of, frame), width=760)
    each(f"figure-{name}-{seed}", work, "cases of this figure")
    with st.expander("The figure in numbers"):
        html.table(*figure.lines(frame))
    _save(figure, frame, name)


def _save(figure: Figure, frame: pd.DataFrame, name: str) -> None:
    kinds = [kind for kind in KINDS if chromium() or not figure.chart or kind not in ("PNG", "SVG")]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control("Save as", kinds, default=kinds[0], required=True, key=f"paper-kind-{len(kinds)}", persist_state="session")
        st.download_button(
            "Save", lambda: figure.saved(frame, [kind])[kind], f"figure-{name}.{kind.lower()}", KINDS[kind], icon=":material/download:", key="paper-save",
            on_click="ignore",
        )  # fmt: skip
    if len(kinds) < len(KINDS):
        st.caption("PNG and SVG need Chromium on the app's machine (Debian: apt-get install chromium, or name one in UBT_CHROMIUM).")
