"""The case picker: which cases there are, what they are called, which one is in view."""

import contextlib
import re
from typing import Any

import streamlit as st

from ubt.attacks import ATTACKS, parse
from ubt.cases import demo
from ubt.cases.pipeline import create
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.ui import roles
from ubt.ui.errors import plain
from ubt.ui.view import View, compute, import_name, opened, store
from ubt.workflows import jobs, migrate

_DEFAULT = CaseSettings().to_dict()


def _changed(settings: dict[str, Any]) -> str:
    """The first setting that differs from the default of its attack and seed; a case may be older than a group of
    settings.
    """
    own = settings.get("own", {})
    groups = [
        g
        for g in _DEFAULT
        if isinstance(_DEFAULT[g], dict) and g not in ATTACKS and g not in ("attack", "published", "own")
    ]
    changes = [
        f"{g}.{k} {_short(v)}" for g in groups for k, v in settings.get(g, {}).items() if v != _DEFAULT[g].get(k)
    ]
    changes = [c for c in changes if not (own.get("pairs") and c.startswith("data.pairs "))]
    return f" · {changes[0]}{', …' if changes[1:] else ''}" if changes else ""


def _short(value: Any) -> str:
    lines = str(value).split("\n")
    return lines[0] if len(lines) == 1 else f"({len(lines)})"


def _on_imports(settings: dict[str, Any], name: str) -> str:
    own, rest = settings["own"], f"seed {settings['seed']} · {name[-8:-4]}{_changed(settings)}"
    if own.get("suspect"):
        return f"audit of {import_name(own['suspect'])}, {settings['data']['pairs']:,} pairs, {rest}"
    return f"on {import_name(own['pairs'])}, {rest}"


def names() -> list[str]:
    """The cases to choose from: those of this cache, newest first, then the built-in one until this machine has run the
    same.
    """
    own = store().names()
    if demo.MAIN not in demo.names():
        return own
    live = CaseSettings.from_dict(store().record(demo.MAIN).settings).name(compute())
    return own if store().record(live).state == "done" else [*own, demo.MAIN]


def label(name: str) -> str:
    """A case's name in the picker."""
    record = store().record(name)
    if record.state == "outdated":
        return f"{name} (of an earlier version)"
    if record.built_in:
        return f"built-in: {record.built_in.title}"
    with contextlib.suppress(KeyError, TypeError, BadInput):
        attack, own = record.settings["attack"], record.settings.get("own", {})
        if own.get("suspect"):
            return _on_imports(record.settings, name)
        amount = f"{attack['count']}" if attack.get("count") else f"{100 * attack['rate']:g} %"
        further = f" + {len(parse(attack['also']))}" if attack.get("also") else ""
        what = f"{attack['name']} {amount}{further}" if attack["rate"] or attack.get("count") or further else "clean"
        if own.get("pairs"):
            return f"{what} {_on_imports(record.settings, name)}"
        return f"{what}, seed {record.settings['seed']} · {name[-8:-4]}{_changed(record.settings)}"
    return f"{name} (damaged)"


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


CASE_PARAMETERS = ("fraction", "threshold", "k", "pair")
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
    labels = {name: label(name) for name in offered}
    st.selectbox(
        "Case",
        offered,
        index=None,
        key="case",
        format_func=lambda name: labels.get(name, name),
        placeholder="choose a case" if offered else "none yet",
        persist_state="session",
    )
    if state["case"] is None:
        if "case" in st.query_params:
            del st.query_params["case"]
            _forget_case()
        return None
    state.pop("gone", None)
    if asked != state["case"]:
        st.query_params["case"] = state["case"]
    if state.get("case_before", state["case"]) != state["case"]:
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
