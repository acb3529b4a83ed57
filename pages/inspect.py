"""Inspect: histograms, map, grid and the chosen pair on one screen, by one selection.

Brush a histogram or draw a lasso on the map, and everything shows what you selected. Drag a threshold's line and see
what it catches. Click a pair to see its words, its patches and its nearest pairs; 1, 2 and 3 label it and go on to the
next. Each part has a page of its own, where it is drawn large.
"""

import contextlib

import streamlit as st

from ubt.pairs.table import PairTable
from ubt.ui import apply, charts, map_view, pair_panel, pair_picker, pairs, selection, thresholds, tuning
from ubt.ui.errors import guard
from ubt.ui.follow import follow
from ubt.ui.job_panel import needs
from ubt.ui.map_view import Look
from ubt.ui.navigation import PAGES, current, heading
from ubt.ui.selection import Selection

MAP, SCROLLED = 388, 388
"""Heights in pixels: of the map, and of what scrolls beside it."""
BAR = "bar"
"""The part that takes what is drawn on charts."""

view = current()
with st.container(horizontal=True, vertical_alignment="center"):
    heading("inspect", compact=True)
    if view and view.has("attack"):
        selection.truth_toggle()
    st.page_link(PAGES["separation"], label="Histograms, large", icon=":material/open_in_full:")


def explore() -> None:
    """The parts, each drawn alone when it has to be; the bar is drawn last, for it listens to the others' charts."""
    bar = st.container(key=selection.BAR)
    _thresholds()
    left, right = st.columns([2, 3], gap="small")
    with left:
        _map()
    with right:
        _pairs()
    with bar:
        _bar()


def _follow(part: str, selected: Selection | None, *shows: str) -> None:
    """Let a part be drawn again when something that it shows has changed in another; even one that could not be drawn,
    whose selection is None.
    """
    anything = selected is not None and selected.rows is not None
    text = selection.current() if selected is None else selected.text
    now = {"selection": text, "anything": anything, "look": _look(), "labels": pairs.version(view)}
    follow(part, now, shows, BAR)


@st.fragment
def _bar() -> None:
    """The selection's bar, what is selected laid over all charts, and the listener to what is drawn on them."""
    selected = None
    with guard():
        table, look = selection.pairs_shown(view), _look()
        selected = selection.bar(view, table, at=contextlib.nullcontext(), live=True)
        charts.veil(
            "veil",
            selected.rows,
            maps=[] if look is None else map_view.keys(table, look),
            curves=thresholds.shares(view, table, selected.rows),
        )
        axes = {f"chart-{name}": name for name in table.similarities()}
        selection.listen_to_outlines(axes | ({} if look is None else map_view.axes(look)))
    _follow(BAR, selected, "selection", "look", *_labels(selected))


def _labels(selected: Selection | None) -> list[str]:
    """What a part shows that changes with labels, because the query asks for them."""
    return ["labels"] if selected is not None and selected.names & {"label", "note"} else []


@st.fragment
@guard()
def _thresholds() -> None:
    """The histograms with the sliders; drawn again while a threshold moves."""
    table = selection.pairs_shown(view)
    mixture = pairs.mixture(view, table)
    with st.container(key="thresholds", gap="xsmall"):
        above = st.container()
        chosen, columns = tuning.sliders(view, table, mixture)
        caught, _ = tuning.caught(view, table, chosen)
        thresholds.counted(table, caught, mixture, columns)
        with above:
            thresholds.histograms(
                view, table, caught, chosen.threshold, among=None, selected={}, whole=False, small=True
            )
        apply.thresholds(view, table, chosen, caught)


def _look() -> Look | None:
    """How the map is looked at; None while there is none."""
    return st.session_state.get("look", {}).get(view.name)


@st.fragment
def _map() -> None:
    """The map under one model; drawn again when it is looked at in another way."""
    selected = look = None
    with guard():
        selected, look = _mapped()
    st.session_state["look"] = {view.name: look}
    near = look is not None and look.near
    labels = ["labels"] if look is not None and look.colour == "label" else _labels(selected) if near else []
    _follow("map", selected, "selection" if near else "anything", *labels)


def _mapped() -> tuple[Selection, Look | None]:
    """Draw the map; what is selected, and how it is looked at."""
    table = selection.pairs_shown(view)
    selected, look = selection.standing(table), None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Map**")
        controls = st.popover("Look", icon=":material/tune:")
        st.page_link(PAGES["map"], label="Map, large", icon=":material/open_in_full:")
    with controls:
        space = map_view.space_chosen()
    options = map_view.options(view, table, space)
    if options is not None:
        with controls:
            colour, models = map_view.colour_chosen(st, table), options["models"]
            model = st.selectbox(
                "Under", models, max(0, len(models) - 2), key=f"map-under-{view.name}", format_func=view.model_title
            )
            look = Look(space, (model,), colour, **map_view.extras(selected.rows is not None))
        map_view.draw(view, table, selected.rows, look, MAP)
        map_view.hover(view, (f"map-{model}",))
    return selected, look


@st.fragment
def _pairs() -> None:
    """The grid and the chosen pair; drawn again when one is chosen or labelled, or others are selected."""
    selected = None
    with guard():
        table, look = selection.pairs_shown(view), _look()
        selected = selection.standing(table)
        pair = _chosen(table, selected)
        axes = {} if look is None else map_view.axes(look)
        selection.listen_to_clicks(axes, table, alone=True)
        if look is not None and pair is not None:
            map_view.ring(table, look, [pair])
    _follow("pairs", selected, "selection", "look", "labels")


def _chosen(table: PairTable, selected: Selection) -> str | None:
    """Draw the grid and the chosen pair; which it is."""
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
    return pair


def _following(table: PairTable, selected: Selection, pair: str) -> str | None:
    """The next pair on offer that is not labelled."""
    some = table.frame(pair_picker.offered(table, selected), ["id", "label"])
    ids, waiting = some["id"].tolist(), some["label"].isna().to_numpy()
    at = ids.index(pair) if pair in ids else -1
    return next((i for i, w in zip(ids[at + 1 :], waiting[at + 1 :], strict=True) if w), None)


needs(view, "score", "The pairs have not been scored yet.", explore)
