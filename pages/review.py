"""Review: decide pair by pair, most suspicious first, by keyboard; decisions are kept, and can be used to unlearn.

The selected pairs, else the flagged ones, most suspicious first. Keys: 1 backdoor, 2 clean, 3 unsure, Z undo, J next, K
previous. What you decide is kept with the case.
"""

import pandas as pd
import streamlit as st

from ubt.figures import label_history
from ubt.pairs.annotations import precision
from ubt.pairs.events import LABELS
from ubt.pairs.table import PairTable
from ubt.ui import apply, charts, components, controls, pair_picker, pairs, review_queue, roles, search, selection
from ubt.ui.errors import guard, plain, safe
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current, heading
from ubt.ui.review_queue import Queue

NEAREST = 6
LISTED = 500
READ = 24
"""Pairs of the queue that a reader sees."""

view = current()
heading("review")


@st.fragment
@guard()
def explore() -> None:
    if roles.may_change():
        review_queue.receive(view, pairs.table(view))
    table = pairs.table(view)
    if not (truth := st.session_state.get("told", False)):
        table = table.without_truth
    selected = selection.bar(view, table)
    for notice in pairs.decided(view).notices:
        st.warning(f"Decisions: {plain(notice)}", icon=":material/warning:")
    if table.flagged is None and selected.rows is None:
        missing(view, "flag", "Nothing is flagged yet; select pairs to review them all the same.")
        return
    queue = review_queue.queue(table, table.flagged if selected.rows is None else selected.rows)
    if not len(queue.ids):
        st.info("There is no pair to review here. Clear the selection, or choose another query.")
        return
    _progress(queue, "flagged pairs" if selected.rows is None else "the selection")
    if roles.may_change():
        review_queue.draw(view, table, queue, truth and table.poisoned is not None)
        _nearest(table, queue)
    else:
        st.info("Analysts decide here. You may look at what is decided, and export it.", icon=":material/visibility:")
        selection.cards(view, table, queue.rows[:READ], [""] * len(queue.rows[:READ]), width=6.5)
    st.divider()
    _decisions(table, queue)


def _progress(queue: Queue, source: str) -> None:
    first, second = st.columns([3, 2], vertical_alignment="center")
    share = float(queue.decided.mean())
    first.progress(share, text=f"{int(queue.decided.sum()):,} of {len(queue.ids):,} decided ({source})")
    with second.container(horizontal=True, horizontal_alignment="right"):
        if view.has("attack"):
            controls.toggle("Show the ground truth", False, "told", "Off, you review as a defender would")


def _nearest(table: PairTable, queue: Queue) -> None:
    """What is drawn anew for each pair, a moment after the browser has shown it: links, and its neighbours."""
    found = search.models(view)
    answer = None
    if found:
        query = search.Query(row=int(queue.rows[queue.at]))
        answer = search.nearest(view, "joint", found[-1], query, NEAREST)
    with st.container(horizontal=True, vertical_alignment="center", key="about-pair"):
        if answer is not None:
            flagged = int(table.flagged[answer.rows].sum()) if table.flagged is not None and len(answer.rows) else 0
            model = view.model_title(found[-1])
            st.caption(f"Nearest to {plain(queue.pair)} under the {model}: {flagged} of {len(answer.rows)} flagged")
        pair_picker.links(view, queue.pair, tokens="Tokens", neighbours="Neighbours")
    if answer is not None:
        similarities = [f"{s:.2f}" for s in answer.similarity]
        selection.cards(view, table, answer.rows, similarities, width=6.5, clickable=False)


def _decisions(table: PairTable, queue: Queue) -> None:
    st.subheader("Decisions so far")
    labels, contradictions = pairs.decided(view).labels, pairs.decided(view).contradictions
    labels = labels[labels["label"].notna()]
    if labels.empty:
        st.info("Nothing is decided yet.")
        return
    in_queue = table.frame(queue.rows, ["label"])["label"]
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
    with left:
        components.table(["decision", "pairs"], _counts(table, labels, in_queue))
    with right:
        alt = "Decisions along the queue, most suspicious first"
        charts.draw(label_history.along(in_queue), "decided-chart", alt)
    _use(labels, table.poisoned is not None)
    if contradictions:
        some = ", ".join(map(plain, list(contradictions)[:10])) + (", …" if len(contradictions) > 10 else "")
        st.warning(
            f"Labelled differently by two sessions, so that the latest label holds: {len(contradictions)} of the pairs,"
            f" {some}",
            icon=":material/warning:",
        )
    latest = labels.sort_values("at", ascending=False).head(LISTED)
    shown = ["id", "label", "note", *(["who"] if roles.asked() else []), "at"]
    st.dataframe(latest[shown], hide_index=True, height=260, key="decided-table")


def _counts(table: PairTable, labels: pd.DataFrame, in_queue: pd.Series) -> list[tuple[str, str]]:
    counts = labels["label"].value_counts()
    rows = [(label, f"{counts.get(label, 0):,}") for label in LABELS]
    if found := precision(in_queue.dropna()):
        share, low, high, count = found
        title = f"backdoor among the {count:,} decided of this queue"
        rows.append((title, f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"))
    if table.poisoned is not None:
        decided = labels.set_index("id")["label"].map({"backdoor": True, "clean": False}).dropna()
        at = table.rows(decided.index)
        correct = int((table.poisoned[at] == decided.to_numpy(bool)).sum()) if len(at) == len(decided) else 0
        rows.append(("decisions that agree with the ground truth", f"{correct:,} of {len(decided):,}"))
    return rows


def _use(labels: pd.DataFrame, truth_shown: bool) -> None:
    """The buttons that select what was decided, and that unlearn with it."""
    confirmed = labels.loc[labels["label"] == "backdoor", "id"].tolist()
    with st.container(horizontal=True, vertical_alignment="center"):
        if truth_shown:
            st.caption("With the truth in sight, a copy unlearns from what no defender knows.")
        st.button(
            "Select all decided",
            key="select-decided",
            icon=":material/filter_alt:",
            on_click=safe(selection.select),
            args=("label is not missing",),
        )
        apply.confirmed(view, confirmed, "confirmed", "confirmed")


needs(view, "score", "The pairs have not been scored yet.", explore)
