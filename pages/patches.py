"""Patches: trigger patches located without captions (PoisonCAM) and ranked, which pairs a classifier trained on them
leaves out, and how the result depends on the masks.

PoisonCAM looks at images alone. If masking a window takes an image out of its cluster, the window may hold a trigger
(cluster activation masking). A patch that takes other images to that cluster when it is pasted on them is selected as a
trigger; a small classifier then finds the images of D that hold it.
"""

import numpy as np
import pandas as pd
import streamlit as st

from ubt.cases import demo
from ubt.cases.keys import every_key
from ubt.cases.pipeline import standing
from ubt.core import text
from ubt.core.run import Compute
from ubt.defenses import poisoncam
from ubt.evaluation import localization
from ubt.evaluation.detection import auroc, share
from ubt.evaluation.model_roles import ROLES
from ubt.figures import patches as patch_figures
from ubt.figures.attribution import enlarged
from ubt.pairs import query
from ubt.pairs.table import PairTable
from ubt.ui import charts, components, images, pair_picker, query_params, selection, trigger_form
from ubt.ui.errors import guard, plain, safe
from ubt.ui.job_panel import compute_missing, needs
from ubt.ui.navigation import current, heading
from ubt.ui.view import compute, read, store

LOCATE, CLASSIFY = "poisoncam_locate", "poisoncam_classify"
OFFERED = 200
"""Patches that the list offers, the first by rank."""
COVERS = {
    localization.WHOLE: "its trigger covers the whole image, so it has no place",
    localization.NONE: "there is no trigger in this image",
}

view = current()
heading("patches")


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    if view.has("attack"):
        selection.truth_toggle()
    candidates = view.read(LOCATE, "candidates")
    windows = view.read(LOCATE, "windows")
    _intro(table, candidates, len(windows))
    located = _located(table, candidates)
    order = np.argsort(candidates["rank"].to_numpy())
    at = _chosen(candidates, order)
    _ranked(candidates, located, order, at)
    st.subheader("One patch, closely")
    _offer(table, candidates, order, at)
    _one(table, candidates.iloc[at], windows, None if located is None else located.loc[at], at)
    selection.listen({}, table)
    st.divider()
    _decisions(table, candidates, selected)
    st.divider()
    _strategies(table)


def _intro(table: PairTable, candidates: pd.DataFrame, windows: int) -> None:
    settings, total = view.settings.locate, len(table)
    st.caption(
        f"{len(candidates):,} images of D, drawn at random, were searched, each under {windows} windows of"
        f" {candidates['side'].iloc[0]} px ({settings.strategy}). In {int(candidates['changes'].sum()):,} a mask"
        f" changes the cluster, one of {min(settings.clusters, total)}; each of these patches was pasted on"
        f" {min(settings.pasted, total)} images."
    )


def _located(table: PairTable, candidates: pd.DataFrame) -> pd.DataFrame | None:
    """The candidates beside the true places of the trigger; None where the truth is hidden or nobody knows it."""
    if table.poisoned is None or not view.holds("attack", "manifest"):
        return None
    size = view.read("data", "images").shape[1:3]
    return localization.located(candidates, table.poisoned, view.read("attack", "manifest"), size)


def _chosen(candidates: pd.DataFrame, order: np.ndarray) -> int:
    """The candidate to look at: the pair that a card, another page or the address names, else the first by rank."""
    state, ids = st.session_state, candidates["id"].to_numpy(object)
    if asked := query_params.read("pair"):
        state["pair"] = asked
    if (wanted := np.flatnonzero(ids == state.get("pair"))).size:
        state["patch"] = ids[wanted[0]]
    elif state.get("patch") not in ids:
        state["patch"] = ids[order[0]]
    query_params.write("pair", state["patch"])
    return int(np.flatnonzero(ids == state["patch"])[0])


@safe
def _choose() -> None:
    st.session_state["pair"] = st.session_state["patch"]


def _offer(table: PairTable, candidates: pd.DataFrame, order: np.ndarray, at: int) -> None:
    """The list of patches; says so if the pair in view elsewhere has none."""
    rows = candidates.iloc[list(dict.fromkeys([*order[:OFFERED], at]))]
    captions = table.frame(rows["row"].to_numpy(), ["caption"])["caption"]
    labels = {i: f"{rank}. {c[:90]} · {i}" for i, rank, c in zip(rows["id"], rows["rank"], captions, strict=True)}
    st.selectbox(
        "Patch, by rank", list(labels), key="patch", persist_state="session", format_func=labels.get, on_change=_choose
    )
    elsewhere = st.session_state.get("pair")
    if elsewhere is not None and not (candidates["id"] == elsewhere).any():
        st.caption(f"The pair in view on other pages, {plain(elsewhere)}, was not among the images searched.")


def _box(candidate: pd.Series) -> tuple[int, int, int, int]:
    return candidate["y"], candidate["x"], candidate["side"], candidate["side"]


def _true_box(truth: pd.Series | None) -> tuple | None:
    """The true place of a candidate's trigger; None where it is hidden, or covers the image or nothing."""
    return tuple(truth[localization.BOX]) if truth is not None and truth["covers"] == localization.PART else None


def _ranked(candidates: pd.DataFrame, located: pd.DataFrame | None, order: np.ndarray, at: int) -> None:
    st.subheader("Candidate patches, ranked by what they do to other images")
    top, poisoned = view.settings.locate.top, None if located is None else located["poisoned"].to_numpy(bool)
    chart, side = st.columns([3, 2], gap="large")
    figure = patch_figures.ranked(candidates, top, poisoned, candidates["id"].iloc[at])
    charts.draw(figure, "flips", "Share of images that a patch takes to its cluster, by rank", chart)
    with side:
        first = candidates.iloc[order[:top]]
        rows = [
            (f"the first {len(first)}: images flipped, mean", text.percent(float(first["flips"].mean()))),
            (f"the first {len(first)}: drop of similarity, mean", f"{first['drop'].mean():.3f}"),
        ]
        if located is not None:
            rows += _summary(localization.summary(candidates, located, top), len(first), len(located))
        components.table(["ranked patches", ""], rows)
    where, _ = st.columns([1, 2])
    count = where.slider(
        "Patches shown",
        4,
        min(60, max(5, len(order))),
        min(12, max(5, len(order))),
        4,
        key="patches-shown",
        persist_state="session",
    )
    shown = _patch_cards(candidates, located, order[:count])
    components.patches(shown, None if poisoned is None else poisoned[order[:count]], candidates["id"].iloc[at])
    dashed = located is not None and (located["covers"] == localization.PART).any()
    st.caption("Framed: the located window." + (" Dashed: where the attack put its trigger." if dashed else ""))


def _patch_cards(
    candidates: pd.DataFrame, located: pd.DataFrame | None, order: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray, str, str]]:
    patches, top, cards = view.read(LOCATE, "patches"), view.settings.locate.top, []
    for n, picture in zip(order, images.some(view, candidates["row"].to_numpy()[order]), strict=True):
        candidate, truth = candidates.iloc[n], None if located is None else located.loc[n]
        true_box = _true_box(truth)
        remark = f"drop {candidate['drop']:.2f} · " + (
            f"in the first {top}" if candidate["rank"] <= top else "not selected"
        )
        if truth is not None and truth["covers"] != localization.NONE:
            remark += f" · IoU {truth['iou']:.2f}" if true_box else " · covers the whole image"
        image = patch_figures.outlined(picture, _box(candidate), true_box)
        title = f"{candidate['rank']}. flips {text.percent(candidate['flips'])}"
        cards.append((candidate["id"], patches[n], image, title, remark))
    return cards


def _summary(summary: dict[str, float], first: int, searched: int) -> list[tuple[str, str]]:
    rows = [("poisoned among the images searched", f"{summary['poisoned']}\u00a0of\u00a0{searched}")]
    if "top" in summary:
        rows += [
            (f"poisoned among the first {first}", text.percent(summary["top"])),
            ("poisoned before the first clean one", f"{summary['first']}"),
        ]
    if "iou" in summary:
        return [
            *rows,
            ("IoU with the true place, mean over the poisoned", f"{summary['iou']:.3f}"),
            ("the highest that a window of this size can have", f"{summary['reachable']:.3f}"),
            ("of the trigger inside the window", text.percent(summary["inside"])),
        ]
    why = "the trigger covers the whole image" if summary["poisoned"] else "nothing is poisoned"
    return [*rows, ("IoU with the true place", why)]


def _one(table: PairTable, candidate: pd.Series, windows: np.ndarray, truth: pd.Series | None, at: int) -> None:
    """One patch: its image, its activation map, and what is known about it."""
    image, patch = images.some(view, [candidate["row"]])[0], view.read(LOCATE, "patches")[at]
    box, true_box = _box(candidate), _true_box(truth)
    left, middle, right = st.columns([3, 5, 6], gap="medium")
    with left:
        components.pictures([("the image, and the located window", patch_figures.outlined(image, box, true_box))])
        components.pictures([("the patch", enlarged(patch))])
    heat = patch_figures.spread(view.read(LOCATE, "maps")[at], windows, candidate["side"], image.shape[:2])
    middle.markdown("**Activation map**")
    activation = patch_figures.activation(image, heat, box, true_box)
    charts.draw(activation, "activation", "Where masking costs similarity", middle)
    with right:
        rows = [("caption", table.caption[candidate["row"]].as_py()), *_details(candidate)]
        components.table(["this patch", ""], rows if truth is None else rows + _truth(truth))
        pair_picker.links(view, candidate["id"])


def _details(candidate: pd.Series) -> list[tuple[str, str]]:
    return [
        ("id", candidate["id"]),
        ("window: top, left", f"{candidate['y']}, {candidate['x']} px"),
        ("drop of similarity", f"{candidate['drop']:.3f}"),
        ("masked, it leaves its cluster", "yes" if candidate["changes"] else "no"),
        ("pasted, images it flips", text.percent(candidate["flips"])),
        ("selected as a trigger", "yes" if candidate["rank"] <= view.settings.locate.top else "no"),
    ]


def _truth(truth: pd.Series) -> list[tuple[str, str]]:
    part_of_trigger = truth["covers"] != localization.NONE
    kind = "clean, though it holds a part of a trigger" if part_of_trigger else "clean"
    rows = [("ground truth", "poisoned" if truth["poisoned"] else kind)]
    if truth["covers"] != localization.PART:
        return [*rows, ("IoU with the true place", COVERS[truth["covers"]])]
    return [
        *rows,
        ("IoU with the true place", f"{truth['iou']:.3f} (at most {truth['reachable']:.3f})"),
        ("of the trigger inside the window", text.percent(truth["inside"])),
    ]


def _decisions(table: PairTable, candidates: pd.DataFrame, selected: selection.Selection) -> None:
    """What the classifier leaves out of training. Where its cut would leave out more than the settings allow, the
    threshold drawn is the lowest probability among those left out.
    """
    st.subheader("The classifier's decisions")
    settings, score = view.settings.classify, view.read(CLASSIFY, "scores")["score"].to_numpy()
    out = np.setdiff1d(np.arange(len(score)), view.read(CLASSIFY, "kept"))
    found_in = candidates.loc[candidates["rank"] <= view.settings.locate.top, "row"].to_numpy()
    cut = poisoncam.cut(score, found_in, settings)
    beyond = int((score >= cut).sum()) - len(out)
    threshold = float(score[out].min()) if beyond > 0 and len(out) else cut
    chart, side = st.columns([3, 2], gap="large")
    figure = patch_figures.decisions(score, table.poisoned, threshold, f"left out from {threshold:.2g}")
    charts.draw(figure, "decisions", "Histogram of the classifier's probabilities over D", chart)
    with side:
        components.table(["what it leaves out", ""], _left_out(table, score, out, threshold))
        more = f" {beyond:,} more reach it, but at most {100 * settings.most:g} % of D are left out."
        st.caption(
            "The threshold lies half way, in log-odds, from D's median to the images in which the patches were found,"
            f" and not above {settings.threshold:g}.{more if beyond > 0 else ''}"
        )
        st.button(
            f"Select the {len(out):,} left out",
            key="select-out",
            icon=":material/filter_alt:",
            disabled=not len(out),
            on_click=_select,
            args=(table, out),
        )
    first = out[np.argsort(-score[out], kind="stable")][:12]
    if len(first):
        st.caption("The first left out, by the classifier's probability:")
        selection.cards(view, table, first, [f"probability {score[r]:.3g}" for r in first], selected.rows)


def _left_out(table: PairTable, score: np.ndarray, out: np.ndarray, threshold: float) -> list[tuple[str, str]]:
    rows = [
        ("pairs left out of training", f"{len(out):,} of {len(score):,} ({text.percent(len(out) / len(score))})"),
        ("threshold", f"{threshold:.3g}"),
    ]
    if (truth := table.poisoned) is None:
        return rows
    left_out, area = np.isin(np.arange(len(score)), out), auroc(score, truth)
    rows.append(("poisoned among them", f"{int(truth[out].sum()):,}"))
    if partial := _part_of_trigger(table, out[~truth[out]]):
        rows.append(("clean ones that hold a part of a trigger", f"{partial:,}"))
    return [
        *rows,
        ("precision", text.percent(share(truth, left_out))),
        ("recall of all poisons", text.percent(share(left_out, truth))),
        ("AUROC", "undefined" if area is None else f"{area:.4f}"),
    ]


def _part_of_trigger(table: PairTable, rows: np.ndarray) -> int:
    """How many of some clean pairs hold a trigger's image all the same, as an attack of two keys leaves them."""
    if not view.holds("attack", "manifest"):
        return 0
    ids, size = table.frame(rows, ["id"])["id"], view.read("data", "images").shape[1:3]
    places = localization.places(view.read("attack", "manifest"), ids, size)
    return int((places["covers"] != localization.NONE).sum())


@safe
def _select(table: PairTable, rows: np.ndarray) -> None:
    selection.select(query.among(table.ids(rows)))


def _strategies(table: PairTable) -> None:
    st.subheader("Masking strategies compared")
    top = view.settings.locate.top
    columns = ["strategy", "windows", "seconds", "change the cluster", f"the first {top}: flips"]
    if table.poisoned is not None:
        columns.append(f"the first {top}: poisoned")
        columns += ["poisoned before a clean one", "IoU, poisoned", "trigger inside, poisoned"]
    keys = {name: _artefact(name) for name in poisoncam.STRATEGIES}
    runs = {name: read(key, "candidates") for name, key in keys.items() if key}
    rows = [[name, *(_strategy(table, keys[name], runs[name]) if name in runs else [])] for name in keys]
    components.table(columns, [row + ["-"] * (len(columns) - len(row)) for row in rows])
    chart, side = st.columns([3, 2], gap="large")
    charts.draw(patch_figures.compared(runs, top), "compared", "Flips by rank under each masking strategy", chart)
    with side:
        st.caption(
            "The same images, clusters and pasting; only the windows differ. Over seeds and attacks: python -m ubt"
            " table poisoncam."
        )
        work = [(view.settings.with_values({"locate.strategy": name}), LOCATE) for name in keys if name not in runs]
        if work and _where().device != compute().device:
            st.caption(
                f"This case was computed elsewhere ({_where()}), so that no strategy run here would share its M_bd."
            )
        elif work and not view.imported:
            compute_missing(f"strategies-{view.name}", work, "further strategies", [_where()] * len(work))


def _strategy(table: PairTable, key: str, candidates: pd.DataFrame) -> list[str]:
    """A strategy's cells, as many as are known."""
    top = view.settings.locate.top
    cells = [
        f"{len(read(key, 'windows'))}",
        f"{store().find(key).manifest['seconds']:.0f}",
        f"{int(candidates['changes'].sum())}",
        text.percent(candidates.loc[candidates["rank"] <= top, "flips"].mean()),
    ]
    located = _located(table, candidates)
    if located is None:
        return cells
    summary = localization.summary(candidates, located, top)
    cells += [text.percent(summary.get("top")), f"{summary.get('first', '-')}"]
    if "iou" in summary:
        return [*cells, f"{summary['iou']:.3f}", text.percent(summary["inside"])]
    return [*cells, "covers the whole image"] if summary["poisoned"] else cells


def _artefact(strategy: str) -> str | None:
    """The artefact of this case's patches located by a strategy; None if it does not exist."""
    if strategy == view.settings.locate.strategy:
        return view.key(LOCATE)
    case = view.settings.with_values({"locate.strategy": strategy})
    if view.built_in:
        return demo.artefact(store(), case, LOCATE)
    return every_key(case, _where())[LOCATE] if standing(store(), case, _where(), until=LOCATE)[0] == "done" else None


def _where() -> Compute:
    return view.record.compute


needs(view, CLASSIFY, "Trigger patches have not been located yet.", explore)
if view is not None and view.has("data") and view.holds(ROLES["poisoned"].stage(view.audits), "model"):
    st.divider()
    trigger_form.section(view)
