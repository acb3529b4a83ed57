"""The one selection: a query over the pairs' columns, shared by every page, held by the address bar, saved as a view,
exported.

Whatever is selected by hand becomes a query: a brushed range, a lasso's outline, ticked or clicked pairs by id. So a
copied address, a saved view and the query in the box say the same thing.
"""

import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ubt.core.errors import UbtError
from ubt.core.files import digest
from ubt.pairs import predicates, query
from ubt.pairs.annotations import LABELS
from ubt.pairs.table import ABOUT, SIMILARITIES, PairTable
from ubt.ui import (
    apply,
    chart_events,
    completion,
    components,
    controls,
    images,
    pair_export,
    pairs,
    query_params,
    roles,
    stale,
)
from ubt.ui.errors import guard, plain, safe, show_failure
from ubt.ui.navigation import PAGES
from ubt.ui.tuning import Tuned
from ubt.ui.view import View

DETAILS = ("id", "caption", *SIMILARITIES, "rank", "flagged", "group", "cluster", "label", "note")
"""Columns that describe one pair."""
LISTED = 200
"""Rows of the table, most suspicious first."""
GRID = 24
AGAIN = 1.0
"""Seconds after a view was deleted in which no other is."""
KEPT = 20
"""Selections that *Back* remembers."""
HELP = (
    "Select pairs by their columns, for example  \n`similarity_overfit > 0.8 and suspicious`  \n`caption contains"
    ' "banana" and not flagged`  \n`label = backdoor or note is not missing`  \n`cluster in (0, 3) and'
    " similarity_reference between -0.1 and 0.2`  \nThe words: and, or, not, in, between, contains, is missing, and"
    " inside for an outline on the map."
)
BAR = "selection-bar"
"""The key of the container that holds the bar; it stays in sight while the page scrolls."""
EMPTY = "*"
"""What a link's `select` says to clear the selection."""


@dataclass(frozen=True)
class Selection:
    """The selection on the pairs in view.

    Args:
        text: the query as it stands; empty if nothing is selected. rows: which pairs it selects (n,); None without a
            query that can be applied. names: of the columns that it uses.
    """

    text: str
    rows: np.ndarray | None
    names: frozenset[str] = frozenset()


def current() -> str:
    """The query as it stands: the address bar's, if a link has set another one since."""
    if (text := query_params.read("select")) is not None:
        st.session_state["selection"] = "" if text == EMPTY else text
    return st.session_state.setdefault("selection", "")


def select(text: str, narrow: bool = False) -> None:
    """Select by a query, or narrow the selection by it; a standing query that cannot be read is replaced."""
    state, before = st.session_state, current()
    if narrow and before:
        with contextlib.suppress(predicates.BadQuery):
            text = query.both(before, text)
    state.pop("refused", None)
    if text == before:
        return
    _remember(before)
    _set(text)


def _remember(text: str) -> None:
    """Let *Back* return to a selection."""
    st.session_state["selections"] = [*st.session_state.get("selections", []), text][-KEPT:]


def _set(text: str) -> None:
    st.session_state["selection"] = text
    st.session_state.pop("refused", None)
    stale.put("rule", text)
    query_params.write("select", text)


def _typed(table: PairTable) -> None:
    """Select by the query in the box. One that cannot be applied stays in the box, and the selection stays as it is."""
    text = st.session_state["rule"].strip()
    if stale.kept("rule") != st.session_state["rule"]:
        return
    try:
        if text:
            query.parse(text, table).rows(table)
    except predicates.BadQuery as e:
        st.session_state["refused"] = text, str(e)
    else:
        select(text)


@safe
def _back() -> None:
    if earlier := st.session_state.get("selections"):
        _set(earlier.pop())


def _simplified(outline: np.ndarray) -> np.ndarray:
    """An outline's corners without those that lie within a three-hundredth of its size of the line between their
    neighbours.
    """
    from skimage.measure import approximate_polygon

    corners = approximate_polygon(np.concatenate([outline, outline[:1]]), np.ptp(outline, axis=0).max() / 300)[:-1]
    return corners if len(corners) >= 3 else outline


def clicked() -> list[str]:
    """The pairs that were clicked one by one, while they are the selection or a part of it."""
    text, ids = st.session_state.get("clicked", ("", []))
    return ids if text and text == current() else []


def _click(pair: str, add: bool) -> None:
    """Select a pair; `add` adds it to the pairs clicked before, or removes it from them."""
    before, ids = current(), clicked()
    stale.put("pair", pair)
    if add and before and not ids:
        text, ids = f"({before}) or {query.among([pair])}", [pair]
    else:
        ids = [pair] if not add else [p for p in ids if p != pair] if pair in ids else [*ids, pair]
        text = query.among(ids) if ids else ""
    select(text)
    st.session_state["clicked"] = text, ids


def listen(axes: dict[str, str], table: PairTable) -> None:
    """Select what is brushed or outlined on charts, and the cards and points that are clicked.

    Args:
        axes: a chart's key to the similarity on its x axis, or to the map that it shows.
    """
    listen_to_outlines(axes)
    listen_to_clicks(axes, table)


def listen_to_outlines(axes: dict[str, str]) -> None:
    """Select what is brushed or outlined on charts; `axes` as of `listen`."""

    def on_outline(chart: str, x: list[float], y: list[float]) -> None:
        name, narrow = axes[chart], bool(st.session_state.get("narrow"))
        if not x:
            select("")
        elif name in SIMILARITIES:
            select(query.between(name, min(x), max(x)), narrow)
        else:
            select(query.inside(name, _simplified(np.stack([x, y], axis=1))), narrow)

    chart_events.outlines(tuple(axes), safe(on_outline))


def listen_to_clicks(axes: dict[str, str], table: PairTable, alone: bool = False) -> None:
    """Select the cards and points that are clicked; `axes` as of `listen`.

    Args:
        alone: a click chooses the pair to look at, and only one with Shift or Ctrl changes the selection.
    """

    def on_click(pair: str | int, add: bool) -> None:
        if not isinstance(pair, str):
            if not 0 <= pair < len(table):
                return
            pair = table.ids([pair])[0]
        if alone and not add:
            stale.put("pair", pair)
        else:
            _click(pair, add)

    maps = tuple(chart for chart, name in axes.items() if name not in SIMILARITIES)
    chart_events.clicks(maps, safe(on_click))


def pairs_shown(view: View) -> PairTable:
    """The pairs, without the ground truth where it is hidden."""
    table = pairs.table(view)
    return table if st.session_state.get("reveal", True) else table.without_truth


def opened(view: View, live: bool = False) -> tuple[PairTable, Selection]:
    """The pairs as `pairs_shown` gives them, and the selection, whose bar is drawn; `live`: see `bar`."""
    table = pairs_shown(view)
    return table, bar(view, table, live=live)


def truth_toggle() -> bool:
    """The switch that shows the ground truth, and whether it does."""
    return controls.toggle("Show the ground truth", True, "reveal", "A lab case knows it; a defender does not")


def bar(view: View, table: PairTable, tuned: Tuned | None = None, at: Any = None, live: bool = False) -> Selection:
    """One line that stays in sight: the box with the query, what it selects in counts, and the buttons that go back,
    clear, save and export.

    Args:
        tuned: where the sliders of this page stand, if it has them, which are exported. at: the container, keyed `BAR`,
            that it is drawn in; None: here. live: the page's sliders move without the bar being drawn again.
    """
    show_failure()
    selected = standing(table)
    text = selected.text
    stale.put("rule", st.session_state["refused"][0] if "refused" in st.session_state else text)
    query_params.write("select", text)
    with at or st.container(key=BAR):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            _query_box(table, text)
            with st.container(key="said", width="content"):
                st.markdown(_counted(view, table, selected))
            about = "What is brushed or outlined next narrows the selection instead of replacing it"
            controls.toggle("Narrow", False, "narrow", about)
            if selected.rows is not None and selected.rows.any():
                _menu(view, table, text, selected.rows)
            _views(view, live)
            pair_export.offer(view, table, text, selected.rows, tuned, live)
        _refused(text)
        if len(text) > query_params.LONGEST:
            st.caption("This query is too long for the address bar; save it as a view to come back to it.")
    completion.offer("rule", [*table, *sorted(query.KEYWORDS)])
    return selected


def _query_box(table: PairTable, text: str) -> None:
    st.text_input(
        "Selection: a query over the pairs",
        key="rule",
        on_change=safe(_typed),
        args=(table,),
        placeholder="brush a histogram, lasso the map, click or tick pairs, or type a query",
        persist_state="session",
        label_visibility="collapsed",
    )
    earlier = st.session_state.get("selections")
    st.button(
        "Back",
        key="select-back",
        icon=":material/undo:",
        disabled=not earlier,
        on_click=_back,
        help="The selection before this one",
    )
    clear = {"key": "select-clear", "icon": ":material/close:", "on_click": safe(select), "args": ("",)}
    st.button("Clear", disabled=not text and "refused" not in st.session_state, help="Select nothing", **clear)


def standing(table: PairTable) -> Selection:
    """The selection as it stands; where a link's query cannot be applied to these pairs, the last one that could."""
    state, wanted = st.session_state, current()
    for text in (wanted, state.get("applied", ""), ""):
        try:
            selected = Selection(text, *_rows_of(text, table)) if text else Selection(text, None)
        except UbtError as e:
            if text == wanted:
                state["refused"] = text, str(e)
            continue
        break
    if text != wanted:
        if wanted == state.get("applied"):
            _remember(wanted)
        state["selection"] = text
    state["applied"] = text
    return selected


def _rows_of(text: str, table: PairTable) -> tuple[np.ndarray, frozenset[str]]:
    """Which pairs a query selects, and the columns it uses; asked for by every part of a page, it is read once."""
    known = st.session_state.get("rows-of")
    if known is None or known[0] != text or known[1] is not table:
        read = query.parse(text, table)
        known = st.session_state["rows-of"] = text, table, (read.rows(table), read.names)
    return known[2]


def _refused(text: str) -> None:
    if "refused" in st.session_state:
        _, why = st.session_state["refused"]
        still = f"Still selected: {plain(text)}" if text else "Nothing is selected"
        why = plain(why.removeprefix("query, "))
        st.error(f"This query cannot be applied: {why}. {still}.", icon=":material/filter_alt_off:")


def _counted(view: View, table: PairTable, selected: Selection) -> str:
    """How many pairs are selected, and how many of them are poisoned, or are estimated to be."""
    total = len(table)
    if selected.rows is None:
        return f"No pair of {total:,} is selected." if not selected.text else ""
    if not (count := int(selected.rows.sum())):
        return f":orange-badge[none of {total:,}] No pair matches this query; *Back* returns to the last selection."
    counts = f":blue-badge[{count:,} of {total:,}] selected"
    if table.poisoned is not None:
        return f"{counts}; {int((selected.rows & table.poisoned).sum()):,} poisoned"
    mixture = pairs.mixture(view, table)
    if mixture is None:
        return counts
    inside = selected.rows & table.suspicious
    expected = round(float(mixture.probability(table.similarity_overfit[inside]).sum()))
    outside = count - int(inside.sum())
    return f"{counts}; an estimated {expected:,} poisoned" + (
        f" in D_susp, {outside:,} outside it are not estimated" if outside else ""
    )


def _views(view: View, live: bool) -> None:
    menu = st.popover("Views", icon=":material/bookmark:", key="views", on_change="rerun" if live else "ignore")
    if live and not menu.open:
        return
    review = pairs.review(view)
    with menu, guard():
        st.caption(HELP)
        st.caption("A view keeps the page, the query and the thresholds, not the rows.")
        with (
            st.form("save-view", border=False, clear_on_submit=True),
            st.container(horizontal=True, vertical_alignment="bottom"),
        ):
            name = st.text_input("Name", max_chars=80)
            if (
                st.form_submit_button("Save", icon=":material/bookmark_add:", disabled=not roles.may_change())
                and name.strip()
            ):
                shown = st.query_params.to_dict() | query_params.written()
                address = {k: v for k, v in shown.items() if k not in ("case", "select")}
                review.save_view(name.strip(), current(), address | {"page": _page()})
        for title, saved in review.views().items():
            _view_link(view, title, saved)


def _view_link(view: View, title: str, saved: dict) -> None:
    address = {k: v for k, v in saved["query"].items() if k != "page"}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            PAGES.get(saved["query"].get("page"), PAGES["separation"]),
            label=plain(title),
            query_params=address | {"case": view.name, "select": saved["rule"] or EMPTY},
            width="stretch",
        )
        roles.button(
            "Delete",
            key=f"drop-{title}",
            icon=":material/delete:",
            type="tertiary",
            on_click=safe(_drop),
            args=(view, title),
        )


def _drop(view: View, title: str) -> None:
    """Delete a view. The next one then takes its place under the pointer, where a double click would delete it too."""
    state, now = st.session_state, time.monotonic()
    if now - state.get("dropped", -AGAIN) >= AGAIN:
        pairs.review(view).delete_view(title)
        state["dropped"] = now


def _page() -> str:
    here = st.context.url.rstrip("/").rsplit("/", 1)[-1].split("?")[0] if st.context.url else ""
    return here if here in PAGES else "separation"


def listing(view: View, table: PairTable, selected: Selection) -> None:
    """The selected pairs as rows and images; ticked rows or clicked cards become the selection."""
    if selected.rows is None:
        st.caption("Select pairs to see them here as rows and images.")
        return
    rows = table.most_suspicious(selected.rows, LISTED)
    if not len(rows):
        return
    ticked = _rows(table, rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        if (total := int(selected.rows.sum())) > len(rows):
            st.caption(f"The {len(rows)} most suspicious of {total:,}.")
        st.button(
            f"Select the {len(ticked)} ticked",
            key="select-ticked",
            disabled=not ticked,
            on_click=safe(select),
            args=(query.among(ticked) if ticked else "",),
        )
    cards(view, table, rows[:GRID], [_similarities(table, r) for r in rows[:GRID]])


def _rows(table: PairTable, rows: np.ndarray) -> list[str]:
    """The table of some pairs; returns the ids of those that are ticked."""
    names = ["id", "caption", *SIMILARITIES, "flagged", "cluster", "label", "note", "poisoned"]
    frame = table.frame(rows, names).reindex(columns=[n for n in names if n in table])
    numbers = {
        n: st.column_config.NumberColumn(n.replace("similarity_", ""), help=ABOUT[n], format="%.3f")
        for n in SIMILARITIES
    }
    shown = st.dataframe(
        frame,
        hide_index=True,
        height=min(320, 36 * len(rows) + 40),
        on_select="rerun",
        selection_mode="multi-row",
        key=f"ticked-{digest(list(frame['id']))}",
        column_config=numbers | {n: st.column_config.Column(help=ABOUT[n]) for n in frame if n not in SIMILARITIES},
    )
    return list(frame["id"].iloc[shown["selection"]["rows"]])


def _menu(view: View, table: PairTable, text: str, rows: np.ndarray) -> None:
    """What can be done with all selected pairs at once; worked out once it is opened."""
    menu = st.popover("Act", icon=":material/bolt:", key="act", on_change="rerun")
    if not menu.open:
        return
    with menu, guard():
        st.caption(f"One decision for all {int(rows.sum()):,} selected pairs; *Undo* on the page Review reverts it.")
        for label in LABELS:
            roles.button(
                f"Label {label}", key=f"bulk-{label}", width="stretch", on_click=_label_all, args=(view, text, label)
            )
        if view.has("select"):
            known = " With the truth in sight, this may use what no defender knows." * (table.poisoned is not None)
            st.caption(f"Or use them as D_topk, and unlearn.{known}")
            ids = table.ids(np.flatnonzero(rows)) if rows.sum() <= apply.MOST_CONFIRMED else [""] * int(rows.sum())
            apply.confirmed(view, ids, "selected", "with-selected")


@safe
def _label_all(view: View, text: str, label: str) -> None:
    """Label what the query selects by now: labels may have been given since it was drawn."""
    table = pairs_shown(view)
    pairs.review(view).label(table.ids(np.flatnonzero(query.parse(text, table).rows(table))), label, session_id())


def _similarities(table: PairTable, row: int) -> str:
    titles = {"similarity_reference": "ref.", "similarity_overfit": "overfit"}
    return ", ".join(f"{title} {table[name][row]:.2f}" for name, title in titles.items() if name in table)


def cards(
    view: View,
    table: PairTable,
    rows: np.ndarray,
    remarks: Sequence[str],
    selected: np.ndarray | None = None,
    width: float = 9.2,
    clickable: bool = True,
) -> None:
    """Pairs as cards that can be clicked, those not selected greyed out."""
    some = table.frame(np.asarray(rows, int), ["id", "caption", "label"])
    components.grid(
        images.some(view, rows),
        some["caption"],
        remarks,
        None if table.poisoned is None else table.poisoned[rows],
        ids=some["id"] if clickable else (),
        labels=some["label"],
        faded=None if selected is None else ~selected[rows],
        width=width,
    )


def session_id() -> str:
    """Whose decisions *Undo* reverts: whoever is logged in or, without a log-in, this browser session."""
    return roles.who() or st.session_state.setdefault("who", secrets.token_hex(8))
