"""Values that a browser still sends after the server has replaced them.

Every request of a browser holds its whole address and the values of all its widgets, as they were when it was sent; the
panel of the running job asks every few seconds. A request that was on its way when the server set a new value still
holds the one before. That is no link and no edit.
"""

import time
from typing import Any

import streamlit as st

LAG = 5.0
"""Seconds for which a browser may still send a value that was replaced."""


def replaced(name: str, value: Any) -> None:
    """Remember that the server has just replaced a value of the address or of a widget."""
    earlier, since = st.session_state.get(f"replaced-{name}", ((), 0.0))
    now = time.monotonic()
    st.session_state[f"replaced-{name}"] = (*(earlier if now - since < LAG else ()), value), now


def is_stale(name: str, value: Any) -> bool:
    """Whether a value is one that was replaced so recently that the browser may not have read the new one."""
    earlier, since = st.session_state.get(f"replaced-{name}", ((), 0.0))
    return value in earlier and time.monotonic() - since < LAG


def put(key: str, value: Any) -> None:
    """Set a widget's value; `kept` tells an edit from the value that it had before."""
    state = st.session_state
    if key not in state or state[key] != value:
        if key in state:
            replaced(f"widget {key}", state[key])
        state[f"put-{key}"] = state[key] = value


def kept(key: str, start: Any = None) -> Any:
    """A widget's value: what the user left in it, or what was put there as long as the browser sends the one before."""
    state = st.session_state
    value = state.get(key, start)
    return state[f"put-{key}"] if f"put-{key}" in state and is_stale(f"widget {key}", value) else value
