"""Inspect: histograms, map, grid and the chosen pair on one screen, by one selection.

Brush a histogram or draw a lasso on the map, and everything shows what you selected. Drag a threshold's line and see
what it catches. Click a pair to see its words, its patches and its nearest pairs; 1, 2 and 3 label it and go on to the
next. Each part has a page of its own, where it is drawn large.
"""

import numpy as np
import streamlit as st

from ubt.pairs.table import PairTable
from ubt.ui import apply, map_view, pair_panel, pair_picker, pairs, selection, thresholds, tuning
from ubt.ui.errors import guard
from ubt.ui.job_panel import needs
from ubt.ui.map_view import Look
from ubt.ui.navigation import PAGES, current, heading

MAP, SCROLLED = 388, 388
"""Heights in pixels: of the map, and of what scrolls beside it."""

view = current()
with st.container(horizontal=True, vertical_alignment="center"):
    heading("inspect", compact=True)
    if view and view.has("attack"):
        selection.truth_toggle()
    st.page_link(PAGES["separation"], label="Histograms, large", icon=":material/open_in_full:")


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view, live=True)
    st.session_state["inspected"] = selected.text
    _thresholds()
    left, right = st.columns([2, 3], gap="small")
    with left:
        look = _map(table, selected.rows)
    axes = {f"chart-{name}": name for name in table.similarities()} | ({} if look is None else map_view.axes(look))
    with right:
        _pairs(look)
    selection.listen_to_outlines(axes)


@st.fragment
@guard()
def _thresholds() -> None:
    """The histograms with the sliders; drawn again alone while a threshold moves."""
    table = selection.pairs_shown(view)
    selected, mixture = selection.standing(table), pairs.mixture(view, table)
    with st.container(key="thresholds", gap="xsmall"):
        above = st.container()
        chosen, columns = tuning.sliders(view, table, mixture)
        caught, _ = tuning.caught(view, table, chosen)
        thresholds.counted(table, caught, mixture, columns)
        with above:
            thresholds.histograms(
                view, table, caught, chosen.threshold, among=None, selected=selected.rows, whole=False, small=True
            )
        apply.thresholds(view, table, chosen, caught)


def _map(table: PairTable, selected: np.ndarray | None) -> Look | None:
    """The map under one model."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Map**")
        controls = st.popover("Look", icon=":material/tune:")
        st.page_link(PAGES["map"], label="Map, large", icon=":material/open_in_full:")
    with controls:
        space = map_view.space_chosen()
    options = map_view.options(view, table, space)
    if options is None:
        return None
    with controls:
        colour, models = map_view.colour_chosen(st, table), options["models"]
        model = st.selectbox(
            "Under", models, max(0, len(models) - 2), key=f"map-under-{view.name}", format_func=view.model_title
        )
        extras = map_view.extras(selected is not None)
    look = Look(space, (model,), colour, **extras)
    map_view.draw(view, table, selected, look, MAP)
    map_view.hover(view, (f"map-{model}",))
    return look


@st.fragment
@guard()
def _pairs(look: Look | None) -> None:
    """The grid and the chosen pair; drawn again alone while one is chosen or labelled."""
    table = selection.pairs_shown(view)
    before, selected = selection.current(), selection.standing(table)
    if st.session_state.get("inspected", before) != before:
        st.rerun()
    grid_at, panel_at = st.columns(2, gap="small")
    with panel_at:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            pair = pair_picker.choose_pair(view, table, selected, label="collapsed")
        panel = st.container(height=SCROLLED, border=False)
    with grid_at, st.container(height=SCROLLED + 48, border=False):
        pair_panel.grid(view, table, selected, pair)
    st.session_state["reviewed"] = pair
    if pair is not None:
        with panel:
            pair_panel.panel(view, table, pair, _following(table, selected, pair))
            with st.container(horizontal=True, gap="small"):
                pair_picker.links(view, pair, tokens="Tokens", neighbours="Neighbours")
                st.page_link(PAGES["review"], label="Review", icon=":material/open_in_full:")
    axes = {} if look is None else map_view.axes(look)
    selection.listen_to_clicks(axes, table, alone=True)
    if look is not None and pair is not None:
        map_view.ring(table, look, [pair])


def _following(table: PairTable, selected: selection.Selection, pair: str) -> str | None:
    """The next pair on offer that is not labelled."""
    some = table.frame(pair_picker.offered(table, selected), ["id", "label"])
    ids, waiting = some["id"].tolist(), some["label"].isna().to_numpy()
    at = ids.index(pair) if pair in ids else -1
    return next((i for i, w in zip(ids[at + 1 :], waiting[at + 1 :], strict=True) if w), None)


needs(view, "score", "The pairs have not been scored yet.", explore)
