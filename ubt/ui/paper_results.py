"""The papers' tables and figures on the page: made of cases of this cache, with the button that computes what is
missing, and to save.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from ubt.cases.keys import every_key
from ubt.cases.pipeline import standing
from ubt.cases.store import Store
from ubt.core.chromium import chromium
from ubt.core.run import Compute
from ubt.figures import attribution
from ubt.reports.paper import FIGURES, TABLES
from ubt.reports.paper.figure import KINDS, Figure
from ubt.reports.paper.table import MEASURES
from ubt.ui import charts, components, controls
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import compute_missing
from ubt.ui.view import compute, store

SEEDS = 5
"""Seeds that a table on a page is measured over, at most."""


@st.fragment
@guard()
def paper_figures(names: Sequence[str]) -> None:
    """Some of the paper's figures, one at a time; needs no open case."""
    numbers = f"{', '.join(names[:-1])} and {names[-1]}"
    inside = st.expander(f"The paper's figures {numbers}, from cases of this cache", key="papers", bind="query-params")
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
    name = controls.choice("Figure", names, key, left, format_func=lambda n: FIGURES[n].title, default=names[0])
    seed = right.number_input("Seed", 0, 99, 0, key="paper-seed", persist_state="session")
    figure = FIGURES[name]
    st.caption(f"{plain(figure.source)} The same as python -m ubt figure {name} --seed {seed}.")
    where, work = compute(), figure.work(seed)
    made_of = tuple(
        (every_key(case, where)[until], standing(store(), case, where, until=until)[0]) for case, until in work
    )
    frame = _measured(str(store().root.resolve()), name, seed, made_of, where)
    if figure.chart:
        charts.draw(figure.drawn(frame), f"paper-chart-{name}", figure.title)
    else:
        st.image(_png(str(store().root.resolve()), name, seed, made_of, frame), width=760)
    compute_missing(f"figure-{name}-{seed}", work, "cases of this figure")
    with st.expander("The figure in numbers"):
        components.table(*figure.lines(frame))
    _save(figure, frame, name)


def _save(figure: Figure, frame: pd.DataFrame, name: str) -> None:
    kinds = [kind for kind in KINDS if chromium() or not figure.chart or kind not in ("PNG", "SVG")]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = controls.choice("Save as", kinds, f"paper-kind-{len(kinds)}", default=kinds[0])
        controls.download(
            "Save",
            lambda: figure.saved(frame, [kind])[kind],
            f"figure-{name}.{kind.lower()}",
            KINDS[kind],
            "paper-save",
        )
    if len(kinds) < len(KINDS):
        st.caption(
            "PNG and SVG need Chromium on the app's machine (Debian: apt-get install chromium, or name one in"
            " UBT_CHROMIUM)."
        )


def _numbers(lines: tuple[list[str], list[list[str]]], csv: str, name: str, labels: int = 1) -> None:
    components.table(*lines, labels=labels)
    controls.download("Save as CSV", csv, f"{name}.csv", "text/csv", f"{name}-csv")


@st.fragment
@guard()
def paper_tables(without: Sequence[str] = ("4",)) -> None:
    """Every table, one at a time, but those that another page shows; needs no open case."""
    inside = st.expander("The papers' tables, from cases of this cache", key="tables", bind="query-params")
    if inside.open:
        with inside:
            _table([name for name in TABLES if name not in without])


def _table(names: Sequence[str]) -> None:
    name = controls.choice(
        "Table", names, "paper-table", format_func=lambda n: TABLES[n].title.partition(":")[0], default=names[0]
    )
    table, attacks = TABLES[name], ()
    left, right = st.columns([2, 1])
    if offered := getattr(table, "attacks", ()):
        attacks = left.pills(
            "Attacks",
            offered,
            selection_mode="multi",
            default=offered[0],
            key=f"paper-attacks-{name}",
            persist_state="session",
        )
        if not attacks:
            st.info("Choose at least one attack.")
            return
    seeds = _seeds(right, "paper-seeds", 1)
    part = table.narrowed(attacks, ()) if attacks else table
    st.markdown(f"**{plain(table.title)}**")
    frame = _measured_or_documented(part, name, seeds)
    _numbers(part.lines(frame), frame.to_csv(index=False), f"table-{name}", 2 if offered else 1)
    _source(part, name, seeds, attacks)


def _measured_or_documented(table, name: str, seeds: int) -> pd.DataFrame:
    """A table as this cache has measured it or, while it has measured nothing of it, as the documents have it."""
    from ubt.reports.manifest import documented

    frame = table.measured(store(), compute(), seeds)
    if not hasattr(table, "heads") or frame["seeds"].any():
        return frame
    kept = documented(f"table-{name}", frame, table.heads)
    if kept:
        st.caption(f"This cache has measured nothing of this table yet; the figures shown are of {kept[1]}")
    return kept[0] if kept else frame


def _seeds(where, key: str, start: int) -> int:
    return where.slider("Seeds, from 0 on", 1, SEEDS, start, key=key, persist_state="session")


def _source(table, name: str, seeds: int, attacks: Sequence[str] = ()) -> None:
    command = f"python -m ubt table {name} --seeds {seeds}" + (f" --attacks {','.join(attacks)}" if attacks else "")
    st.caption(f"{plain(table.source)} A dash: not reported, or not measured. The same as {command}.")
    compute_missing(f"table-{name}", table.work(seeds), "cells of this table")


@st.fragment
@guard()
def table_4() -> None:
    """Table IV, drawn: what else than whole pairs is unlearned."""
    four = TABLES["4"]
    st.subheader(four.title)
    st.caption(
        "What is unlearned other than whole pairs, in both forms, each point a mean over seeds; diamonds are what the"
        " paper reports at CC3M scale."
    )
    left, right = st.columns(2)
    seeds = _seeds(left, "table-seeds", 3)
    frame = _measured_or_documented(four, "4", seeds)
    measure = controls.choice("Measure", MEASURES.values(), "table-measure", right, default="ASR")
    figure = attribution.strategies(frame, four.groups, measure)
    charts.draw(figure, "table-4", f"{measure} by strategy of unlearning")
    _source(four, "4", seeds)
    with st.expander("The table in numbers"):
        _numbers(four.lines(frame), frame.to_csv(index=False), "table-4", len(four.heads))
