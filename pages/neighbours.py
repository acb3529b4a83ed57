"""Neighbours: what lies nearest to a suspicious pair, to a caption typed in, or to an image dropped in.

Poisons share one shortcut: under the overfitted model their images and captions lie together, whatever they show. The
nearest pairs of a suspicious one, and how many of them are flagged, tell a backdoor from an odd caption.
"""

import numpy as np
import streamlit as st

from ubt.figures.neighbours import nearest as nearest_figure
from ubt.pairs import neighbors, query
from ubt.pairs.table import PairTable
from ubt.ui import charts, components, controls, costs, pair_picker, search, selection
from ubt.ui.errors import guard, plain, safe
from ubt.ui.job_panel import build, missing, needs
from ubt.ui.navigation import current, heading

MOST_GROUPED = 5000
"""Flagged pairs that are grouped, the most suspicious first."""
EXAMPLES = 6
ASKED = ("a pair", "a caption", "an image")

view = current()
heading("neighbours")


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    models = search.models(view)
    if not models:
        missing(view, "score", "No model has embedded the pairs yet.")
        return
    asked, space, model, k = _controls(models)
    searched = _query(table, selected, asked, space, model)
    if view.has("attack"):
        selection.truth_toggle()
    if searched is not None:
        _found(table, searched, space, model, k, selected.rows)
    selection.listen({}, table)
    st.divider()
    _groups(table, space, model)


def _title(model: str) -> str:
    return view.model_title(model)


def _controls(models: list[str]) -> tuple[str, str, str, int]:
    """What is asked, by which embeddings, under which model, and how many."""
    first, second = st.columns(2, vertical_alignment="bottom")
    third, fourth = st.columns(2, vertical_alignment="bottom")
    asked = controls.choice(
        "Nearest to", ASKED if search.reads(view) else ASKED[:1], "ask", first, default=ASKED[0], bind="query-params"
    )
    space = controls.choice(
        "By",
        neighbors.SPACES,
        "space",
        second,
        default="joint",
        bind="query-params",
        help="Cosine similarity of images, of captions, or the mean of both",
    )
    model = third.selectbox(
        "Under",
        models,
        index=len(models) - 1,
        key="under",
        bind="query-params",
        format_func=_title,
        persist_state="session",
    )
    k = fourth.slider("How many", 4, 100, 20, key="nearest", bind="query-params", persist_state="session")
    return asked, space, model, k


def _query(table: PairTable, selected: selection.Selection, asked: str, space: str, model: str) -> search.Query | None:
    """The pair, caption or image whose neighbours are searched; None where there is none yet."""
    if asked == "a pair":
        pair = pair_picker.choose_pair(view, table, selected)
        return None if pair is None else _pair(table, int(table.rows([pair])[0]))
    if asked == "a caption":
        text = st.text_input(
            "Caption", "a photo of a banana", key="query-caption", max_chars=2000, persist_state="session"
        )
        return search.of_caption(view, model, text) if text.strip() else None
    file = st.file_uploader("Image", type=["png", "jpg", "jpeg", "webp", "bmp"], key="query-image", max_upload_size=20)
    if file is None:
        st.info("Drop an image here to see which pairs lie nearest to it.")
        return None
    return search.of_image(view, model, file)


def _pair(table: PairTable, row: int) -> search.Query:
    values = table.frame(np.array([row])).iloc[0].items()
    details, card = st.columns([3, 1])
    with card:
        selection.cards(view, table.without_truth, np.array([row]), ["this pair"])
    with details:
        shown = [(n, _cell(v)) for n, v in values if n in selection.DETAILS and _cell(v)]
        components.table(["this pair", ""], shown)
    return search.Query(row=row)


def _cell(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)


def _found(
    table: PairTable, searched: search.Query, space: str, model: str, k: int, selected: np.ndarray | None
) -> None:
    index = _index(len(table), space, model)
    answer = search.nearest(view, space, model, searched, k, index)
    rows, similarity = answer.rows, answer.similarity
    if not len(rows):
        st.info("This pair has no embedding under this model, so it has no neighbours.")
        return
    flagged = np.zeros(len(rows), bool) if table.flagged is None else table.flagged[rows]
    poisoned = None if table.poisoned is None else table.poisoned[rows]
    counts = f"**{int(flagged.sum())} of the {len(rows)} nearest are flagged**"
    if poisoned is not None:
        counts += f"; {int(poisoned.sum())} are poisoned"
    method = "exact"
    if index is not None:
        method = f"approximate, recall@10 {search.recall(view, space, model):.3f} on held-out pairs of D"
    st.markdown(f"{counts}. :gray[{method}, {1000 * answer.seconds:.0f} ms]")
    figure = nearest_figure(similarity, flagged, poisoned)
    charts.draw(figure, "nearest-chart", "Similarity of the nearest pairs, flagged or not")
    remarks = [
        f"{n}. similarity {s:.3f}" + (" · flagged" if f else "")
        for n, (s, f) in enumerate(zip(similarity, flagged, strict=True), 1)
    ]
    selection.cards(view, table, rows, remarks, selected)
    _select_button(f"Select these {len(rows)}", "select-nearest", table.ids(rows))


def _index(pairs: int, space: str, model: str) -> neighbors.Approximate | None:
    """The approximate index, where it is wanted and built; None: search exactly."""
    about = "Built once as a job; its recall is measured against the exact answer"
    wanted = pairs >= search.APPROXIMATE_FROM and controls.toggle(
        "Use an approximate index", False, "approximate", about
    )
    needed = "No index yet for this space and model; until then the search is exact."
    options = search.index_options(space, model)
    if wanted and build(view, "index", options, needed, "Build the index", costs.UNKNOWN):
        return search.index(view, space, model)
    return None


def _select_button(label: str, key: str, ids: list[str]) -> None:
    rule = query.among(ids)
    st.button(label, key=key, icon=":material/filter_alt:", on_click=safe(selection.select), args=(rule,))


def _groups(table: PairTable, space: str, model: str) -> None:
    st.subheader("Groups of near-duplicates among the flagged")
    if table.flagged is None:
        missing(view, "flag", "Nothing is flagged yet.")
        return
    rows = table.most_suspicious(table.flagged, MOST_GROUPED)
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
        help="Two flagged pairs of at least this similarity are in one group, and so are the pairs linked to them",
    )
    label = search.duplicates(view, space, model, rows, least)
    counts = np.bincount(label[label >= 0]) if (label >= 0).any() else np.array([], int)
    groups = "1 group" if len(counts) == 1 else f"{len(counts)} groups"
    st.caption(
        f"{len(rows):,} flagged pairs by their {space} similarity under the {_title(model)}: {groups},"
        f" {int((label < 0).sum()):,} pairs alone."
    )
    for number in range(min(EXAMPLES, len(counts))):
        _group(table, rows[label == number], number)


def _group(table: PairTable, members: np.ndarray, number: int) -> None:
    with st.container(border=True):
        counts = f"**Group {number + 1}: {len(members):,} pairs**"
        if table.poisoned is not None:
            counts += f", {int(table.poisoned[members].sum()):,} poisoned"
        words = search.common_words(table.frame(members, ["caption"])["caption"])
        with st.container(horizontal=True, vertical_alignment="center"):
            said = plain(", ".join(words)) or "no word"
            st.markdown(f"{counts}. In most of their captions: {said}.", width="stretch")
            _select_button("Select", f"select-group-{number}", table.ids(members))
        first = members[:EXAMPLES]
        selection.cards(view, table, first, [f"overfit {table.similarity_overfit[r]:.2f}" for r in first])


needs(view, "score", "There are no pairs yet.", explore, least="data")
