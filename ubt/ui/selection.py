"""The one selection: a rule over the pairs' columns, shared by every page, held by the address bar, saved as a view,
exported.

Whatever a hand selects becomes a rule: a brushed range, a lasso's outline, ticked or clicked pairs by id. So a copied
address, a saved view and the rule in the box say the same thing.
"""

import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ubt import __version__
from ubt.attacks import ATTACKS
from ubt.core.errors import UbtError
from ubt.core.files import digest
from ubt.pairs import predicates
from ubt.pairs import query as rules
from ubt.pairs import table as columns
from ubt.pairs.annotations import LABELS
from ubt.pairs.export import KINDS, packed
from ubt.pairs.table import ABOUT, SIMILARITIES, TRUTH, first
from ubt.ui import chart_events, components, images, pairs, query_params
from ubt.ui.errors import guard, plain, safe, say_failed
from ubt.ui.view import View

TOLD = ("id", "caption", *SIMILARITIES, "rank", "flagged", "group", "cluster", "label", "note")
"""Columns that tell about one pair."""
SHOWN = 200
"""Rows of the table, most suspicious first."""
GRID = 24
KEPT = 20
"""Selections that *Back* goes through."""
HELP = (
    "Select pairs by their columns, for example  \n`similarity_overfit > 0.8 and suspicious`  \n`caption contains"
    ' "banana" and not flagged`  \n`label = backdoor or note is not missing`  \n`cluster in (0, 3) and'
    " similarity_reference between -0.1 and 0.2`  \nThe words: and, or, not, in, between, contains, is missing, and"
    " inside for an outline on the map."
)


NOTHING = "*"
"""What a link says that takes the selection back."""


@dataclass(frozen=True)
class Picked:
    """The selection on the pairs in view.

    Args:
        rule: as it stands; empty if nothing is selected. rows: which pairs it selects (n,); None without a rule that
            can be applied.
    """

    rule: str
    rows: np.ndarray | None


def rule() -> str:
    """The rule as it stands: the address bar's, if a link has brought another one since."""
    if (text := query_params.asked("select")) is not None:
        st.session_state["selection"] = "" if text == NOTHING else text
    return st.session_state.setdefault("selection", "")


def choose(text: str, narrow: bool = False) -> None:
    """Select by a rule from now on, or narrow what is selected by it; a standing rule that cannot be read is
    replaced.
    """
    state, before = st.session_state, rule()
    if narrow and before:
        with contextlib.suppress(predicates.BadRule):
            text = rules.both(before, text)
    if text == before:
        return
    state["selections"] = [*state.get("selections", []), before][-KEPT:]
    _become(text)


def _become(text: str) -> None:
    st.session_state["selection"] = st.session_state["rule"] = text
    query_params.tell("select", text)


@safe
def _back() -> None:
    if before := st.session_state.get("selections"):
        _become(before.pop())


def _drawn(axes: dict[str, str]):
    def drawn(chart: str, x: list[float], y: list[float]) -> None:
        name = axes[chart]
        if not x:
            choose("")
        elif name in SIMILARITIES:
            choose(rules.between(name, min(x), max(x)), _narrows())
        else:
            choose(rules.inside(name, _thinned(np.stack([x, y], axis=1))), _narrows())

    return drawn


def _thinned(outline: np.ndarray) -> np.ndarray:
    """An outline's corners without those that lie within a three-hundredth of its size of the line between their
    neighbours.
    """
    from skimage.measure import approximate_polygon

    found = approximate_polygon(np.concatenate([outline, outline[:1]]), np.ptp(outline, axis=0).max() / 300)[:-1]
    return found if len(found) >= 3 else outline


def _narrows() -> bool:
    return bool(st.session_state.get("narrow"))


def clicked() -> list[str]:
    """The pairs that were clicked one by one, while they are the selection or a part of it."""
    text, held = st.session_state.get("clicked", ("", []))
    return held if text and text == rule() else []


def _picked(pair: str, add: bool) -> None:
    before, held = rule(), clicked()
    st.session_state["pair"] = pair
    if add and before and not held:
        text, held = f"({before}) or {rules.among([pair])}", [pair]
    else:
        held = [pair] if not add else [p for p in held if p != pair] if pair in held else [*held, pair]
        text = rules.among(held) if held else ""
    choose(text)
    st.session_state["clicked"] = text, held


def listen(axes: dict[str, str], known: dict[str, Any]) -> None:
    """Select what is brushed or outlined on charts, and the cards and points that are clicked.

    Args:
        axes: a chart's key to the similarity on its x axis, or to the map that it shows.
    """

    def picked(which: str | int, add: bool) -> None:
        if isinstance(which, str):
            _picked(which, add)
        elif 0 <= which < len(known["id"]):
            _picked(known["id"][which].as_py(), add)

    chart_events.listen(tuple(axes), safe(_drawn(axes)), safe(picked))


def opened(view: View) -> tuple[dict[str, Any], bool, Picked]:
    """The pairs' columns, whether to show the ground truth, and the selection, whose bar is drawn."""
    known = pairs.known(view)
    reveal = "poisoned" in known and st.session_state.get("reveal", True)
    return known, reveal, bar(view, known, reveal)


def truth_toggle() -> bool:
    """The switch that shows the ground truth, and whether it does."""
    return st.toggle(
        "Show the ground truth",
        True,
        key="reveal",
        persist_state="session",
        help="A lab case knows it; a defender does not",
    )


def bar(view: View, known: dict[str, Any], reveal: bool) -> Picked:
    """The box with the rule, what it selects in counts, and the buttons that go back, clear, save and export."""
    say_failed()
    text = rule()
    if st.session_state.get("rule") != text:
        st.session_state["rule"] = text
    query_params.tell("select", text)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.text_input(
            "Selection: a rule over the pairs",
            key="rule",
            on_change=safe(lambda: choose(st.session_state["rule"].strip())),
            help=HELP,
            placeholder="brush a histogram, lasso the map, click or tick pairs, or type a rule",
            max_chars=rules.LENGTH,
        )
        st.button(
            "Back",
            key="select-back",
            icon=":material/undo:",
            disabled=not st.session_state.get("selections"),
            on_click=_back,
        )
        st.button(
            "Clear", key="select-clear", icon=":material/close:", disabled=not text, on_click=safe(choose), args=("",)
        )
    picked = _applied(text, known, reveal)
    if len(text) > query_params.LONGEST:
        st.caption("This rule is too long for the address bar; save it as a view to come back to it.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(key="said"):
            st.markdown(_said(view, known, picked, reveal))
        st.toggle(
            "Narrow",
            key="narrow",
            persist_state="session",
            help="What is brushed or outlined next narrows the selection instead of replacing it",
        )
        _views(view)
        _export(view, known, picked, reveal)
    return picked


def _applied(text: str, known: dict[str, Any], reveal: bool) -> Picked:
    if not text:
        return Picked("", None)
    try:
        parsed = rules.parse(text)
        return Picked(text, parsed.rows({n: v for n, v in known.items() if reveal or n not in TRUTH}))
    except UbtError as e:
        st.error(f"This selection cannot be applied, all pairs are shown. {plain(e)}", icon=":material/filter_alt_off:")
        return Picked(text, None)


def _said(view: View, known: dict[str, Any], picked: Picked, reveal: bool) -> str:
    total = len(known["id"])
    if picked.rows is None:
        return f"No pair of {total:,} is selected." if not picked.rule else ""
    if not (count := int(picked.rows.sum())):
        return f":orange-badge[none of {total:,}] No pair fits this rule; *Back* brings the last selection."
    said = f":blue-badge[{count:,} of {total:,}] selected"
    if reveal and "poisoned" in known:
        return f"{said}; {int((picked.rows & known['poisoned']).sum()):,} poisoned"
    found = pairs.mixture(view, known)
    if found is None:
        return said
    inside = picked.rows & known["suspicious"]
    expected = round(float(found.probability(known["similarity_overfit"][inside]).sum()))
    outside = count - int(inside.sum())
    return f"{said}; an estimated {expected:,} poisoned" + (
        f" in D_susp, {outside:,} outside it are not estimated" if outside else ""
    )


def _views(view: View) -> None:
    kept = pairs.review(view)
    with st.popover("Views", icon=":material/bookmark:"), guard():
        st.caption("A view keeps the page, the rule and the thresholds, not the rows.")
        with (
            st.form("save-view", border=False, clear_on_submit=True),
            st.container(horizontal=True, vertical_alignment="bottom"),
        ):
            name = st.text_input("Name", max_chars=80)
            if st.form_submit_button("Save", icon=":material/bookmark_add:") and name.strip():
                query = {
                    k: v
                    for k, v in (st.query_params.to_dict() | query_params.told()).items()
                    if k not in ("case", "select")
                }
                kept.save_view(name.strip(), rule(), query | {"page": _page()})
        for title, saved in kept.views().items():
            with st.container(horizontal=True, vertical_alignment="center"):
                query = {k: v for k, v in saved["query"].items() if k != "page"} | {
                    "case": view.name,
                    "select": saved["rule"] or NOTHING,
                }
                st.page_link(
                    f"pages/{saved['query'].get('page', 'separation')}.py",
                    label=plain(title),
                    query_params=query,
                    width="stretch",
                )
                st.button(
                    "Delete",
                    key=f"drop-{title}",
                    icon=":material/delete:",
                    type="tertiary",
                    on_click=safe(kept.delete_view),
                    args=(title,),
                )


def _page() -> str:
    from ubt.ui.navigation import PAGES

    here = st.context.url.rstrip("/").rsplit("/", 1)[-1].split("?")[0] if st.context.url else ""
    return here if here in PAGES else "separation"


def _export(view: View, known: dict[str, Any], picked: Picked, reveal: bool) -> None:
    rows = np.arange(len(known["id"])) if picked.rows is None else np.flatnonzero(picked.rows)
    what = f"all {len(rows):,} pairs" if picked.rows is None else f"the {len(rows):,} selected"
    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"A zip with {what}, their columns and labels, and about.json with rule and settings. In CSV a formula is"
            " made plain text."
        )
        for kind in KINDS:

            def data(kind: str = kind) -> bytes:
                some = columns.frame({n: v for n, v in known.items() if reveal or n not in TRUTH}, rows)
                settings = {
                    g: v for g, v in view.record["settings"].items() if reveal or (g not in ATTACKS and g != "attack")
                }
                about = {
                    "case": view.name,
                    "rule": picked.rule,
                    "address": query_params.told(),
                    "pairs": len(rows),
                    "columns": {n: ABOUT.get(n, "") for n in some},
                    "settings": settings,
                    "program": f"UBT Inspector {__version__}",
                    "when": time.strftime("%Y-%m-%dT%H:%M:%S"),
                }
                return packed(some, kind, about)

            name = f"pairs-{view.name}-{kind.lower()}.zip"
            st.download_button(
                kind,
                data,
                name,
                "application/zip",
                key=f"export-{kind}",
                icon=":material/download:",
                on_click="ignore",
                width="stretch",
            )


def listing(view: View, known: dict[str, Any], picked: Picked, reveal: bool) -> None:
    """The selected pairs as rows and images; ticked rows or clicked cards become the selection."""
    if picked.rows is None:
        st.caption("Select pairs to see them here as rows and images.")
        return
    rows = first(known, picked.rows, SHOWN)
    if not len(rows):
        return
    names = [
        "id",
        "caption",
        *(n for n in SIMILARITIES if n in known),
        "flagged",
        "cluster",
        "label",
        "note",
        *(TRUTH if reveal else ()),
    ]
    table = columns.frame(known, rows, names).reindex(columns=[n for n in names if n in known])
    chosen = st.dataframe(
        table,
        hide_index=True,
        height=min(320, 36 * len(rows) + 40),
        on_select="rerun",
        selection_mode="multi-row",
        key=f"ticked-{digest(list(table['id']))}",
        column_config={
            n: st.column_config.NumberColumn(n.replace("similarity_", ""), help=ABOUT[n], format="%.3f")
            for n in SIMILARITIES
        }
        | {n: st.column_config.Column(help=ABOUT[n]) for n in table if n not in SIMILARITIES},
    )
    ticked = list(table["id"].iloc[chosen["selection"]["rows"]])
    with st.container(horizontal=True, vertical_alignment="center"):
        if (total := int(picked.rows.sum())) > len(rows):
            st.caption(f"The {len(rows)} most suspicious of {total:,}.")
        st.button(
            f"Select the {len(ticked)} ticked",
            key="select-ticked",
            disabled=not ticked,
            on_click=safe(choose),
            args=(rules.among(ticked) if ticked else "",),
        )
        with st.popover("Label", icon=":material/label:"):
            st.caption(f"One decision for all {total:,} selected pairs; *Undo* on the page Review takes it back.")
            for label in LABELS:
                st.button(
                    label.capitalize(),
                    key=f"bulk-{label}",
                    width="stretch",
                    on_click=_label_all,
                    args=(view, known["id"], picked.rows, label),
                )
    cards(view, known, rows[:GRID], [_score(known, r) for r in rows[:GRID]], reveal)


@safe
def _label_all(view: View, ids: Any, rows: np.ndarray, label: str) -> None:
    pairs.review(view).label(ids.filter(rows).to_pylist(), label, who())


def _score(known: dict[str, Any], row: int) -> str:
    titles = {"similarity_reference": "ref.", "similarity_overfit": "overfit"}
    return ", ".join(f"{title} {known[name][row]:.2f}" for name, title in titles.items() if name in known)


def cards(
    view: View,
    known: dict[str, Any],
    rows: np.ndarray,
    said: list[str],
    reveal: bool,
    selected: np.ndarray | None = None,
    width: float = 9.2,
    clickable: bool = True,
) -> None:
    """Pairs as cards that can be clicked, those not selected greyed."""
    some = columns.frame(known, np.asarray(rows, int), ["id", "caption", "label"])
    truth = known["poisoned"][rows] if reveal and "poisoned" in known else None
    ids, faded = some["id"] if clickable else (), None if selected is None else ~selected[rows]
    components.grid(
        images.some(view, rows), some["caption"], said, truth, ids=ids, labels=some["label"], faded=faded, width=width
    )


def who() -> str:
    """This browser session, for whom *Undo* takes back."""
    return st.session_state.setdefault("who", secrets.token_hex(8))
