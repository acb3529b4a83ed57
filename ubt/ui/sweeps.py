"""Sweeps on the page: what settings do to CA and ASR, made of cases of this cache, with the button that computes what
is missing.
"""

import streamlit as st

from ubt.reports.paper import SWEEPS
from ubt.reports.paper.defense_tables import ATTACKS
from ubt.ui import charts, components, controls
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import compute_missing
from ubt.ui.view import compute, store


@st.fragment
@guard()
def sweeps() -> None:
    """A sweep at a time, as heat-maps or lines; needs no open case."""
    left, middle, right = st.columns([3, 3, 1], vertical_alignment="bottom")
    name = left.selectbox(
        "Sweep",
        list(SWEEPS),
        format_func=lambda n: SWEEPS[n].title,
        key="sweep",
        bind="query-params",
        persist_state="session",
    )
    chosen = middle.pills(
        "Attacks",
        ATTACKS,
        default=SWEEPS[name].attacks,
        selection_mode="multi",
        key="sweep-attacks",
        persist_state="session",
    )
    seeds = right.number_input("Seeds, from 0 on", 1, 10, 1, key="sweep-seeds", persist_state="session")
    sweep = SWEEPS[name].narrowed([attack for attack in ATTACKS if attack in chosen])
    command = f"python -m ubt sweep {name} --seeds {seeds} --attacks {','.join(sweep.attacks)}"
    st.caption(f"{plain(sweep.source)} The same as {command}.")
    frame = sweep.measured(store(), compute(), seeds)
    charts.draw(sweep.figure(frame), f"sweep-chart-{name}", sweep.title)
    compute_missing(f"sweep-{name}", sweep.work(seeds), "results of this sweep")
    with st.expander("The sweep in numbers"):
        components.table(*sweep.lines(frame))
    with st.container(horizontal=True):
        for kind, data, mime in (
            ("CSV", frame.to_csv(index=False), "text/csv"),
            ("HTML", lambda: sweep.page(frame), "text/html"),
        ):
            controls.download(f"Save as {kind}", data, f"sweep-{name}.{kind.lower()}", mime, f"sweep-{kind}")
