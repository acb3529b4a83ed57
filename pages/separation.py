"""Separation: does the backdoor separate from the clean pairs, under which model, and what do the thresholds catch?

Cosine similarity of every image with its own caption. Poisons fit their captions badly under the clean reference, well
under the poisoned model, and best under the overfitted one, where the rest of the suspicious pairs stay behind.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core import text
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.evaluation import detection
from ubt.evaluation.label_free import Mixture, estimated
from ubt.evaluation.model_roles import SCORED, SUSPECT
from ubt.figures import roc, similarity
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import charts, components, controls, pair_picker, pairs, query_params, selection
from ubt.ui.case_picker import make
from ubt.ui.errors import guard
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current, heading
from ubt.ui.paper_results import paper_figures

GRID = 24

view = current()
heading("separation")


@dataclass(frozen=True)
class Chosen:
    """Where the sliders stand."""

    percent: float
    threshold: float
    k: int

    @property
    def as_run(self) -> bool:
        """Whether D_susp and D_topk are those that the case was run with."""
        return (self.percent, self.k) == (100 * view.settings.split.fraction, view.settings.k)


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    mixture = pairs.mixture(view, table)
    chosen = _sliders(table, mixture)
    only_suspicious = _switches()
    caught, group = _caught(table, chosen)
    _histograms(table, caught, chosen.threshold, caught.suspicious if only_suspicious else None, selected.rows)
    _counts(table, caught, mixture, chosen, bool(group), selected.rows)
    if not chosen.as_run:
        _offer_case(chosen)
    if selected.text:
        st.subheader("The selection")
        selection.listing(view, table, selected)
    if table.similarity_overfit is not None:
        _topk(table, caught, group, chosen.k, selected.rows)
        if table.poisoned is not None:
            _curves(table, caught, chosen.threshold)


def _sliders(table: PairTable, mixture: Mixture | None) -> Chosen:
    left, middle, right = st.columns(3)
    unscored = table.similarity_overfit is None
    run_with = 100 * view.settings.split.fraction
    percent = query_params.slider(
        left,
        "Suspicious fraction: share of D, %",
        "fraction",
        view,
        min(0.5, run_with),
        max(50.0, run_with),
        run_with,
        0.5,
        "The pairs of lowest similarity under the clean reference are D_susp",
    )
    start = 0.5 if unscored else min(1.0, round(mixture.threshold if mixture else _gap(table), 2))
    threshold = query_params.slider(
        middle,
        "Threshold on the overfitted similarity",
        "threshold",
        view,
        -1.0,
        1.0,
        start,
        0.01,
        "Pairs of D_susp from this similarity on count as flagged. It starts where a pair is as probably poisoned as"
        " not, estimated without the truth",
        unscored,
    )
    most = max(3, min(200, suspicious_count(len(table), percent / 100)), view.settings.k)
    about = "The k pairs of D_susp most similar under the overfitted model"
    k = query_params.slider(right, "k: size of D_topk", "k", view, 2, most, view.settings.k, 1, about, unscored)
    return Chosen(percent, threshold, k)


def _switches() -> bool:
    """The switches below the sliders; returns whether the histograms show D_susp alone."""
    with st.container(horizontal=True):
        if view.has("attack"):
            selection.truth_toggle()
        return controls.toggle(
            "D_susp only", False, "inside", "Histograms of the suspicious pairs alone", bind="query-params"
        )


@st.cache_data(max_entries=8, show_spinner=False)
def _widest_gap(key: str, _scores: np.ndarray) -> float:
    return detection.otsu(_scores)


def _gap(table: PairTable) -> float:
    """The threshold where no mixture can be fitted."""
    scores = table.similarity_overfit if table.suspicious is None else table.similarity_overfit[table.suspicious]
    scores = scores[np.isfinite(scores)]
    return _widest_gap(view.key("score_overfit"), scores) if len(scores) > 1 else 0.5


def _caught(table: PairTable, chosen: Chosen) -> tuple[detection.Caught, dict[int, int]]:
    """What the thresholds catch, and the group of each pair of D_topk; no groups where there is only one."""
    prepared = pairs.prepared(view, table)
    topk = view.read("select", "topk") if chosen.as_run and view.has("select") else None
    group = {} if topk is None or topk["group"].max() == 0 else dict(zip(topk["row"], topk["group"], strict=True))
    caught = detection.caught(
        table.similarity_reference,
        table.similarity_overfit,
        suspicious_count(len(table), chosen.percent / 100),
        chosen.threshold,
        chosen.k,
        None if topk is None else topk["row"].to_numpy(),
        prepared.by_reference,
        prepared.by_overfit,
    )
    return caught, group


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
    chosen: Chosen,
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


def _offer_case(chosen: Chosen) -> None:
    """Say that the sliders left what the case was run with, and offer a case that is run with them."""
    settings = view.settings
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "Computed from the cached scores: the overfitted model was trained with"
            f" {100 * settings.split.fraction:g} % and unlearning used k = {settings.k}."
        )
        if not view.imported and st.button("Make a case with these", key="as-case", icon=":material/content_copy:"):
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
