"""Choosing one pair."""

from typing import Any

import numpy as np
import streamlit as st

from ubt.ui import query_params
from ubt.ui.errors import plain
from ubt.ui.view import View

OFFERED = 200
"""Pairs that a list offers, the most suspicious first."""


def choose_pair(view: View, found: dict[str, Any], picked: Any) -> str | None:
    """The pair to look at: of the selection or a flagged one, or the one that another page or the address names; None
    if there is none.
    """
    from ubt.pairs import table

    state = st.session_state
    if asked := query_params.asked("pair"):
        state["pair"] = asked
    wanted = state.get("pair")
    if wanted is not None and not len(table.rows_of(found["id"], [wanted])):
        st.warning(f"There is no pair {plain(wanted)} in this case; another one is shown.")
        wanted = None
    among = picked.rows if picked.rows is not None else found.get("flagged", np.ones(len(found["id"]), bool))
    rows = table.first(found, among, OFFERED)
    if wanted is not None:
        rows = np.append(rows, table.rows_of(found["id"], [wanted]))
    if not len(rows):
        st.info("No pair is selected or flagged; clear the selection to choose one.")
        return None
    some = table.frame(found, rows, ["id", "caption", "topk", "flagged"]).drop_duplicates("id")
    flags = [some.get(name, some["id"] == "") for name in ("topk", "flagged")]
    kind = {i: "D_topk" if t else "flagged" if f else "not flagged" for i, t, f in zip(some["id"], *flags, strict=True)}
    said = dict(zip(some["id"], some["caption"], strict=True))
    first = wanted if wanted is not None else some["id"].iloc[0]
    if state.get("pair") != first:
        state["pair"] = first
    chosen = st.selectbox(
        "Pair",
        list(said),
        key="pair",
        persist_state="session",
        format_func=lambda i: f"{kind[i]} · {said[i][:90]} · {i}",
    )
    query_params.tell("pair", chosen)
    return chosen
