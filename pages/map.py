"""Map: D in two dimensions, under the poisoned, the overfitted and the purified model.

UMAP of the pairs' embeddings: near means similar, distances between groups mean little. Overfitting pulls the poisons
together, unlearning spreads them again; the maps are aligned, so that a pair keeps its place unless the model moved it.
Draw a lasso or a box to select, click a point for its pair, double-click to clear.
"""

import streamlit as st

from ubt.ui import charts, controls, map_view, selection
from ubt.ui.errors import guard
from ubt.ui.job_panel import needs
from ubt.ui.map_view import Look
from ubt.ui.navigation import current, heading

view = current()
heading("map")


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    space_column, colour_column, models_column = st.columns([2, 2, 3], vertical_alignment="bottom")
    space = map_view.space_chosen(space_column)
    options = map_view.options(view, table, space)
    if options is None:
        return
    colour = map_view.colour_chosen(colour_column, table)
    chosen = models_column.pills(
        "Models",
        options["models"],
        selection_mode="multi",
        default=options["models"][-2:][:1],
        key=f"maps-{view.name}",
        format_func=view.model_title,
    )
    models = tuple(m for m in options["models"] if m in chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.has("attack"):
            selection.truth_toggle()
        extras = map_view.extras(selected.rows is not None)
        blend = _blend() if len(models) == 2 else None
    if not models:
        st.info("Choose at least one model.")
        return
    look = Look(space, models, colour, blend, **extras)
    one = len(models) == 1 or blend is not None
    chart, side = st.columns([3, 2], gap="medium") if one else (st.container(), st.container())
    with side.container(height=map_view.HEIGHT + 60, border=False) if one else side:
        if selected.text:
            selection.listing(view, table, selected)
        else:
            st.caption("Nothing is selected yet.")
    with chart:
        map_view.draw(view, table, selected.rows, look)
        charts.veil("veil-maps", selected.rows, maps=map_view.keys(table, look))
    selection.listen(map_view.axes(look), table)
    map_view.ring(table, look, [])
    map_view.hover(view, tuple(map_view.keys(table, look)))


def _blend() -> float | None:
    """How far the first map has moved to the second; None: both are drawn side by side."""
    if not controls.toggle("One map between the two", False, "map-blended", "Move the slider and see who moves"):
        return None
    return st.slider("From the first model to the second", 0.0, 1.0, 0.0, 0.05, key="blend", persist_state="session")


needs(view, "score", "There are no pairs yet.", explore, least="data")
