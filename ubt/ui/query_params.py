"""The address bar: what a link asks for is taken up, what the page shows is told, so that a copied address opens the
same view.
"""

import math
import time
from collections.abc import Callable, Sequence

import streamlit as st

from ubt.ui.view import View

LONGEST = 6000
"""Characters that an address may hold under one name; servers refuse much longer ones."""
LAG = 1.0
"""Seconds for which a browser may still send what its address said before it was told something else."""


def asked(name: str) -> str | None:
    """What the address says under `name`, if that is not what it was told last: a link has been followed. One that says
    nothing under `name`, as those between pages, changes nothing; nor does one that still says what it was told before.
    """
    state, text = st.session_state, st.query_params.get(name)
    before, since = state.get(f"before-{name}", ("", 0.0))
    if not text or text == state.get(f"told-{name}") or (text == before and time.monotonic() - since < LAG):
        return None
    state[f"told-{name}"] = text
    return text


def tell(name: str, text: str, shown: bool = True) -> None:
    """Have the address say `text` under `name`; nothing of it if that is empty, as it is by itself (`shown` is false),
    or too long.
    """
    if (before := st.session_state.get(f"told-{name}")) != text:
        st.session_state[f"before-{name}"] = before, time.monotonic()
    st.session_state[f"told-{name}"] = text
    if not text or not shown or len(text) > LONGEST:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != text:
        st.query_params[name] = text


def told() -> dict[str, str]:
    """Everything that was told, what the address does not show too, so that a view can bring all of it back."""
    state = st.session_state
    return {
        k.removeprefix("told-"): state[k] for k in state if isinstance(k, str) and k.startswith("told-") and state[k]
    }


def forget(*names: str) -> None:
    """Drop what the address says under some names, and what was told."""
    for name in names:
        st.session_state.pop(f"told-{name}", None)
        st.session_state.pop(f"before-{name}", None)
        st.query_params.pop(name, None)


def slider(
    where,
    title: str,
    name: str,
    view: View,
    low: float,
    high: float,
    start: float,
    step: float,
    about: str,
    disabled: bool = False,
) -> float:
    """A slider whose place the address holds while it is not where it starts; each case has its own, and a link's odd
    values are ignored. One that was not moved goes along when its start changes; of one that has just been moved, the
    address still says where it was.
    """
    if disabled:
        return where.slider(
            title, low, high, start, step=step, key=f"{name}-{view.name}-off", help=about, disabled=True
        )
    key, state = f"{name}-{view.name}", st.session_state
    wanted = state.get(key, start)
    moved = key in state and state.get(f"told-{name}") not in (None, f"{wanted:g}")
    if not moved and (text := asked(name)):
        wanted = _number(text, low, high, start)
    elif wanted == state.get(f"start-{key}"):
        wanted = start
    wanted = min(max(wanted, low), high)
    if state.get(key) != wanted:  # what is written here overrides a hand that is still moving
        state[key] = wanted
    state[f"start-{key}"] = start
    value = where.slider(title, low, high, step=step, key=key, help=about, persist_state="session")
    tell(name, f"{value:g}", shown=value != start)
    return value


def _number(text: str, low: float, high: float, start: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return start
    return type(start)(value) if math.isfinite(value) and low <= value <= high else start


def several(
    title: str, name: str, options: Sequence[str], start: Sequence[str], label: Callable[[str], str], about: str = ""
) -> list[str]:
    """A choice of several, which the address holds, in commas, while it is not where it starts; a link's unknown names
    are passed over. One that was not changed goes along when its start does.
    """
    state, text = st.session_state, asked(name)
    if text is not None:
        wanted = text.split(",")
    elif name not in state or state[name] == state.get(f"start-{name}"):
        wanted = start
    else:
        wanted = state[name]
    wanted = [o for o in wanted if o in options]
    if state.get(name) != wanted:
        state[name] = wanted
    state[f"start-{name}"] = list(start)
    chosen = st.multiselect(title, options, key=name, format_func=label, help=about or None, persist_state="session")
    tell(name, ",".join(chosen), shown=chosen != list(start))
    return chosen
