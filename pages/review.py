"""Review: decide pair by pair, most suspicious first, by keyboard; decisions are kept, and can be unlearned from.

The flagged pairs, most suspicious first. Keys: 1 backdoor, 2 clean, 3 unsure, Z undo, J next, K previous. What you
decide is kept with the case.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from ubt.figures import label_history
from ubt.figures.attribution import enlarged
from ubt.pairs.annotations import LABELS, precision
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import charts, components, controls, images, pair_picker, pairs, search, selection
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, safe
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current, heading

KEYS = {"backdoor": "1", "clean": "2", "unsure": "3"}
ICONS = {"backdoor": ":material/bug_report:", "clean": ":material/check:", "unsure": ":material/question_mark:"}
NEAREST = 6
LISTED = 500

view = current()
heading("review")


@dataclass(frozen=True)
class Queue:
    """The pairs to review, most suspicious first: rows of D, ids, which are decided (m,) each, and where one stands."""

    rows: np.ndarray
    ids: np.ndarray
    decided: np.ndarray
    at: int

    @property
    def pair(self) -> str:
        return str(self.ids[self.at])

    def following(self) -> str:
        """The next pair that is not decided, after this one or else from the start; the one after it if all are."""
        waiting = np.flatnonzero(~self.decided)
        waiting = waiting[waiting != self.at]
        after = waiting[waiting > self.at]
        last = min(self.at + 1, len(self.ids) - 1)
        return str(self.ids[after[0] if len(after) else waiting[0] if len(waiting) else last])


@st.fragment
@guard()
def explore() -> None:
    table = pairs.table(view)
    if not st.session_state.get("told", False):
        table = table.without_truth()
    selected = selection.bar(view, table)
    if table.flagged is None and selected.rows is None:
        missing(view, "flag", "Nothing is flagged yet; select pairs to review them all the same.")
        return
    queue = _queue(table, table.flagged if selected.rows is None else selected.rows)
    if not len(queue.ids):
        st.info("There is no pair to review here. Clear the selection, or choose another query.")
        return
    _progress(queue, "flagged pairs" if selected.rows is None else "the selection")
    _pair(table, queue)
    st.divider()
    _decisions(table, queue)


def _queue(table: PairTable, among: np.ndarray) -> Queue:
    """It stands at the pair last looked at, else at the first that is not decided."""
    rows = table.most_suspicious(among, len(table))
    some = table.frame(rows, ["id", "label"])
    ids, decided = some["id"].to_numpy(object), some["label"].notna().to_numpy()
    last = np.flatnonzero(ids == st.session_state.get("reviewed"))
    waiting = np.flatnonzero(~decided)
    at = last[0] if len(last) else waiting[0] if len(waiting) else 0
    return Queue(rows, ids, decided, int(at))


def _progress(queue: Queue, source: str) -> None:
    first, second = st.columns([3, 2], vertical_alignment="center")
    share = float(queue.decided.mean())
    first.progress(share, text=f"{int(queue.decided.sum()):,} of {len(queue.ids):,} decided ({source})")
    with second.container(horizontal=True, horizontal_alignment="right"):
        if view.has("attack"):
            controls.toggle("Show the ground truth", False, "told", "Off, you review as a defender would")


def _pair(table: PairTable, queue: Queue) -> None:
    """The pair in review: its image, what is known about it, its neighbours, and the buttons that decide."""
    row = int(queue.rows[queue.at])
    pair = table.frame(np.array([row])).iloc[0]
    buttons = st.container(horizontal=True, vertical_alignment="center")
    left, middle, right = st.columns([2, 3, 4], gap="medium")
    with left:
        place = f"{queue.at + 1:,} of {len(queue.ids):,}"
        if (shown := images.some(view, [row])) is not None:
            components.pictures([(f"{place} · {queue.pair}", enlarged(shown[0]))])
        else:
            st.caption(f"{place} · this case has no images")
    with middle:
        _details(pair)
    with right:
        _nearest(table, row)
    with buttons:
        _buttons(queue, pair["label"])


def _details(pair: pd.Series) -> None:
    _caption(pair)
    scores = [(n.removeprefix("similarity_"), f"{pair[n]:.3f}") for n in SIMILARITIES if n in pair]
    components.table(["similarity under", ""], scores)
    if "poisoned" in pair:
        st.caption(f"Ground truth: {'poisoned' if pair['poisoned'] else 'clean'}.")
    st.text_input(
        "Note",
        pair["note"] if isinstance(pair["note"], str) else "",
        key=f"note-{pair['id']}",
        max_chars=2000,
        on_change=_write_note,
        args=(pair["id"],),
    )


def _caption(pair: pd.Series) -> None:
    """The caption; its words coloured by relevance where the case has attributed it."""
    if view.has("mask"):
        words = view.read("mask", "words")
        words = words[words["id"] == pair["id"]]
        if len(words):
            kept, cut = words["kept"].to_numpy(bool), words["cut"].to_numpy(bool)
            components.heated(words["word"].tolist(), words["score"].to_numpy(), kept, cut)
            return
    components.heated(str(pair["caption"]).split(), None, None, None)


def _nearest(table: PairTable, row: int) -> None:
    models = search.models(view)
    if not models:
        return
    answer = search.nearest(view, "joint", models[-1], search.Query(row=row), NEAREST)
    flagged = int(table.flagged[answer.rows].sum()) if table.flagged is not None and len(answer.rows) else 0
    model = view.model_title(models[-1])
    st.caption(f"Nearest under the {model}: {flagged} of {len(answer.rows)} flagged")
    similarities = [f"{s:.2f}" for s in answer.similarity]
    selection.cards(view, table, answer.rows, similarities, width=6.5, clickable=False)


def _buttons(queue: Queue, decision: object) -> None:
    undone, following = st.session_state.setdefault("undone", 0), queue.following()
    for label in LABELS:
        st.button(
            label.capitalize(),
            key=f"decide-{label}-{queue.pair}",
            icon=ICONS[label],
            shortcut=KEYS[label],
            type="primary" if decision == label else "secondary",
            on_click=_decide,
            args=(queue.pair, label, following, undone),
        )
    st.button(
        "No decision",
        key=f"decide-none-{queue.pair}",
        disabled=not isinstance(decision, str),
        on_click=_decide,
        args=(queue.pair, None, following, undone),
    )
    st.button("Undo", key="undo", icon=":material/undo:", shortcut="z", on_click=_undo)
    before, after = (str(queue.ids[(queue.at + by) % len(queue.ids)]) for by in (-1, 1))
    st.button("Previous", key="before", icon=":material/arrow_back:", shortcut="k", on_click=_go, args=(before,))
    st.button("Next", key="after", icon=":material/arrow_forward:", shortcut="j", on_click=_go, args=(after,))
    pair_picker.links(view, queue.pair, tokens="Words and patches", neighbours="Neighbours")


def _go(pair: str) -> None:
    st.session_state["reviewed"] = pair


@safe
def _decide(pair: str, label: str | None, following: str, undone: int) -> None:
    """Label a pair and go to the following one. A browser may send a key twice, the second time after the decision was
    undone: then `undone` is no longer the count of undos, and nothing happens.
    """
    if st.session_state["undone"] != undone:
        return
    if pairs.labels(view).set_index("id")["label"].get(pair) != label:
        pairs.review(view).label([pair], label, selection.session_id())
    _go(following)


@safe
def _write_note(pair: str) -> None:
    """Keep the note that was typed. A browser may send a field that nobody changed: that is no decision, which an undo
    would then revert in vain.
    """
    kept = pairs.labels(view).set_index("id").reindex([pair]).iloc[0]
    label, before = (value if isinstance(value, str) else None for value in (kept["label"], kept["note"]))
    note = st.session_state[f"note-{pair}"].strip()
    if note != (before or ""):
        pairs.review(view).label([pair], label, selection.session_id(), note)


@safe
def _undo() -> None:
    if reverted := pairs.review(view).undo(selection.session_id()):
        st.session_state["undone"] += 1
        _go(reverted[0])
        st.toast(f"Undone: {len(reverted)} decision{'s' if len(reverted) > 1 else ''}.")
    else:
        st.toast("You have no decision to undo.")


def _decisions(table: PairTable, queue: Queue) -> None:
    st.subheader("Decisions so far")
    labels = pairs.labels(view)
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
    latest = labels.sort_values("at", ascending=False).head(LISTED)
    st.dataframe(latest[["id", "label", "note", "at"]], hide_index=True, height=260, key="decided-table")


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
        if not view.imported and st.button(
            f"Unlearn with the {len(confirmed)} confirmed",
            key="confirmed",
            icon=":material/auto_fix_high:",
            disabled=len(confirmed) < 2,
            help="A copy of this case whose D_topk is the pairs labelled backdoor; it starts at once",
        ):
            make(view.settings.with_values({"select.confirmed": "\n".join(sorted(confirmed))}), run=True)
            st.rerun(scope="app")


needs(view, "score", "The pairs have not been scored yet.", explore)
