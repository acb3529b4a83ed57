"""The case picker: which cases there are, what they are called, which one is in view."""

import re

import streamlit as st

from ubt.cases import demo
from ubt.cases.pipeline import create
from ubt.cases.settings import CaseSettings
from ubt.ui import case_records, roles
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import View, compute, opened, store
from ubt.workflows import jobs, migrate


def names() -> list[str]:
    """The cases to choose from: those of this cache, newest first, then the built-in one until this machine has run the
    same.
    """
    own = store().names()
    if demo.MAIN not in demo.names():
        return own
    live = CaseSettings.from_dict(case_records.one(demo.MAIN).record.settings).name(compute())
    return own if case_records.one(live).record.state == "done" else [*own, demo.MAIN]


def label(name: str) -> str:
    """What a case is called, in the picker and everywhere else, as when the page was drawn."""
    drawn = st.session_state.get("labels", {})
    return drawn[name] if name in drawn else case_records.labels(case_records.known()).get(name, f"{name} (damaged)")


def show(name: str | None) -> None:
    """Make `name` the case in view from the next run of the page on."""
    st.session_state["next_case"] = name


def remove(name: str) -> int:
    """Delete a case and show the newest of the others; returns the bytes freed."""
    freed = store().delete(name)
    show(next(iter(names()), None))
    return freed


def make(settings: CaseSettings, run: bool, until: str | None = None) -> None:
    """Save a case, show it and, if asked, start its job, up to a stage if one is named."""
    name = create(store(), settings, compute())
    show(name)
    if run:
        jobs.start(store(), name, until)


CASE_PARAMETERS = ("fraction", "threshold", "k", "alpha", "pair")
"""Parameters of the address that mean nothing in another case."""
CASE_COLUMNS = re.compile(r"\b(id|rank|group|cluster\w*|map_\w+)\b")
"""Columns that mean something else in another case; a selection by them ends with it."""


def _forget_case() -> None:
    from ubt.ui import query_params

    state = st.session_state
    query_params.clear(*CASE_PARAMETERS)
    for name in ("pair", "clicked", "reviewed", "selections"):
        state.pop(name, None)
    if CASE_COLUMNS.search(state.get("selection", "")):
        state["selection"] = ""
        query_params.clear("select")


def pick() -> View | None:
    """The picker, and the case it shows; None if there is none. The address has its name."""
    state, asked = st.session_state, st.query_params.get("case")
    offered = names()
    if asked in demo.names() and asked not in offered:
        offered.append(asked)
    if "next_case" in state:
        state["case"] = state.pop("next_case")
    elif "case" not in state:
        state["case"] = asked or next(iter(offered), None)
    if state["case"] and (now := store().renamed(state["case"])) != state["case"]:
        state["case"] = now
    if state["case"] not in offered and state["case"] is not None:
        state["gone"], state["case"] = state["case"], None
    cases = case_records.known()
    labels = state["labels"] = case_records.labels(cases)
    st.selectbox(
        "Case",
        sorted(offered, key=lambda name: name not in cases or not cases[name].mark.pinned),
        index=None,
        key="case",
        format_func=lambda name: labels.get(name, name),
        placeholder="choose a case" if offered else "none yet",
        persist_state="session",
    )
    if offered:
        st.page_link(PAGES["cases"], label=f"All cases ({len(labels)})", icon=":material/table_rows:")
    if state["case"] is None:
        if "case" in st.query_params:
            del st.query_params["case"]
            _forget_case()
        return None
    state.pop("gone", None)
    changed = state.get("case_before", state["case"]) != state["case"]
    if changed or asked != state["case"]:  # what was asked may be the address of before the last change
        st.query_params["case"] = state["case"]
    if changed:
        _forget_case()
    state["case_before"] = state["case"]
    view = opened(state["case"])
    if view.status.state == "outdated":
        return _offer_to_migrate(view)
    return view if view.status.state != "damaged" else _offer_to_delete(view)


def _offer_to_migrate(view: View) -> None:
    st.warning(plain(view.status.error), title="An earlier version made this case", icon=":material/history:")
    if roles.button("Carry the cases over", key="migrate", icon=":material/move_up:", width="stretch"):
        found = {moved.old: moved for moved in migrate.migrate(store())}
        if (moved := found.get(view.name)) and moved.skipped:
            st.error(plain(moved.skipped), title="It cannot be carried over", icon=":material/broken_image:")
            return
        show(store().renamed(view.name))
        st.rerun()


def _offer_to_delete(view: View) -> None:
    st.error(plain(view.status.error), title="This case cannot be read", icon=":material/broken_image:")
    if roles.button("Delete this case", key="delete-damaged", icon=":material/delete:"):
        remove(view.name)
        st.rerun()
