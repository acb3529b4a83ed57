"""Separation: does the backdoor separate from the clean pairs, under which model, and what do the thresholds catch?

Cosine similarity of every image with its own caption. Poisons fit their captions badly under the clean reference, well
under the poisoned model, and best under the overfitted one, where the rest of the suspicious pairs stay behind.
"""

import numpy as np
import pandas as pd
import streamlit as st

from ubt.evaluation import detection
from ubt.figures import roc
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import apply, charts, pair_picker, pairs, selection, thresholds, tuning
from ubt.ui.errors import guard
from ubt.ui.job_panel import needs
from ubt.ui.navigation import current, heading
from ubt.ui.paper_results import paper_figures

GRID = 24

view = current()
heading("separation")


@st.fragment
@guard()
def explore() -> None:
    table, above = selection.pairs_shown(view), st.container(key=selection.BAR)
    mixture = pairs.mixture(view, table)
    chosen, _ = tuning.sliders(view, table, mixture)
    selected = selection.bar(view, table, chosen, above)
    only_suspicious, whole = thresholds.switches(view)
    caught, group = tuning.caught(view, table, chosen)
    among = caught.suspicious if only_suspicious else None
    shares = thresholds.shares(view, table, selected.rows, among)
    thresholds.histograms(view, table, caught, chosen.threshold, among=among, selected=shares, whole=whole)
    charts.veil("veil-histograms", selected.rows, curves=shares)
    selection.listen({f"chart-{name}": name for name in table.similarities()}, table)
    thresholds.counts(view, table, caught, mixture, chosen, bool(group), selected.rows)
    apply.thresholds(view, table, chosen, caught)
    if selected.text:
        st.subheader("The selection")
        selection.listing(view, table, selected)
    if table.similarity_overfit is not None:
        _topk(table, caught, group, chosen.k, selected.rows)
        if table.poisoned is not None:
            _curves(table, caught, chosen.threshold)


def _topk(
    table: PairTable, caught: detection.Caught, group: dict[int, int], k: int, selected: np.ndarray | None
) -> None:
    st.subheader("D_topk: the pairs of D_susp most similar under the overfitted model")
    topk = np.flatnonzero(caught.chosen["D_topk"])
    topk = topk[np.argsort(-table.similarity_overfit[topk], kind="stable")]
    rows = topk[:GRID]
    if group:
        st.caption(
            f"The captions form {max(group.values()) + 1} groups of similar ones, each perhaps a backdoor of its"
            " own; each"
            f" contributes its first {k}."
        )
    rank = {row: n for n, row in enumerate(caught.ranked[: 50 * GRID], 1)}
    remarks = [
        (f"{rank[r]}. " if r in rank else "")
        + f"similarity {table.similarity_overfit[r]:.3f}"
        + (f", group {group[r] + 1}" if group else "")
        for r in rows
    ]
    selection.cards(view, table, rows, remarks, selected)
    if len(topk) > GRID:
        st.caption(f"The first {GRID} of {len(topk)}.")
    if len(rows):
        _links(table.frame(rows, ["id", "caption"]))


def _links(some: pd.DataFrame) -> None:
    """One of the pairs, and the pages that show more of it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        caption = {i: f"{n}. {c[:90]}" for n, (i, c) in enumerate(zip(some["id"], some["caption"], strict=True), 1)}
        pair = st.selectbox("One of them", list(caption), format_func=caption.get, key=f"carry-{view.name}")
        pair_picker.links(view, pair)


@st.cache_data(max_entries=4, show_spinner=False)
def _judged(keys: tuple, _table: PairTable) -> tuple[dict[str, dict], dict[str, float | None]]:
    """Curves and AUROC of each similarity against the truth."""
    curves, area = {}, {}
    scored_on = {"reference, in D": None, "M_bd, in D": None, "overfitted, in D_susp": _table.suspicious}
    for (name, among), column, sign in zip(scored_on.items(), SIMILARITIES, (-1, 1, 1), strict=True):
        if column in _table:
            rows = np.flatnonzero(np.isfinite(_table[column]) & (True if among is None else among))
            score, truth = sign * _table[column][rows], _table.poisoned[rows]
            curves[name], area[name] = detection.curves(score, truth), detection.auroc(score, truth)
    return curves, area


def _curves(table: PairTable, caught: detection.Caught, threshold: float) -> None:
    inside = st.expander("ROC and precision-recall (with the ground truth)", key="curves", bind="query-params")
    if not inside.open:
        return
    with inside:
        curves, area = _judged(tuple(view.key(s) for s in SIMILARITIES.values() if view.has(s)), table)
        if not any(curves.values()):
            st.info("The case has no poisons, or nothing but poisons: there is no curve to draw.")
            return
        name = "overfitted, in D_susp"
        points = _operating_points(table, caught, threshold, name) if curves.get(name) else {}
        for column, kind, title in zip(st.columns(2), ("roc", "pr"), ("ROC", "Precision-recall"), strict=True):
            charts.draw(roc.curve(kind, curves, points.get(kind)), f"curve-{kind}", title, column)
        areas = "; ".join(f"{n} {value:.4f}" for n, value in area.items() if value is not None)
        st.caption(f"AUROC: {areas}. Low reference similarity is suspicious.")


def _operating_points(table: PairTable, caught: detection.Caught, threshold: float, name: str) -> dict[str, dict]:
    """Where the threshold stands on both curves of the overfitted similarity."""
    pool = caught.suspicious if table.suspicious is None else table.suspicious
    flagged = pool & (table.similarity_overfit >= threshold)
    hits, poisons = int((flagged & table.poisoned).sum()), int((pool & table.poisoned).sum())
    return {
        "pr": {name: (hits / poisons, hits / max(1, flagged.sum()))},
        "roc": {name: ((flagged.sum() - hits) / (pool.sum() - poisons), hits / poisons)},
    }


needs(view, "score", "The pairs have not been scored yet.", explore)
st.divider()
paper_figures(("3", "4", "6", "7"))
