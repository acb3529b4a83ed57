"""Neighbours: what lies nearest to a suspicious pair, to a caption typed in, or to an image dropped in."""

from typing import Any

import numpy as np
import streamlit as st

from ubt.figures import neighbours as figures
from ubt.pairs import neighbors, table
from ubt.pairs import query as rules
from ubt.pairs.table import frame, rows_of
from ubt.ui import charts, components, pair_picker, search, selection
from ubt.ui.errors import guard, plain, safe
from ubt.ui.job_panel import build, missing, needs
from ubt.ui.navigation import current

FLAGGED_MOST = 5000
EXAMPLES = 6
ASKED = ("a pair", "a caption", "an image")

view = current()


def called(model: str) -> str:
    return view.titled(search.TITLES, model)


st.title("Neighbours")
st.caption(
    "Poisons share one shortcut: under the overfitted model their images and captions lie together, whatever they show."
    " The nearest pairs of a suspicious one, and how many of them are flagged, tell a backdoor from an odd caption."
)


@st.fragment
@guard()
def explore() -> None:
    known, reveal, picked = selection.opened(view)
    lab = "poisoned" in known
    models = search.models(view)
    if not models:
        missing(view, "score", "No model has embedded the pairs yet.")
        return
    first, second = st.columns(2, vertical_alignment="bottom")
    third, fourth = st.columns(2, vertical_alignment="bottom")
    ask = first.segmented_control(
        "Nearest to",
        ASKED[:1] if view.given else ASKED,
        default=ASKED[0],
        required=True,
        key="ask",
        bind="query-params",
        persist_state="session",
    )
    space = second.segmented_control(
        "By",
        neighbors.SPACES,
        default="joint",
        required=True,
        key="space",
        bind="query-params",
        persist_state="session",
        help="Cosine similarity of images, of captions, or the mean of both",
    )
    model = third.selectbox(
        "Under",
        models,
        index=len(models) - 1,
        key="under",
        bind="query-params",
        format_func=called,
        persist_state="session",
    )
    k = fourth.slider("How many", 4, 100, 20, key="nearest", bind="query-params", persist_state="session")
    query = _query(known, picked, ask, space, model)
    if lab:
        reveal = selection.truth_toggle()
    if query is not None:
        _found(known, query, space, model, k, picked, reveal)
    selection.listen({}, known)
    st.divider()
    _groups(known, space, model, reveal)


def _query(known: dict[str, Any], picked: selection.Picked, ask: str, space: str, model: str) -> search.Query | None:
    if ask == "a pair":
        pair = pair_picker.choose_pair(view, known, picked)
        if pair is None:
            return None
        row = rows_of(known["id"], [pair])[0]
        said, shown = st.columns([3, 1])
        with shown:
            selection.cards(view, known, np.array([row]), ["this pair"], reveal=False)
        with said:
            components.table(
                ["this pair", ""],
                [
                    (n, _cell(v))
                    for n, v in frame(known, np.array([row])).iloc[0].items()
                    if n in selection.TOLD and _cell(v)
                ],
            )
        return search.Query(row=int(row))
    if ask == "a caption":
        text = st.text_input(
            "Caption", "a photo of a banana", key="query-caption", max_chars=2000, persist_state="session"
        )
        return search.of_caption(view, model, text) if text.strip() else None
    file = st.file_uploader("Image", type=["png", "jpg", "jpeg", "webp", "bmp"], key="query-image", max_upload_size=20)
    if file is None:
        st.info("Drop an image here to see which pairs lie nearest to it.")
        return None
    return search.of_image(view, model, file)


def _cell(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)


def _found(
    known: dict[str, Any], query: search.Query, space: str, model: str, k: int, picked: selection.Picked, reveal: bool
) -> None:
    options = search.index_options(space, model)
    index = None
    about = "Built once as a job; its recall is measured against the exact answer"
    wanted = len(known["id"]) >= search.APPROXIMATE_FROM and st.toggle(
        "Use an approximate index", key="approximate", persist_state="session", help=about
    )
    if wanted and build(
        view,
        "index",
        options,
        "No index yet for this space and model; until then the search is exact.",
        "Build the index",
    ):
        index = search.index(view, space, model)
    answer = search.nearest(view, space, model, query, k, index)
    rows, similarity = answer.rows, answer.similarity
    if not len(rows):
        st.info("This pair has no embedding under this model, so it has no neighbours.")
        return
    flagged = known["flagged"][rows] if "flagged" in known else np.zeros(len(rows), bool)
    said = f"**{int(flagged.sum())} of the {len(rows)} nearest are flagged**"
    if reveal:
        said += f"; {int(known['poisoned'][rows].sum())} are poisoned"
    how = (
        "exact"
        if index is None
        else f"approximate, recall@10 {search.recall(view, space, model):.3f} on pairs of D held out"
    )
    st.markdown(f"{said}. :gray[{how}, {1000 * answer.seconds:.0f} ms]")
    figure = figures.nearest(similarity, flagged, known["poisoned"][rows] if reveal else None)
    charts.draw(figure, "nearest-chart", "Similarity of the nearest pairs, flagged or not")
    told = [
        f"{n}. similarity {s:.3f}" + (" · flagged" if f else "")
        for n, (s, f) in enumerate(zip(similarity, flagged, strict=True), 1)
    ]
    selection.cards(view, known, rows, told, reveal, picked.rows)
    ids = list(frame(known, rows, ["id"])["id"])
    st.button(
        f"Select these {len(rows)}",
        key="select-nearest",
        icon=":material/filter_alt:",
        on_click=safe(selection.choose),
        args=(rules.among(ids),),
    )


def _groups(known: dict[str, Any], space: str, model: str, reveal: bool) -> None:
    st.subheader("Groups of near-duplicates among the flagged")
    if "flagged" not in known:
        missing(view, "flag", "Nothing is flagged yet.")
        return
    rows = table.first(known, known["flagged"], FLAGGED_MOST)
    if len(rows) < 2:
        st.info("Fewer than two pairs are flagged, so there is nothing to group.")
        return
    least = st.slider(
        "Least similarity within a group",
        0.5,
        1.0,
        0.95,
        0.01,
        key="duplicate",
        persist_state="session",
        help="Two flagged pairs from it on are of one group, and so are those they are linked with",
    )
    label = search.duplicates(view, space, model, rows, least)
    counts = np.bincount(label[label >= 0]) if (label >= 0).any() else np.array([], int)
    alone = int((label < 0).sum())
    groups = "1 group" if len(counts) == 1 else f"{len(counts)} groups"
    st.caption(
        f"{len(rows):,} flagged pairs by their {space} similarity under the {called(model)}: {groups}, {alone:,} pairs"
        " alone."
    )
    for number, count in enumerate(counts[:EXAMPLES]):
        members = rows[label == number]
        with st.container(border=True):
            said = f"**Group {number + 1}: {count:,} pairs**"
            if reveal:
                said += f", {int(known['poisoned'][members].sum()):,} poisoned"
            words = search.common_words(frame(known, members, ["caption"])["caption"])
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(
                    f"{said}. In most of their captions: {plain(', '.join(words)) or 'no word'}.", width="stretch"
                )
                rule = rules.among(frame(known, members, ["id"])["id"])
                st.button(
                    "Select",
                    key=f"select-group-{number}",
                    icon=":material/filter_alt:",
                    on_click=safe(selection.choose),
                    args=(rule,),
                )
            selection.cards(
                view,
                known,
                members[:EXAMPLES],
                [f"overfit {known['similarity_overfit'][r]:.2f}" for r in members[:EXAMPLES]],
                reveal,
            )


needs(view, "score", "There are no pairs yet.", explore, least="data")
