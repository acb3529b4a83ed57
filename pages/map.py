"""Map: D in two dimensions, under the poisoned, the overfitted and the purified model.

UMAP of the pairs' embeddings: near means similar, distances between groups mean little. Overfitting pulls the poisons
together, unlearning spreads them again; the maps are aligned, so that a pair keeps its place unless the model moved it.
Draw a lasso or a box to select, click a point for its pair, double-click to clear.
"""

from typing import Any

import numpy as np
import streamlit as st

from ubt.figures import projection
from ubt.pairs import neighbors
from ubt.pairs.table import PairTable
from ubt.ui import charts, controls, costs, pairs, selection
from ubt.ui.errors import guard
from ubt.ui.job_panel import build, missing, needs
from ubt.ui.navigation import current, heading

DRAWN = 50_000
"""Points that are drawn; a lasso selects among all pairs."""
HEIGHT = 620
"""Of one map, in pixels; the selection scrolls beside it."""
SMALL = 460
"""Of several maps, side by side."""
GROUPS = ("cluster", "label", "flagged", "group", "suspicious", "poisoned")
"""Columns that colour the points by kind."""

view = current()
heading("map")


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    space_column, colour_column, models_column = st.columns([2, 2, 3], vertical_alignment="bottom")
    space = controls.choice("By", neighbors.SPACES, "space", space_column, default="joint", bind="query-params")
    options = _map(table, space)
    if options is None:
        return
    colour = _colour(colour_column, table)
    chosen = models_column.pills(
        "Models, side by side",
        options["models"],
        selection_mode="multi",
        default=options["models"][-2:][:1],
        key=f"maps-{view.name}",
        format_func=view.model_title,
    )
    if view.has("attack"):
        selection.truth_toggle()
    if not chosen:
        st.info("Choose at least one model.")
        return
    models = [m for m in options["models"] if m in chosen]
    chart, side = _layout(len(models))
    with side:
        if selected.text:
            selection.listing(view, table, selected)
        else:
            st.caption("Nothing is selected yet.")
    with chart:
        _maps(table, selected.rows, space, models, colour)
    selection.listen({f"map-{m}": f"map_{space}_{m}" for m in models}, table)


def _map(table: PairTable, space: str) -> dict[str, Any] | None:
    """The options of the map that is drawn; None where there is none yet, and the page offers to make one."""
    options, complete = pairs.map_options(view, space), pairs.map_options(view, space, complete=True)
    if options is None:
        missing(view, "score", "No model has embedded the pairs yet.")
        return None
    models, total = options["models"], len(table)
    seconds = 10 + len(models) * min(total, options["landmarks"]) / 1500 + ("purified" in models) * total / 2000
    needed, cost = f"There is no map of the {space} embeddings yet.", costs.of_seconds(seconds)
    if not build(view, "map", options, needed, "Draw the map", cost):
        return None
    if options != complete and st.toggle("Draw it again with the models trained since", key="whole"):
        wait = "The map below stays until then, and places may differ."
        build(view, "map", complete, wait, "Draw the map again", cost)
    return options


def _colour(where: Any, table: PairTable) -> str:
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


def _layout(models: int) -> tuple[Any, Any]:
    """Where the maps are drawn, and where the selection is listed: beside one map, below several."""
    if models > 1:
        return st.container(), st.container()
    chart, side = st.columns([3, 2], gap="medium")
    return chart, side.container(height=HEIGHT + 60, border=False)


def _maps(table: PairTable, selected: np.ndarray | None, space: str, models: list[str], colour: str) -> None:
    rows = pairs.sampled(view, table, DRAWN)
    focus = table.rows(selection.clicked())[:20]
    values = table[f"cluster_{space}" if colour == "cluster" else colour]
    height = HEIGHT if len(models) == 1 else SMALL
    for column, model in zip(st.columns(len(models)), models, strict=True):
        with column:
            title = view.model_title(model)
            st.markdown(f"**{title[0].upper()}{title[1:]}**")
            xy = np.stack([table[f"map_{space}_{model}_{axis}"] for axis in "xy"], axis=1)
            figure = projection.scatter(xy, values, colour, rows, selected, focus, height)
            tools = {"displaylogo": False, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}
            charts.draw(
                figure, f"map-{model}", f"Map of the pairs under the {title}, coloured by {colour}", config=tools
            )
    if len(table) > len(rows):
        st.caption(
            f"{len(rows):,} of {len(table):,} pairs are drawn, every flagged one among them; a lasso selects among all."
        )


needs(view, "score", "There are no pairs yet.", explore, least="data")
