"""Choosing one pair, and the way from it to pages that show more of it."""

import numpy as np
import pandas as pd
import streamlit as st

from ubt.pairs.table import PairTable
from ubt.ui import query_params, stale
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.ui.selection import Selection
from ubt.ui.view import View

OFFERED = 200
"""Pairs that a list offers, the most suspicious first."""
MORE = {"neighbours": ("Look at its neighbours", "score"), "tokens": ("Look at its words and patches", "mask")}
"""Pages that show more of a pair: what a link says, and the stage without which the page is empty."""


def offered(table: PairTable, selected: Selection) -> np.ndarray:
    """Rows of the pairs to choose from, the most suspicious first: of the selection, else of the flagged, else all."""
    among = selected.rows if selected.rows is not None else table.flagged
    known = st.session_state.get("offered")
    if known is None or known[0] is not table or known[1] is not among:
        rows = table.most_suspicious(np.ones(len(table), bool) if among is None else among, OFFERED)
        known = st.session_state["offered"] = table, among, rows
    return known[2]


def choose_pair(view: View, table: PairTable, selected: Selection, label: str = "visible") -> str | None:
    """The pair to look at: of the selection or a flagged one, or the one that another page or the address names; None
    if there is none. `label`: whether the list's title is visible, as Streamlit calls it.
    """
    wanted, rows = _wanted(table), offered(table, selected)
    if wanted is not None:
        rows = np.append(rows, table.rows([wanted]))
    if not len(rows):
        st.info("No pair is selected or flagged; clear the selection to choose one.")
        return None
    some = table.frame(rows, ["id", "caption", "topk", "flagged"]).drop_duplicates("id")
    titles = _titles(some)
    pair = wanted if wanted is not None else some["id"].iloc[0]
    stale.put("pair", pair)
    chosen = st.selectbox(
        "Pair", list(titles), key="pair", persist_state="session", format_func=titles.get, label_visibility=label
    )
    query_params.write("pair", chosen)
    return chosen


def _wanted(table: PairTable) -> str | None:
    """The pair that another page or the address names, if the case has it."""
    if asked := query_params.read("pair"):
        stale.put("pair", asked)
    wanted = stale.kept("pair")
    if wanted is not None and not len(table.rows([wanted])):
        st.warning(f"There is no pair {plain(wanted)} in this case; another one is shown.")
        return None
    return wanted


def _titles(some: pd.DataFrame) -> dict[str, str]:
    flags = [some.get(name, some["id"] == "") for name in ("topk", "flagged")]
    kinds = ("D_topk" if t else "flagged" if f else "not flagged" for t, f in zip(*flags, strict=True))
    return {i: f"{k} · {c[:90]} · {i}" for i, c, k in zip(some["id"], some["caption"], kinds, strict=True)}


def links(view: View, pair: str, **labels: str) -> None:
    """Links to the pages that show more of a pair.

    Args:
        labels: what a page's link says, by its name in `MORE`, instead of what it says there.
    """
    for page, (label, stage) in MORE.items():
        if view.has(stage):
            st.page_link(
                PAGES[page],
                label=labels.get(page, label),
                icon=":material/arrow_forward:",
                query_params={"case": view.name, "pair": pair},
            )
