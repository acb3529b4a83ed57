"""What the sliders and the selection say, applied: a case of its own, run from the first stage that it changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from ubt.evaluation.detection import Caught
from ubt.pairs.table import PairTable
from ubt.ui import costs
from ubt.ui.case_picker import make
from ubt.ui.navigation import PAGES
from ubt.ui.tuning import Tuned
from ubt.ui.view import View, compute

MOST_CONFIRMED = 5000
"""Pairs that one may unlearn from; their ids are a setting of the case."""


def case_with(view: View, values: dict[str, Any], title: str, key: str, said: str = "", **more: Any) -> None:
    """The button that runs a copy of the case with some other settings, beside what that takes.

    Args:
        said: what stands before the cost. more: as of `st.button`.
    """
    if view.imported and not view.built_in:
        st.caption(f"{said} An imported case cannot be run again.".strip())
        return
    other = None if more.get("disabled") else view.settings.with_values(values)
    cost = "" if other is None else f"{said} {costs.of_settings(other)} What stays the same is not computed again."
    if costs.button(title, cost.strip(), key, **more) and other is not None:
        make(other, run=True)
        st.session_state["applied_to"] = view.name, other.name(compute())
        st.toast("The case is running, and now in view.")
        st.rerun(scope="app")


def side_by_side(view: View) -> None:
    """Of a case that was just made from another: the way to both beside each other."""
    before, made = st.session_state.get("applied_to", ("", ""))
    if made == view.name:
        st.page_link(
            PAGES["cases"],
            label="Compare with the case it was made from",
            icon=":material/compare:",
            query_params={"case": made, "compare": f"{before},{made}"},
        )


def thresholds(view: View, table: PairTable, chosen: Tuned, caught: Caught) -> None:
    """Offer a case that is run with the sliders as they stand, and one that unlearns from what the threshold catches;
    nothing where they were not moved.
    """
    settings, above = view.settings, caught.chosen.get("flagged")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="apply"):
        if not chosen.as_run(view):
            said = f"This case was run with {100 * settings.split.fraction:g} % and k = {settings.k}."
            values = {"split.fraction": chosen.percent / 100, "select.k": chosen.k, "select.confirmed": ""}
            case_with(view, values, f"Run a case with {chosen.percent:g} % and k = {chosen.k}", "as-case", said)
        if chosen.threshold != chosen.start and above is not None and view.has("select"):
            few = above.sum() <= MOST_CONFIRMED
            ids = table.ids(np.flatnonzero(above)) if few else [""] * int(above.sum())
            confirmed(view, ids, f"of D_susp at {chosen.threshold:.2f} and more", "with-flagged")


def confirmed(view: View, ids: Sequence[str], what: str, key: str) -> None:
    """Offer a case that unlearns from some pairs as D_topk; `what`: how the button calls them, after their number."""
    few, many = len(ids) < 2, len(ids) > MOST_CONFIRMED
    about = "A copy of this case whose D_topk is these pairs; it starts at once"
    if few or many:
        about = f"Expected 2 to {MOST_CONFIRMED:,} pairs to unlearn from, got {len(ids):,}"
    values = {} if few or many else {"select.confirmed": "\n".join(sorted(ids))}
    icon = ":material/auto_fix_high:"
    case_with(view, values, f"Unlearn with the {len(ids):,} {what}", key, icon=icon, disabled=few or many, help=about)
