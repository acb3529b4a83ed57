"""Separation: does the backdoor separate from the clean pairs, under which model, and what do the thresholds catch?

Cosine similarity of every image with its own caption. Poisons fit their captions badly under the clean reference, well
under the poisoned model, and best under the overfitted one, where the rest of the suspicious pairs stay behind.
"""

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core import text
from ubt.evaluation import detection
from ubt.evaluation.label_free import Mixture, estimated
from ubt.evaluation.model_roles import SCORED, SUSPECT
from ubt.figures import roc, similarity
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import charts, components, controls, pair_picker, pairs, roles, selection, tuning
from ubt.ui.case_picker import make
from ubt.ui.errors import guard
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current, heading
from ubt.ui.paper_results import paper_figures
from ubt.ui.tuning import Tuned

GRID = 24

view = current()
heading("separation")


@st.fragment
@guard()
def explore() -> None:
    table, above = selection.pairs_shown(view), st.container()
    mixture = pairs.mixture(view, table)
    chosen = tuning.sliders(view, table, mixture)
    with above:
        selected = selection.bar(view, table, chosen)
    only_suspicious = _switches()
    caught, group = tuning.caught(view, table, chosen)
    _histograms(table, caught, chosen.threshold, caught.suspicious if only_suspicious else None, selected.rows)
    _counts(table, caught, mixture, chosen, bool(group), selected.rows)
    if not chosen.as_run(view):
        _offer_case(chosen)
    if selected.text:
        st.subheader("The selection")
        selection.listing(view, table, selected)
    if table.similarity_overfit is not None:
        _topk(table, caught, group, chosen.k, selected.rows)
        if table.poisoned is not None:
            _curves(table, caught, chosen.threshold)


def _switches() -> bool:
    """The switches below the sliders; returns whether the histograms show D_susp alone."""
    with st.container(horizontal=True):
        if view.has("attack"):
            selection.truth_toggle()
        return controls.toggle(
            "D_susp only", False, "inside", "Histograms of the suspicious pairs alone", bind="query-params"
        )


def _histograms(
    table: PairTable, caught: detection.Caught, threshold: float, among: np.ndarray | None, selected: np.ndarray | None
) -> None:
    bins = pairs.prepared(view, table).bins
    lines = {
        "similarity_reference": (caught.cut, "D_susp", "left"),
        "similarity_overfit": (threshold, "flagged", "left" if threshold > 0.4 else "right"),
    }
    for column, role in zip(st.columns(3), SCORED, strict=True):
        name = role.similarity
        with column:
            st.markdown(f"**{f'The {SUSPECT}' if role.name == 'poisoned' and view.audits else role.heading}**")
            if name not in table:
                missing(
                    view, role.scored, "Not scored yet.", offer=name == next(n for n in SIMILARITIES if n not in table)
                )
                continue
            figure = similarity.histogram(bins[name], table.poisoned, lines.get(name), among=among, selected=selected)
            charts.draw(figure, f"chart-{name}", f"Similarity histogram, {role.heading}")
            if unscored := int((bins[name] == 255).sum()):
                st.caption(f"{unscored:,} pairs have no score and are not shown.")
    selection.listen({f"chart-{name}": name for name in table.similarities()}, table)


def _counts(
    table: PairTable,
    caught: detection.Caught,
    mixture: Mixture | None,
    chosen: Tuned,
    grouped: bool,
    selected: np.ndarray | None,
) -> None:
    confirmed = view.settings.select.confirmed.count("\n") + 1 if view.settings.select.confirmed else 0
    first = f"first {chosen.k}" + (" of each group" if grouped else "")
    titles = {
        "D_susp": f"D_susp: lowest {chosen.percent:g} %",
        "flagged": f"flagged: {chosen.threshold:.2f} and more",
        "D_topk": f"D_topk: {f'{confirmed} confirmed' if confirmed else first}",
    }
    sets, columns = caught.chosen, ["", "pairs"]
    rows = [[titles[name], f"{int(mask.sum()):,}"] for name, mask in sets.items()]
    if selected is not None:
        columns.append("selected")
        for row, mask in zip(rows, sets.values(), strict=True):
            row.append(f"{int((mask & selected).sum()):,}")
    if mixture:
        columns.append("estimated precision, without labels")
        for row, mask in zip(rows, sets.values(), strict=True):
            row.append(estimated(mixture, table, mask))
    if table.poisoned is not None:
        columns += ["poisoned", "precision", "recall of all poisons"]
        for row, c in zip(rows, caught.counts(table.poisoned).values(), strict=True):
            row += [f"{c['poisoned']:,}", text.percent(c["precision"]), text.percent(c["recall"])]
    components.table(columns, rows)


def _offer_case(chosen: Tuned) -> None:
    """Say that the sliders left what the case was run with, and offer a case that is run with them."""
    settings = view.settings
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "Computed from the cached scores: the overfitted model was trained with"
            f" {100 * settings.split.fraction:g} % and unlearning used k = {settings.k}."
        )
        if not view.imported and roles.button("Make a case with these", key="as-case", icon=":material/content_copy:"):
            make(settings.with_values({"split.fraction": chosen.percent / 100, "select.k": chosen.k}), run=False)
            st.toast("The case is saved, and now in view.")
            st.rerun(scope="app")


def _topk(
    table: PairTable, caught: detection.Caught, group: dict[int, int], k: int, selected: np.ndarray | None
) -> None:
    st.subheader("D_topk: the pairs of D_susp most similar under the overfitted model")
    topk = np.flatnonzero(caught.chosen["D_topk"])
    topk = topk[np.argsort(-table.similarity_overfit[topk], kind="stable")]
    rows = topk[:GRID]
    if group:
        st.caption(
            f"{max(group.values()) + 1} groups of captions are similar, each perhaps a backdoor of its own; each"
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
