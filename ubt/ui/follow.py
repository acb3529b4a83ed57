"""Parts of a page that are drawn one by one, as fragments, and follow one another: where one shows something newer than
another does, the other is drawn again.
"""

from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

from ubt.ui import web


def follow(part: str, now: Mapping[str, Any], shows: Collection[str], selects: str) -> None:
    """Say at the end of a part how all stood when it was drawn, so that parts that show older are drawn again.

    Args:
        part: its name. now: what may change, by name, `selection` among it, and its value. shows: the names of what
            this part shows. selects: the part that takes an outline on a chart and is thereby drawn again.
    """
    state = st.session_state
    known = state.setdefault("followed", {})
    for name, value in now.items():
        number, before = known.get(name, (0, None))
        if number == 0 or before != value:
            known[name] = number + 1, value
    state["follow-run"] = run = state.get("follow-run", 0) + 1
    numbers = {name: known[name][0] for name in now}
    data = {"part": part, "now": numbers, "shows": [*shows], "selects": selects, "run": run}
    component = st.components.v2.component("ubt_follow", js=web.text("follow.js"))
    component(key=f"follow-{part}", data=data, on_again_change=lambda: None)
