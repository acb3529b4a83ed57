"""Review: decide pair by pair, most suspicious first, by keyboard; what was decided is kept and can be unlearned
from.
"""

from typing import Any

import numpy as np
import streamlit as st

from ubt.figures import label_history as figures
from ubt.figures.attribution import enlarged
from ubt.pairs import table
from ubt.pairs.annotations import LABELS, Review, precision
from ubt.pairs.table import frame, rows_of
from ubt.ui import charts, components, images, pairs, search, selection
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, safe
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current

KEYS = {"backdoor": "1", "clean": "2", "unsure": "3"}
ICONS = {"backdoor": ":material/bug_report:", "clean": ":material/check:", "unsure": ":material/question_mark:"}
NEAREST = 6
TOUR = 500

view = current()
st.title("Review")
st.caption(
    "The flagged pairs, most suspicious first. Keys: 1 backdoor, 2 clean, 3 unsure, Z undo, J next, K previous. What"
    " you decide is kept with the case."
)


@st.fragment
@guard()
def explore() -> None:
    known, kept = pairs.known(view), pairs.review(view)
    lab = "poisoned" in known
    reveal = lab and st.session_state.get("told", False)
    picked = selection.bar(view, known, reveal)
    if "flagged" not in known and picked.rows is None:
        missing(view, "flag", "Nothing is flagged yet; select pairs to review them all the same.")
        return
    first, second = st.columns([3, 2], vertical_alignment="center")
    source = "the selection" if picked.rows is not None else "flagged pairs"
    queue = table.first(known, picked.rows if picked.rows is not None else known["flagged"], len(known["id"]))
    if not len(queue):
        st.info("There is no pair to review here. Clear the selection, or choose another rule.")
        return
    some = frame(known, queue, ["id", "label"])
    ids, decided = some["id"].to_numpy(object), some["label"].notna().to_numpy()
    first.progress(float(decided.mean()), text=f"{int(decided.sum()):,} of {len(queue):,} decided ({source})")
    with second.container(horizontal=True, horizontal_alignment="right"):
        if lab:
            st.toggle(
                "Show the ground truth",
                False,
                key="told",
                persist_state="session",
                help="Off, one reviews as a defender would",
            )
    at = _place(ids, decided)
    _one(known, kept, queue, ids, decided, at, reveal)
    st.divider()
    _so_far(known, queue, reveal)


def _place(ids: np.ndarray, decided: np.ndarray) -> int:
    """Where the queue stands: at the pair last looked at, else at the first that is not decided."""
    now = st.session_state.get("reviewed")
    where = np.flatnonzero(ids == now)
    if len(where):
        return int(where[0])
    waiting = np.flatnonzero(~decided)
    return int(waiting[0]) if len(waiting) else 0


def _next(ids: np.ndarray, decided: np.ndarray, at: int) -> str:
    """The next pair that is not decided, after this one or else from the start; the one after it if all are."""
    waiting = np.flatnonzero(~decided)
    waiting = waiting[waiting != at]
    after = waiting[waiting > at]
    return str(ids[after[0] if len(after) else waiting[0] if len(waiting) else min(at + 1, len(ids) - 1)])


def _one(
    known: dict[str, Any], kept: Review, queue: np.ndarray, ids: np.ndarray, decided: np.ndarray, at: int, reveal: bool
) -> None:
    row, pair = int(queue[at]), str(ids[at])
    mine = frame(known, np.array([row])).iloc[0]

    state = st.session_state
    undone = state.setdefault("undone", 0)

    @safe
    def decide(label: str | None) -> None:
        if state["undone"] != undone:  # a key may be heard twice, the second time after what it did was taken back
            return
        if pairs.labels(view).set_index("id")["label"].get(pair) != label:
            kept.label([pair], label, selection.who())
        state["reviewed"] = _next(ids, decided, at)

    @safe
    def write() -> None:
        own = pairs.labels(view).set_index("id").reindex([pair]).iloc[0]
        label, before = (some if isinstance(some, str) else None for some in (own["label"], own["note"]))
        note = state[f"note-{pair}"].strip()
        if note != (
            before or ""
        ):  # the browser may tell a field that nobody touched, and an undo would then take nothing back
            kept.label([pair], label, selection.who(), note)

    @safe
    def undo() -> None:
        if back := kept.undo(selection.who()):
            state["undone"] += 1
            state["reviewed"] = back[0]
            st.toast(f"Taken back: {len(back)} decision{'s' if len(back) > 1 else ''}.")
        else:
            st.toast("There is nothing of yours to take back.")

    def move(by: int) -> None:
        st.session_state["reviewed"] = str(ids[(at + by) % len(ids)])

    keys = st.container(horizontal=True, vertical_alignment="center")
    left, middle, right = st.columns([2, 3, 4], gap="medium")
    with left:
        if (shown := images.some(view, [row])) is not None:
            components.pictures([(f"{at + 1:,} of {len(ids):,} · {pair}", enlarged(shown[0]))])
        else:
            st.caption(f"{at + 1:,} of {len(ids):,} · this case has no images")
    with middle:
        _caption(mine, pair)
        scores = [(n.replace("similarity_", ""), f"{mine[n]:.3f}") for n in table.SIMILARITIES if n in mine]
        components.table(["similarity under", ""], scores)
        if reveal:
            st.caption(f"Ground truth: {'poisoned' if mine['poisoned'] else 'clean'}.")
        st.text_input(
            "Note",
            mine["note"] if isinstance(mine["note"], str) else "",
            key=f"note-{pair}",
            max_chars=2000,
            on_change=write,
        )
    with right:
        _near(known, row, reveal)
    with keys:
        for label in LABELS:
            chosen = mine["label"] == label
            st.button(
                label.capitalize(),
                key=f"decide-{label}-{pair}",
                icon=ICONS[label],
                shortcut=KEYS[label],
                type="primary" if chosen else "secondary",
                on_click=decide,
                args=(label,),
            )
        st.button(
            "No decision",
            key=f"decide-none-{pair}",
            disabled=not isinstance(mine["label"], str),
            on_click=decide,
            args=(None,),
        )
        st.button("Undo", key="undo", icon=":material/undo:", shortcut="z", on_click=undo)
        st.button("Previous", key="before", icon=":material/arrow_back:", shortcut="k", on_click=move, args=(-1,))
        st.button("Next", key="after", icon=":material/arrow_forward:", shortcut="j", on_click=move, args=(1,))
        for page, label in (("tokens", "Words and patches"), ("neighbours", "Neighbours")):
            if page == "neighbours" or view.has("mask"):
                st.page_link(
                    f"pages/{page}.py",
                    label=label,
                    icon=":material/arrow_outward:",
                    query_params={"case": view.name, "pair": pair},
                )


def _caption(mine: Any, pair: str) -> None:
    """The caption, its words coloured by what the masks' model reads in them where the case has attributed it."""
    if view.has("mask"):
        own = view.read("mask", "words")
        own = own[own["id"] == pair]
        if len(own):
            components.heated(
                own["word"].tolist(), own["score"].to_numpy(), own["kept"].to_numpy(bool), own["cut"].to_numpy(bool)
            )
            return
    components.heated(str(mine["caption"]).split(), None, None, None)


def _near(known: dict[str, Any], row: int, reveal: bool) -> None:
    models = search.models(view)
    if not models:
        return
    answer = search.nearest(view, "joint", models[-1], search.Query(row=row), NEAREST)
    flagged = int(known["flagged"][answer.rows].sum()) if "flagged" in known and len(answer.rows) else 0
    st.caption(f"Nearest under the {view.titled(search.TITLES, models[-1])}: {flagged} of {len(answer.rows)} flagged")
    selection.cards(
        view, known, answer.rows, [f"{s:.2f}" for s in answer.similarity], reveal, width=6.5, clickable=False
    )


def _so_far(known: dict[str, Any], queue: np.ndarray, reveal: bool) -> None:
    st.subheader("Decided so far")
    labels = pairs.labels(view)
    labels = labels[labels["label"].notna()]
    if labels.empty:
        st.info("Nothing is decided yet.")
        return
    counts = labels["label"].value_counts()
    among = frame(known, queue, ["id", "label"])["label"].dropna()
    so_far = precision(among)
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
    with left:
        rows = [(label, f"{counts.get(label, 0):,}") for label in LABELS]
        if so_far:
            share, low, high, count = so_far
            rows.append(
                (
                    f"backdoor among the {count:,} decided of this queue",
                    f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]",
                )
            )
        if reveal:
            true = labels.set_index("id")["label"].map({"backdoor": True, "clean": False}).dropna()
            at = rows_of(known["id"], list(true.index))
            right_ones = int((known["poisoned"][at] == true.to_numpy(bool)).sum()) if len(at) == len(true) else 0
            rows.append(("decisions that agree with the ground truth", f"{right_ones:,} of {len(true):,}"))
        components.table(["decision", "pairs"], rows)
    with right:
        charts.draw(
            figures.along(frame(known, queue, ["id", "label"])["label"]),
            "decided-chart",
            "Decisions along the queue, most suspicious first",
        )
    confirmed = labels.loc[labels["label"] == "backdoor", "id"].tolist()
    with st.container(horizontal=True, vertical_alignment="center"):
        if reveal:
            st.caption("Decided with the truth in sight, a copy unlearns from what no defender knows.")
        st.button(
            "Select all decided",
            key="select-decided",
            icon=":material/filter_alt:",
            on_click=safe(selection.choose),
            args=("label is not missing",),
        )
        if not view.given and st.button(
            f"Unlearn with the {len(confirmed)} confirmed",
            key="confirmed",
            icon=":material/auto_fix_high:",
            disabled=len(confirmed) < 2,
            help="A copy of this case whose D_topk is the pairs labelled backdoor; it starts at once",
        ):
            make(view.settings.with_values({"select.confirmed": "\n".join(sorted(confirmed))}), run=True)
            st.rerun(scope="app")
    table = labels.sort_values("at", ascending=False).head(TOUR)
    st.dataframe(table[["id", "label", "note", "at"]], hide_index=True, height=260, key="decided-table")


needs(view, "score", "The pairs have not been scored yet.", explore)
