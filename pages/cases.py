"""Cases: every case as a table, to find, sort, pin and rename, and two of them compared.

Each row is a case of this cache, or a built-in one. Click the head of a column to sort. Choose one row to open or
rename it, any number to pin or delete them, and two to see in which settings and figures they differ.
"""

from collections.abc import Container, Sequence
from functools import partial

import streamlit as st

from ubt.core.files import digest
from ubt.ui import case_records, case_table, python_code, query_params, roles, two_cases
from ubt.ui.errors import guard, plain, safe, show_failure
from ubt.ui.job_panel import IDLE, no_case
from ubt.ui.navigation import current, heading
from ubt.ui.view import store

LISTED = 100
"""Cases that the code for a notebook names, where none is chosen."""
TWO = "compare"
"""In the address: the two cases that are compared."""

current()
heading("cases")


def chosen(there: Container[str]) -> list[str]:
    """The cases that are chosen, in the order in which they were; a link names two."""
    state = st.session_state
    if (text := query_params.read(TWO)) is not None:
        asked = [store().renamed(name) for name in dict.fromkeys(text.split(","))]
        state["chosen"] = [name for name in asked if name in there]
        state["not-there"] = [name for name in asked if name not in there]
    return [name for name in state.get("chosen", []) if name in there]


def choose(key: str, listed: Sequence[str]) -> None:
    """Take over which rows of the table are marked; what the search leaves out stays chosen."""
    rows = st.session_state[key]["selection"]["rows"]
    marked = [listed[row] for row in rows if row < len(listed)]
    before = st.session_state.get("chosen", [])
    kept = [name for name in before if name in marked or name not in listed]
    st.session_state["chosen"] = kept + [name for name in marked if name not in kept]
    st.session_state.pop("not-there", None)


def clear() -> None:
    """Choose nothing."""
    st.session_state["chosen"] = []
    st.session_state.pop("not-there", None)


cases = case_records.known()


@st.fragment(run_every=IDLE if case_table.under_way(cases) else None)
@guard()
def table() -> None:
    show_failure()
    there = case_records.known()
    now = chosen(there)
    text = st.text_input(
        "Find",
        key="find",
        placeholder="title, attack, state, verdict, a setting: badnet joined seed=1",
        icon=":material/search:",
        bind="query-params",
        persist_state="session",
    )
    rows = case_table.frame(there, text or "")
    listed = list(rows["name"])
    _drawn(rows.drop(columns="name"), listed, now)
    if len(rows) < len(there):
        hidden = sum(name not in listed for name in now)
        left = f"; {hidden} of those chosen are not shown" if hidden else ""
        st.caption(f"{len(rows)} of {len(there)} cases{left}")
    readable = [name for name in now or listed if there[name].record.readable][:LISTED]
    case_table.actions(now, clear, python_code.of_cases(readable))
    for name in st.session_state.get("not-there", []):
        st.warning(f"There is no case {plain(name)} in this cache; it was deleted, or the link is of another cache.")
    query_params.write(TWO, ",".join(now) if len(now) == 2 else "")
    if len(now) == 2:
        st.divider()
        two_cases.draw(now)
    elif len(now) > 2:
        st.info("Only two cases can be compared; deselect the others.")


def _drawn(rows, listed: Sequence[str], now: Sequence[str]) -> None:
    """The table, the chosen rows marked. Its key tells which rows it has and, where they were not marked in it, which
    are chosen, so that a browser never shows marks of other rows.
    """
    if not listed:
        st.info("No case has all these words.")
        return
    state, marked = st.session_state, [listed.index(name) for name in now if name in listed]
    drawn, shown = state.setdefault("cases-drawn", 0), digest(listed)[:8]
    held = state.get(f"cases-{shown}-{drawn}")
    if held and {*held["selection"]["rows"]} != {*marked}:
        state["cases-drawn"] = drawn = drawn + 1
    key = f"cases-{shown}-{drawn}"
    st.dataframe(
        rows,
        key=key,
        hide_index=True,
        placeholder="-",
        height=case_table.height(len(rows)),
        column_config=case_table.CONFIG,
        on_select=partial(safe(choose), key, listed),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": marked, "columns": [], "cells": []}},
        alt="Every case, its state, verdict, figures and settings",
    )


def unused() -> None:
    """The button that deletes what no case uses."""
    if roles.button("Delete what no case uses", key="prune", icon=":material/cleaning_services:"):
        with guard():
            st.toast(f"Freed {store().prune() / 1e6:.0f} MB.")


if cases:
    table()
    st.divider()
    unused()
else:
    no_case()
