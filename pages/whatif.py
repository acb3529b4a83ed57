"""What if: one setting of the built-in case at a time, at values measured beforehand, each a case of its own."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ubt.cases import demo
from ubt.figures import for_a_room, similarity, whatif
from ubt.reports.paper.whatif import WHAT_IF
from ubt.ui import components, costs, query_params
from ubt.ui.case_picker import make, show
from ubt.ui.charts import cached_figure, draw
from ubt.ui.errors import guard
from ubt.ui.large_type import large
from ubt.ui.navigation import PAGES, current
from ubt.ui.view import compute, store

ABOUT = {
    "rate": (
        "How many pairs the attacker controls. Too few, and the model does not learn the trigger; none, and there is"
        " nothing to find."
    ),
    "strength": "How large the patch is. A small one is harder to see, and harder to learn.",
    "mismatched": "How many clean captions are wrong anyway, as on the web. They hide the poisons in D_susp.",
    "fraction": "How much of D is suspected. Too little misses poisons, too much lets in clean pairs.",
    "k": "How many pairs are selected as surely poisoned; from them our method flags the others.",
    "retention": (
        "How strongly unlearning preserves what the model knows. At 0 only moving the flagged images back preserves it."
    ),
}

current()
st.title("What if", help="The built-in case with one setting changed; each point is a case that was run")
grid = demo.grid()
GRID = (str(grid), grid.stat().st_mtime_ns) if grid else ()


@st.cache_data(max_entries=1, show_spinner=False)
def points(path: str, changed: int) -> pd.DataFrame:
    return pd.read_parquet(path)


@st.fragment
@guard()
def explore() -> None:
    table = points(*GRID)
    state, sweeps = st.session_state, {name: sweep for name, sweep in WHAT_IF.items() if name in set(table["sweep"])}
    if (asked := query_params.read("what")) in sweeps:
        state["what"] = asked
    name = st.segmented_control(
        "What changes",
        list(sweeps),
        format_func=lambda n: sweeps[n].title,
        default=next(iter(sweeps)),
        required=True,
        key="what",
        label_visibility="collapsed",
    )
    query_params.write("what", name, shown=name != next(iter(sweeps)))
    (factor,) = sweeps[name].factors
    part = table[table["sweep"] == name].reset_index(drop=True)
    start = float(part.loc[part["default"], "shown"].iloc[0])
    about, slider = st.columns([3, 2], gap="large", vertical_alignment="center")
    about.markdown(ABOUT[name])
    title = sweeps[name].title
    label = factor.label if factor.label == title else f"{title}: {factor.label}"
    value = slider.select_slider(
        label, part["shown"].tolist(), start, key=f"what-{name}", format_func=lambda v: f"{v:g}"
    )
    at = int(np.flatnonzero(part["shown"] == value)[0])
    row = part.iloc[at]
    figure = cached_figure(
        ("what-lines", *GRID, name, at), lambda: for_a_room(whatif.lines(part, factor.label, at), 250)
    )
    draw(figure, "what-lines", f"CA, ASR and what was found over {factor.label}; the line is at {value:g}")
    side, chart = st.columns([2, 3], gap="large", vertical_alignment="center")
    with side:
        _figures(row)
        _case(name, (factor.values[at],), bool(row["default"]))
    with chart:
        _histogram(name, row, value)


def _figures(row: pd.Series) -> None:
    if row["state"]:
        st.info("This point has not been measured.")
        return
    lines = [
        [name, *(f"{row[f'{what}, {whose}']:.2f}" for what in ("CA", "ASR"))]
        for name, whose in (("poisoned", "M_bd"), ("purified, ours", "ours"))
    ]
    components.table(["model", "CA, %", "ASR, %"], lines)
    found = [
        f"{label} {row[label]:.1f} %" for label in ("split recall", "precision@k") if pd.notna(row["split recall"])
    ]
    st.markdown(
        ", ".join(found).capitalize() + "." if found else "Nothing is poisoned, so that there is nothing to find."
    )


def _case(name: str, values: tuple[float, ...], default: bool) -> None:
    """The way to the point's own case: opened where there is one, else the button that runs it."""
    settings = WHAT_IF[name].case(0, "badnet", values)
    case = demo.MAIN if default else settings.name(compute())
    if default or store().record(case).state in ("done", "partial", "running"):
        if st.button("Open this case", key="what-open", icon=":material/arrow_forward:"):
            show(case)
            st.switch_page(PAGES["overview"])
    elif costs.button(
        "Run it live", costs.of_settings(settings), "what-run", help="A case with this setting, on this machine"
    ):
        make(settings, run=True)
        st.switch_page(PAGES["overview"])


def _histogram(name: str, row: pd.Series, value: float) -> None:
    if row["state"]:
        return

    def made() -> go.Figure:
        counts = {kind: np.asarray(row[f"overfit {kind}"], int) for kind in ("clean", "poisoned")}
        bins = np.concatenate([np.repeat(np.arange(len(c), dtype=np.uint8), c) for c in counts.values()])
        poisoned = np.repeat([False, True], [c.sum() for c in counts.values()])
        return for_a_room(similarity.histogram(bins, poisoned), 210).update_xaxes(range=[-0.2, 1])

    figure = cached_figure(("what-bins", *GRID, name, value), made)
    draw(figure, "what-bins", f"D_susp's similarity under the overfitted model at {value:g}")


if grid is None:
    st.info("The points are missing: this installation lacks them. `python -m ubt built-in` makes them.")
else:
    with large():
        explore()
