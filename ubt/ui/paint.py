"""A patch that is drawn with the mouse, square by square."""

import contextlib
import math

import streamlit as st

from ubt.attacks.drawn import CLEAR, CROSS, LARGEST, PALETTE, SMALLEST, pixels
from ubt.core.errors import BadInput
from ubt.ui import web
from ubt.ui.errors import safe

PEN = "1"
"""The colour that the pointer draws with to begin with: white."""


def drawing(key: str) -> str:
    """A drawing, as `ubt.attacks.drawn` writes it, to be changed with the pointer or by keys.

    Args:
        key: of its widgets, and in the session's state.
    """
    state, kept, side_key, last = st.session_state, f"{key}-squares", f"{key}-squares-side", f"{key}-paint-number"
    state.setdefault(kept, CROSS)
    state.setdefault(side_key, math.isqrt(len(state[kept])))

    @safe
    def drawn() -> None:
        event = state[f"{key}-paint"].get("drawn")
        found, number = (event.get("squares"), event.get("number")) if isinstance(event, dict) else (None, None)
        if not isinstance(found, str) or not isinstance(number, int) or len(found) != len(state[kept]):
            return  # of a page that is no longer the one that is shown
        with contextlib.suppress(BadInput):
            pixels(found)
            state[kept], state[last] = found, number

    def resized() -> None:
        state[kept] = other_side(state[kept], state[side_key])

    def emptied() -> None:
        state[kept] = CLEAR * len(state[kept])

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input("Squares a side", SMALLEST, LARGEST, key=side_key, on_change=resized, width=130)
        st.button("Clear", key=f"{key}-clear", icon=":material/ink_eraser:", on_click=emptied)
    component = st.components.v2.component("ubt_paint", js=web.text("paint.js"), css=web.component_css("paint.css"))
    colours = [[c, name, rgb] for c, (name, rgb) in PALETTE.items()]
    data = {"squares": state[kept], "side": math.isqrt(len(state[kept])), "pen": PEN, "number": state.get(last, 0)}
    component(key=f"{key}-paint", data=data | {"palette": [*colours, [CLEAR, "no paint", ""]]}, on_drawn_change=drawn)
    return state[kept]


def other_side(squares: str, side: int) -> str:
    """A drawing with more or fewer squares a side, the rest of it in the same place.

    >>> other_side("1234", 3)
    '12.34....'
    """
    before = math.isqrt(len(squares))
    rows = [squares[before * n : before * (n + 1)] for n in range(before)]
    return "".join(row[:side].ljust(side, CLEAR) for row in [*rows, *[""] * side][:side])
