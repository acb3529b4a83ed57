"""Separation: does the backdoor separate from the clean pairs, under which model, and what do the thresholds catch?"""

from typing import Any

import numpy as np
import streamlit as st

from ubt.core import text
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.evaluation.detection import Caught, auroc, caught, curves, otsu
from ubt.evaluation.label_free import estimated
from ubt.figures import roc as drawn
from ubt.figures import similarity
from ubt.pairs.table import frame
from ubt.ui import charts, components, pairs, query_params, selection
from ubt.ui.case_picker import make
from ubt.ui.errors import guard
from ubt.ui.job_panel import missing, needs
from ubt.ui.navigation import current
from ubt.ui.paper_results import paper_figures

MODELS = {
    "similarity_reference": ("score", "Clean reference"),
    "similarity_poisoned": ("score_poisoned", "Poisoned model (M_bd)"),
    "similarity_overfit": ("score_overfit", "Overfitted model"),
}
GRID = 24

view = current()
st.title("Separation")
st.caption(
    "Cosine similarity of every image with its own caption. Poisons fit their captions badly under the clean reference,"
    " well under the poisoned model, and best under the overfitted one, where the rest of the suspicious pairs stay"
    " behind."
)


@st.fragment
@guard()
def explore() -> None:
    known, reveal, picked = selection.opened(view)
    ready, settings, total = pairs.prepared(view, known), view.settings, len(known["id"])
    lab, overfit = "poisoned" in known, known.get("similarity_overfit")
    found = pairs.mixture(view, known)

    left, middle, right = st.columns(3)
    about = "The pairs of lowest similarity under the clean reference are D_susp"
    own = 100 * settings.split.fraction
    percent = query_params.slider(
        left, "Suspicious fraction: share of D, %", "fraction", view, min(0.5, own), max(50.0, own), own, 0.5, about
    )
    start = 0.5 if overfit is None else min(1.0, round(found.threshold if found else _gap(), 2))
    about = (
        "Pairs of D_susp from it on count as flagged. It starts where a pair is as probably poisoned as not, found"
        " without the truth"
    )
    threshold = query_params.slider(
        middle,
        "Threshold on the overfitted similarity",
        "threshold",
        view,
        -1.0,
        1.0,
        start,
        0.01,
        about,
        overfit is None,
    )
    size = suspicious_count(total, percent / 100)
    about = "The k pairs of D_susp most similar under the overfitted model"
    k = query_params.slider(
        right,
        "k: size of D_topk",
        "k",
        view,
        2,
        max(3, min(200, size), settings.k),
        settings.k,
        1,
        about,
        overfit is None,
    )
    with st.container(horizontal=True):
        if lab:
            reveal = selection.truth_toggle()
        inside = st.toggle(
            "D_susp only",
            False,
            key="inside",
            bind="query-params",
            persist_state="session",
            help="Histograms of the suspicious pairs alone",
        )
    as_run = (percent, k) == (100 * settings.split.fraction, settings.k)
    topk = view.read("select", "topk") if as_run and view.has("select") else None
    group = {} if topk is None or topk["group"].max() == 0 else dict(zip(topk["row"], topk["group"], strict=True))
    result = caught(
        known["similarity_reference"],
        overfit,
        size,
        threshold,
        k,
        None if topk is None else topk["row"].to_numpy(),
        ready["similarity_reference"],
        ready.get("similarity_overfit"),
    )
    _histograms(known, ready, result, threshold, result.suspicious if inside else None, picked, reveal)
    _counts(
        known,
        result,
        found,
        {"fraction": percent, "threshold": threshold, "k": k, "grouped": bool(group)},
        picked,
        reveal,
    )
    if not as_run:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Read off the cached scores: the overfitted model was trained with {100 * settings.split.fraction:g} %"
                f" and unlearning used k = {settings.k}."
            )
            if not view.given and st.button("Make a case with these", key="as-case", icon=":material/content_copy:"):
                make(settings.with_values({"split.fraction": percent / 100, "select.k": k}), run=False)
                st.toast("The case is on record; it is the one in view now.")
                st.rerun(scope="app")
    if picked.rule:
        st.subheader("The selection")
        selection.listing(view, known, picked, reveal)
    if overfit is not None:
        _topk(known, result, group, k, picked, reveal)
        if lab and reveal:
            _curves(known, result, threshold)


@st.cache_data(max_entries=8, show_spinner=False)
def _widest_gap(key: str, _scores: np.ndarray) -> float:
    return otsu(_scores)


def _gap() -> float:
    known = pairs.known(view)
    scores = known["similarity_overfit"][known.get("suspicious", np.ones(len(known["id"]), bool))]
    scores = scores[np.isfinite(scores)]
    return _widest_gap(view.key("score_overfit"), scores) if len(scores) > 1 else 0.5


def _histograms(
    known: dict[str, Any],
    ready: dict[str, np.ndarray],
    result: Caught,
    threshold: float,
    among: np.ndarray | None,
    picked: selection.Picked,
    reveal: bool,
) -> None:
    lines = {
        "similarity_reference": (result.cut, "D_susp", "left"),
        "similarity_overfit": (threshold, "flagged", "left" if threshold > 0.4 else "right"),
    }
    for column, (name, (stage, title)) in zip(st.columns(3), MODELS.items(), strict=True):
        with column:
            st.markdown(f"**{'The model, as brought' if stage == 'score_poisoned' and view.audits else title}**")
            if name not in known:
                missing(view, stage, "Not scored yet.", offer=name == next(n for n in MODELS if n not in known))
                continue
            figure = similarity.histogram(
                ready[f"bins_{name}"],
                known["poisoned"] if reveal else None,
                lines.get(name),
                among=among,
                selected=picked.rows,
            )
            charts.draw(figure, f"chart-{name}", f"Similarity histogram, {title}")
            if unscored := int((ready[f"bins_{name}"] == 255).sum()):
                st.caption(f"{unscored:,} pairs have no score and are not shown.")
    selection.listen({f"chart-{name}": name for name in MODELS if name in known}, known)


def _counts(
    known: dict[str, Any], result: Caught, found: Any, chosen: dict[str, Any], picked: selection.Picked, reveal: bool
) -> None:
    confirmed = view.settings.select.confirmed.count("\n") + 1 if view.settings.select.confirmed else 0
    names = {
        "D_susp": f"D_susp: lowest {chosen['fraction']:g} %",
        "flagged": f"flagged: {chosen['threshold']:.2f} and more",
        "D_topk": (
            f"D_topk: {confirmed} confirmed"
            if confirmed
            else f"D_topk: first {chosen['k']}" + (" of each group" if chosen["grouped"] else "")
        ),
    }
    columns = ["", "pairs"]
    rows = [[names[name], f"{int(mask.sum()):,}"] for name, mask in result.chosen.items()]
    if picked.rows is not None:
        columns.append("selected")
        for row, mask in zip(rows, result.chosen.values(), strict=True):
            row.append(f"{int((mask & picked.rows).sum()):,}")
    if found:
        columns.append("estimated precision, without labels")
        for row, mask in zip(rows, result.chosen.values(), strict=True):
            row.append(estimated(found, known, mask))
    if reveal:
        columns += ["poisoned", "precision", "recall of all poisons"]
        for row, c in zip(rows, result.counts(known["poisoned"]).values(), strict=True):
            row += [f"{c['poisoned']:,}", text.percent(c["precision"]), text.percent(c["recall"])]
    components.table(columns, rows)


def _topk(
    known: dict[str, Any], result: Caught, group: dict[int, int], k: int, picked: selection.Picked, reveal: bool
) -> None:
    st.subheader("D_topk: the pairs of D_susp most similar under the overfitted model")
    chosen = np.flatnonzero(result.chosen["D_topk"])
    chosen = chosen[np.argsort(-known["similarity_overfit"][chosen], kind="stable")]
    rows = chosen[:GRID]
    place = {row: n for n, row in enumerate(result.ranked[: 50 * GRID], 1)}
    said = [
        (f"{place[r]}. " if r in place else "")
        + f"similarity {known['similarity_overfit'][r]:.3f}"
        + (f", group {group[r] + 1}" if group else "")
        for r in rows
    ]
    if group:
        st.caption(
            f"{max(group.values()) + 1} groups of captions hold together, each perhaps a backdoor of its own; each"
            f" gives its first {k}."
        )
    selection.cards(view, known, rows, said, reveal, picked.rows)
    if len(chosen) > GRID:
        st.caption(f"The first {GRID} of {len(chosen)}.")
    if len(rows):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            some = frame(known, rows, ["id", "caption"])
            caption = {i: f"{n}. {c[:90]}" for n, (i, c) in enumerate(zip(some["id"], some["caption"], strict=True), 1)}
            pair = st.selectbox("One of them", list(caption), format_func=caption.get, key=f"carry-{view.name}")
            for page, label in (("tokens", "Look at its words and patches"), ("neighbours", "Look at its neighbours")):
                if page == "neighbours" or view.has("mask"):
                    query = {"case": view.name, "pair": pair}
                    st.page_link(f"pages/{page}.py", label=label, icon=":material/arrow_forward:", query_params=query)


@st.cache_data(max_entries=4, show_spinner=False)
def _judged(keys: tuple, _known: dict[str, Any]) -> tuple[dict[str, dict], dict[str, float | None]]:
    truth, found, area = _known["poisoned"], {}, {}
    among = {"reference, in D": None, "M_bd, in D": None, "overfitted, in D_susp": _known.get("suspicious")}
    for (name, part), column, sign in zip(among.items(), MODELS, (-1, 1, 1), strict=True):
        if column not in _known:
            continue
        rows = np.flatnonzero(np.isfinite(_known[column]) & (True if part is None else part))
        found[name], area[name] = (
            curves(sign * _known[column][rows], truth[rows]),
            auroc(sign * _known[column][rows], truth[rows]),
        )
    return found, area


def _curves(known: dict[str, Any], result: Caught, threshold: float) -> None:
    inside = st.expander("ROC and precision-recall (with the ground truth)", key="curves", bind="query-params")
    if not inside.open:
        return
    with inside:
        found, area = _judged(tuple(view.key(s) for s, _ in MODELS.values() if view.has(s)), known)
        if not any(found.values()):
            st.info("The case has no poisons, or nothing but poisons: there is no curve to draw.")
            return
        name, pool, truth = "overfitted, in D_susp", known.get("suspicious", result.suspicious), known["poisoned"]
        flagged = pool & (known["similarity_overfit"] >= threshold)
        hit, held = int((flagged & truth).sum()), int((pool & truth).sum())
        at = {}
        if found.get(name):
            at = {
                "pr": {name: (hit / held, hit / max(1, flagged.sum()))},
                "roc": {name: ((flagged.sum() - hit) / (pool.sum() - held), hit / held)},
            }
        for column, kind, title in zip(st.columns(2), ("roc", "pr"), ("ROC", "Precision-recall"), strict=True):
            charts.draw(drawn.curve(kind, found, at.get(kind)), f"curve-{kind}", title, column)
        areas = "; ".join(f"{n} {value:.4f}" for n, value in area.items() if value is not None)
        st.caption(f"AUROC: {areas}. Low reference similarity is suspicious.")


needs(view, "score", "The pairs have not been scored yet.", explore)
st.divider()
paper_figures(("3", "4", "6", "7"))
