"""The map of the pairs: which one is there, how it is looked at, and the drawing. Drawn large on *Map* and as a part of
*Inspect*.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ubt.figures import projection
from ubt.pairs import neighbors
from ubt.pairs.table import PairTable
from ubt.ui import charts, controls, costs, images, pairs, search, selection, web
from ubt.ui.components import png
from ubt.ui.errors import guard
from ubt.ui.job_panel import build, missing
from ubt.ui.view import View, store

DRAWN = 50_000
"""Points that are drawn; a lasso selects among all pairs."""
HEIGHT = 620
"""Of one map, in pixels; the selection scrolls beside it."""
SIDE_BY_SIDE = 460
"""Of several maps."""
GROUPS = ("cluster", "label", "flagged", "group", "suspicious", "poisoned")
"""Columns that colour the points by kind."""
NAMED = 10
"""Clusters that are named, the largest."""
READ = 400
"""Captions of a cluster that are read for its name."""
RINGED = 20
"""Pairs that are ringed at most."""
SAID = 0.3
"""Share of a cluster's captions that a word of its name stands in, at least."""


@dataclass(frozen=True)
class Look:
    """How the map is looked at: by which embeddings, the models in view, the column that colours, how far the first
    model's places have moved to the second's (0 to 1; None: side by side), and what is drawn beside the points.
    """

    space: str
    models: tuple[str, ...]
    colour: str
    blend: float | None = None
    near: bool = False
    names: bool = False
    density: bool = False


def space_chosen(where: Any = st) -> str:
    """Which embeddings the map is of."""
    return controls.choice("By", neighbors.SPACES, "space", where, default="joint", bind="query-params")


def options(view: View, table: PairTable, space: str) -> dict[str, Any] | None:
    """The options of the map that is drawn; None where there is none yet, and the page offers to make one."""
    found, complete = pairs.map_options(view, space), pairs.map_options(view, space, complete=True)
    if found is None:
        missing(view, "score", "No model has embedded the pairs yet.")
        return None
    models, total = found["models"], len(table)
    seconds = 10 + len(models) * min(total, found["landmarks"]) / 1500 + ("purified" in models) * total / 2000
    if store().find(pairs.map_key(view, space)) is None:
        needed, cost = f"There is no map of the {space} embeddings yet.", costs.of_seconds(seconds)
        return found if build(view, "map", found, needed, "Draw the map", cost) else None
    if found != complete and st.toggle("Draw it again with the models trained since", key="whole"):
        wait = "The map below stays until then, and places may differ."
        build(view, "map", complete, wait, "Draw the map again", costs.of_seconds(seconds))
    return found


def colour_chosen(where: Any, table: PairTable) -> str:
    """The column that colours the points; the truth first, where it may be shown."""
    columns = [*table.similarities(), *(n for n in GROUPS if n in table)]
    first = next(n for n in ("poisoned", "similarity_overfit", columns[0]) if n in columns)
    return where.selectbox(
        "Colour by",
        columns,
        index=columns.index(first),
        key="colour",
        bind="query-params",
        format_func=lambda n: n.replace("_", " "),
    )


def extras(selected: bool) -> dict[str, bool]:
    """The switches of what is drawn beside the points, and of the zoom where something is `selected`."""
    about = "The words that most captions of a cluster share, at its middle"
    return {
        "near": selected and controls.toggle("Zoom to the selection", False, "map-near", bind="query-params"),
        "names": controls.toggle("Names of clusters", False, "map-names", about, bind="query-params"),
        "density": controls.toggle("Density", False, "map-density", "Each line is twice as dense", bind="query-params"),
    }


@st.cache_data(max_entries=8, show_spinner=False)
def _names(keys: tuple, space: str, _table: PairTable, _cluster: np.ndarray) -> dict[int, str]:
    """The largest clusters, each with the commonest words of its captions."""
    counts = np.bincount(_cluster[_cluster >= 0].astype(int)) if (_cluster >= 0).any() else np.zeros(0, int)
    named = {}
    for number in np.argsort(-counts, kind="stable")[:NAMED]:
        members = np.flatnonzero(_cluster == number)
        some = np.random.default_rng(0).choice(members, min(READ, len(members)), replace=False)
        words = search.common_words(_table.frame(np.sort(some), ["caption"])["caption"], 2, SAID)
        if words:
            named[int(number)] = " ".join(words)
    return named


def places(table: PairTable, look: Look) -> dict[str, np.ndarray]:
    """Where every pair is drawn (n, 2), under each model; of two that are blended, between both."""
    xy = {m: np.stack([table[f"map_{look.space}_{m}_{axis}"] for axis in "xy"], axis=1) for m in look.models}
    if look.blend is None or len(xy) != 2:
        return xy
    first, second = xy
    return {first if look.blend < 0.5 else second: (1 - look.blend) * xy[first] + look.blend * xy[second]}


def axes(look: Look) -> dict[str, str]:
    """What `selection.listen` needs of the maps: of a blend only where it shows one model's own places."""
    if look.blend is None or len(look.models) != 2:
        return {f"map-{m}": f"map_{look.space}_{m}" for m in look.models}
    shown = look.models[look.blend >= 0.5]
    return {f"map-{shown}": f"map_{look.space}_{shown}"} if look.blend in (0, 1) else {}


def keys(table: PairTable, look: Look) -> list[str]:
    """The keys of the maps that are drawn."""
    return [f"map-{model}" for model in places(table, look)]


def draw(view: View, table: PairTable, selected: np.ndarray | None, look: Look, height: int = 0) -> None:
    """The maps, side by side, or one between two models.

    Args:
        selected: which pairs are selected (n,); None while nothing is. height: of each in pixels, 0: as on *Map*.
    """
    rows, found = pairs.sampled(view, table, DRAWN), places(table, look)
    for column, (model, xy) in zip(st.columns(len(found)), found.items(), strict=True):
        with column:
            title = view.model_title(model)
            if look.blend is not None:
                title = " to ".join(view.model_title(m) for m in look.models)
            if not height:
                st.markdown(f"**{title[0].upper()}{title[1:]}**")
            tall = height or (HEIGHT if len(found) == 1 else SIDE_BY_SIDE)
            about = f"Map of the pairs under the {title}, coloured by {look.colour}"
            make = partial(_figure, view, table, xy, rows, look, tall, selected if look.near else None)
            tools = {"displaylogo": False, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}
            if look.colour == "label" or look.blend not in (None, 0, 1) or (look.near and selected is not None):
                charts.draw(make(), f"map-{model}", about, config=tools)
            else:
                of = (*pairs.keys(view), pairs.map_key(view, look.space), model, replace(look, near=False), tall)
                charts.draw_kept(of, make, f"map-{model}", about, config=tools)
    if len(table) > len(rows):
        st.caption(
            f"{len(rows):,} of {len(table):,} pairs are drawn, every flagged one among them; a lasso selects among all."
        )


def _figure(
    view: View, table: PairTable, xy: np.ndarray, rows: np.ndarray, look: Look, height: int, near: np.ndarray | None
) -> go.Figure:
    """One map; `near`: the pairs (n,) that it is zoomed to."""
    cluster = table[f"cluster_{look.space}"]
    values = cluster if look.colour == "cluster" else table[look.colour]
    figure = projection.scatter(xy, values, look.colour, rows, height)
    if look.density:
        some = np.random.default_rng(0).choice(len(xy), min(DRAWN, len(xy)), replace=False)
        projection.with_density(figure, xy[some])
    if look.names:
        named = _names((view.key("data"), pairs.map_key(view, look.space)), look.space, table, cluster)
        middles = [np.nanmedian(xy[cluster == number], axis=0) for number in named]
        projection.named(figure, np.array(middles).reshape(-1, 2), list(named.values()))
    if near is not None:
        projection.zoomed(figure, xy, near)
    if look.blend is not None and not axes(look):
        figure.update_layout(dragmode="pan")
    return figure


@st.fragment
@guard()
def hover(view: View, charts_shown: tuple[str, ...]) -> None:
    """Show a point's image and caption while the pointer rests on it."""
    state, table = st.session_state.get("hover"), selection.pairs_shown(view)
    row = (state or {}).get("row")
    shown = {}
    if isinstance(row, int) and 0 <= row < len(table):
        image = images.some(view, [row])
        caption = table.frame(np.array([row]), ["caption"])["caption"].iloc[0]
        shown = {"row": row, "image": None if image is None else png(image[0]), "caption": str(caption)}
    component = st.components.v2.component("ubt_hover", js=web.text("hover.js"), css=web.text("hover.css"))
    component(key="hover", data={"charts": list(charts_shown), "shown": shown}, on_row_change=lambda: None)


def ring(table: PairTable, look: Look, ids: Sequence[str]) -> None:
    """Ring some pairs, and those clicked one by one, on the maps without drawing these again."""
    rows = table.rows(dict.fromkeys([*ids, *selection.clicked()]))[:RINGED]
    at = {}
    for model, xy in places(table, look).items():
        some = xy[rows]
        at[f"map-{model}"] = some[np.isfinite(some).all(axis=1)].astype(float).tolist()
    component = st.components.v2.component("ubt_ring", js=web.text("ring.js"))
    component(key="ring", data={"at": at})
