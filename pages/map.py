"""Map: D in two dimensions, under the poisoned, the overfitted and the purified model, a point in its place in all of
them.
"""

from typing import Any

import numpy as np
import streamlit as st

from ubt.figures import projection as figures
from ubt.pairs import neighbors
from ubt.pairs.table import SIMILARITIES, rows_of
from ubt.ui import charts, pairs, selection
from ubt.ui.errors import guard
from ubt.ui.job_panel import build, clock, missing, needs
from ubt.ui.navigation import current

TITLES = {
    "reference": "clean reference",
    "poisoned": "poisoned model (M_bd)",
    "overfit": "overfitted model",
    "purified": "purified, ours",
}
DRAWN = 50_000
"""Points that are drawn; a lasso selects among all pairs."""
HEIGHT = 620
"""Of one map, in pixels; what is selected scrolls beside it."""

view = current()
st.title("Map")
st.caption(
    "UMAP of the pairs' embeddings: near means similar, distances between groups mean little. Overfitting draws the"
    " poisons together, unlearning lets them go; the maps are aligned, so that a pair keeps its place unless the model"
    " moved it. Draw a lasso or a box to select, click a point for its pair, double-click to clear."
)


@st.fragment
@guard()
def explore() -> None:
    known, reveal, picked = selection.opened(view)
    lab = "poisoned" in known
    first, second, third = st.columns([2, 2, 3], vertical_alignment="bottom")
    space = first.segmented_control(
        "By",
        neighbors.SPACES,
        default="joint",
        required=True,
        key="space",
        bind="query-params",
        persist_state="session",
    )
    options, whole = pairs.map_options(view, space), pairs.map_options(view, space, whole=True)
    if options is None:
        missing(view, "score", "No model has embedded the pairs yet.")
        return
    seconds = (
        10
        + len(options["models"]) * min(len(known["id"]), options["landmarks"]) / 1500
        + ("purified" in options["models"]) * len(known["id"]) / 2000
    )
    said = f"The {space} embeddings have not been laid out yet. On two cores that takes about {clock(seconds)}, once."
    if not build(view, "map", options, said, "Draw the map"):
        return
    if options != whole and st.toggle("Draw it again with the models that have come since", key="whole"):
        build(
            view,
            "map",
            whole,
            f"It takes about {clock(seconds)}; the map below stays until then, and places may differ.",
            "Draw the map again",
        )
    colours = [
        *(n for n in SIMILARITIES if n in known),
        *(n for n in ("cluster", "label", "flagged", "group", "suspicious") if n in known),
    ]
    colours += ["poisoned"] if lab and reveal else []
    start = colours.index(
        "poisoned" if "poisoned" in colours else "similarity_overfit" if "similarity_overfit" in colours else colours[0]
    )
    colour = second.selectbox(
        "Colour by", colours, index=start, key="colour", bind="query-params", format_func=lambda n: n.replace("_", " ")
    )
    shown = third.pills(
        "Models, side by side",
        options["models"],
        selection_mode="multi",
        default=options["models"][-2:][:1],
        key=f"maps-{view.name}",
        format_func=lambda m: view.titled(TITLES, m),
    )
    if lab:
        selection.truth_toggle()
    if not shown:
        st.info("Choose at least one model.")
        return
    if len(shown) == 1:
        chart, side = st.columns([3, 2], gap="medium")
        side = side.container(height=HEIGHT + 60, border=False)
    else:
        chart, side = st.container(), st.container()
    with side:
        if picked.rule:
            selection.listing(view, known, picked, reveal)
        else:
            st.caption("Nothing is selected yet.")
    with chart:
        _maps(known, picked, space, [m for m in options["models"] if m in shown], colour)
    selection.listen({f"map-{m}": f"map_{space}_{m}" for m in shown}, known)


def _maps(known: dict[str, Any], picked: selection.Picked, space: str, models: list[str], colour: str) -> None:
    rows = pairs.drawn(view, known, DRAWN)
    focus = rows_of(known["id"], selection.clicked())[:20]
    for column, model in zip(st.columns(len(models)), models, strict=True):
        with column:
            title = view.titled(TITLES, model)
            st.markdown(f"**{title[0].upper()}{title[1:]}**")
            xy = np.stack([known[f"map_{space}_{model}_{axis}"] for axis in "xy"], axis=1)
            values, height = (
                known[f"cluster_{space}" if colour == "cluster" else colour],
                HEIGHT if len(models) == 1 else 460,
            )
            figure = figures.scatter(xy, values, colour, rows, picked.rows, focus, height)
            tools = {"displaylogo": False, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}
            charts.draw(
                figure, f"map-{model}", f"Map of the pairs under the {title}, coloured by {colour}", config=tools
            )
    if len(known["id"]) > len(rows):
        st.caption(
            f"{len(rows):,} of {len(known['id']):,} pairs are drawn, every flagged one among them; a lasso selects"
            " among all."
        )


needs(view, "score", "There are no pairs yet.", explore, least="data")
