"""The address bar: what a link asks for is taken up, what the page shows is told, so that a copied address opens the same view."""

import math

import streamlit as st

from ubt.ui.case import View

LONGEST = 6000
"""Characters that an address may hold under one name; servers refuse much longer ones."""


def asked(name: str) -> str | None:
    """What the address says under `name`, if that is not what it was told last: a link has been followed. One that says nothing under
    `name`, as those between pages, changes nothing."""
    text = st.query_params.get(name)
    if not text or text == st.session_state.get(f"told-{name}"):
        return None
    st.session_state[f"told-{name}"] = text
    return text


def tell(name: str, text: str) -> None:
    """Have the address say `text` under `name`; nothing of it if that is empty, or too long for an address."""
    st.session_state[f"told-{name}"] = text
    if not text or len(text) > LONGEST:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != text:
        st.query_params[name] = text


def slider(
    where, title: str, name: str, view: View, low: float, high: float, start: float, step: float, about: str, disabled: bool = False
) -> float:  # fmt: skip
    """A slider whose place the address holds while it is not where it starts; each case has its own, and a link's odd values are ignored."""
    key, state = f"{name}-{view.name}", st.session_state
    text = asked(name)
    if text:
        state[key] = _number(text, low, high, start)
    state[key] = min(max(state.get(key, start), low), high)
    value = where.slider(title, low, high, step=step, key=key, help=about, disabled=disabled)
    tell(name, f"{value:g}" if value != start else "")
    return value


def _number(text: str, low: float, high: float, start: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return start
    return type(start)(value) if math.isfinite(value) and low <= value <= high else start
