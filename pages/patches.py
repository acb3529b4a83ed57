"""Patches: trigger patches located without captions (PoisonCAM), ranked, what the classifier trained on them leaves
out, and how it depends on the masks.
"""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from ubt.cases.pipeline import every_key, standing
from ubt.core import text
from ubt.core.run import Compute
from ubt.defenses import poisoncam
from ubt.evaluation import localization
from ubt.evaluation.detection import auroc, share
from ubt.figures import attribution
from ubt.figures import patches as figures
from ubt.pairs import query as rules
from ubt.pairs.table import frame
from ubt.ui import charts, components, images, query_params, selection, trigger_form
from ubt.ui.errors import guard, plain, safe
from ubt.ui.job_panel import each, needs
from ubt.ui.navigation import current
from ubt.ui.view import compute, read, store

LOCATE, CLASSIFY = "poisoncam_locate", "poisoncam_classify"
OFFERED = 200
"""Patches that the list offers, the first by rank."""
COVERS = {
    localization.WHOLE: "its trigger covers the whole image, so that it has no place",
    localization.NONE: "there is no trigger in this image",
}

view = current()
st.title("Patches")
st.caption(
    "PoisonCAM looks at images alone. Where masking a window takes an image out of its cluster, a trigger may sit"
    " (cluster activation masking); a patch that takes other images to that cluster when it is pasted on them is taken"
    " for one; a small classifier then finds the images of D that hold it."
)


@st.fragment
@guard()
def explore() -> None:
    known, reveal, picked = selection.opened(view)
    if "poisoned" in known:
        reveal = selection.truth_toggle()
    candidates, settings = view.read(LOCATE, "candidates"), view.settings.locate
    found = _judged(known, candidates) if reveal else None
    order = np.argsort(candidates["rank"].to_numpy())
    windows = view.read(LOCATE, "windows")
    st.caption(
        f"{len(candidates):,} images of D, drawn at random, were looked at, each under {len(windows)} windows of"
        f" {candidates['side'].iloc[0]} px ({settings.strategy}). In {int(candidates['changes'].sum()):,} a mask"
        f" changes the cluster, one of {min(settings.clusters, len(known['id']))}; each of these patches was pasted on"
        f" {min(settings.pasted, len(known['id']))} images."
    )
    at = _choose(candidates, order)
    _ranked(candidates, found, order, at)
    _one(known, candidates, windows, found, order, at)
    selection.listen({}, known)
    st.divider()
    _decisions(known, candidates, picked, reveal)
    st.divider()
    _strategies(known, reveal)


def _judged(known: dict[str, Any], candidates: pd.DataFrame) -> pd.DataFrame | None:
    if not view.holds("attack", "manifest"):
        return None
    return localization.located(
        candidates, known["poisoned"], view.read("attack", "manifest"), view.read("data", "images").shape[1:3]
    )


def _choose(candidates: pd.DataFrame, order: np.ndarray) -> int:
    """Which of the candidates is looked at: the pair that a card, another page or the address names, else the first."""
    state, ids = st.session_state, candidates["id"].to_numpy(object)
    if asked := query_params.asked("pair"):
        state["pair"] = asked
    if (wanted := np.flatnonzero(ids == state.get("pair"))).size:
        state["patch"] = ids[wanted[0]]
    elif state.get("patch") not in ids:
        state["patch"] = ids[order[0]]
    query_params.tell("pair", state["patch"])
    return int(np.flatnonzero(ids == state["patch"])[0])


@safe
def _chosen() -> None:
    st.session_state["pair"] = st.session_state["patch"]


def _offer(known: dict[str, Any], candidates: pd.DataFrame, order: np.ndarray, at: int) -> None:
    """The list of patches, and what to say if the pair looked at elsewhere has none."""
    rows = candidates.iloc[list(dict.fromkeys([*order[:OFFERED], at]))]
    said = frame(known, rows["row"].to_numpy(), ["caption"])["caption"]
    labels = {i: f"{rank}. {c[:90]} · {i}" for i, rank, c in zip(rows["id"], rows["rank"], said, strict=True)}
    st.selectbox(
        "Patch, by rank", list(labels), key="patch", persist_state="session", format_func=labels.get, on_change=_chosen
    )
    elsewhere = st.session_state.get("pair")
    if elsewhere is not None and not (candidates["id"] == elsewhere).any():
        st.caption(f"The pair looked at elsewhere, {plain(elsewhere)}, was not among the images drawn.")


def _box(candidate: pd.Series) -> tuple[int, int, int, int]:
    return candidate["y"], candidate["x"], candidate["side"], candidate["side"]


def _true(found: pd.DataFrame | None, at: int) -> tuple | None:
    return (
        tuple(found.loc[at, localization.BOX])
        if found is not None and found.loc[at, "covers"] == localization.PART
        else None
    )


def _ranked(candidates: pd.DataFrame, found: pd.DataFrame | None, order: np.ndarray, at: int) -> None:
    st.subheader("Candidate patches, ranked by what they do to other images")
    top, poisoned = view.settings.locate.top, None if found is None else found["poisoned"].to_numpy(bool)
    chart, side = st.columns([3, 2], gap="large")
    figure = figures.ranked(candidates, top, poisoned, candidates["id"].iloc[at])
    charts.draw(figure, "flips", "Share of images that a patch takes to its cluster, by rank", chart)
    with side:
        first = candidates.iloc[order[:top]]
        rows = [
            (f"the first {len(first)}: images flipped, mean", text.percent(float(first["flips"].mean()))),
            (f"the first {len(first)}: drop of similarity, mean", f"{first['drop'].mean():.3f}"),
        ]
        if found is not None:
            rows += _sum(localization.summary(candidates, found, top), len(first), found)
        components.table(["ranked patches", ""], rows)
    patches = view.read(LOCATE, "patches")
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
    shown, pictures = [], images.some(view, candidates["row"].to_numpy()[order[:count]])
    for n, picture in zip(order[:count], pictures, strict=True):
        c = candidates.iloc[n]
        image = figures.outlined(picture, _box(c), _true(found, n))
        remark = f"drop {c['drop']:.2f} · " + (f"in the first {top}" if c["rank"] <= top else "not taken")
        if found is not None and found.loc[n, "covers"] != localization.NONE:
            remark += f" · IoU {found.loc[n, 'iou']:.2f}" if _true(found, n) else " · covers the whole image"
        shown.append((c["id"], patches[n], image, f"{c['rank']}. flips {text.percent(c['flips'])}", remark))
    components.patches(shown, None if poisoned is None else poisoned[order[:count]], candidates["id"].iloc[at])
    st.caption(
        "Framed: the located window."
        + (
            " Dashed: where the attack put its trigger."
            if found is not None and (found["covers"] == localization.PART).any()
            else ""
        )
    )


def _sum(made: dict[str, float], first: int, found: pd.DataFrame) -> list[tuple[str, str]]:
    rows = [("poisoned among the images drawn", f"{made['poisoned']}\u00a0of\u00a0{len(found)}")]
    if "top" in made:
        rows += [
            (f"poisoned among the first {first}", text.percent(made["top"])),
            ("poisoned before the first clean one", f"{made['first']}"),
        ]
    if "iou" in made:
        return [
            *rows,
            ("IoU with the true place, mean over the poisoned", f"{made['iou']:.3f}"),
            ("the highest that a window of this size can have", f"{made['reachable']:.3f}"),
            ("of the trigger inside the window", text.percent(made["inside"])),
        ]
    return [
        *rows,
        (
            "IoU with the true place",
            "the trigger covers the whole image" if made["poisoned"] else "nothing is poisoned",
        ),
    ]


def _one(
    known: dict[str, Any],
    candidates: pd.DataFrame,
    windows: np.ndarray,
    found: pd.DataFrame | None,
    order: np.ndarray,
    at: int,
) -> None:
    st.subheader("One patch, closely")
    candidate, image = candidates.iloc[at], images.some(view, [candidates["row"].iloc[at]])[0]
    _offer(known, candidates, order, at)
    box, true = _box(candidate), _true(found, at)
    left, middle, right = st.columns([3, 5, 6], gap="medium")
    with left:
        components.pictures([("the image, and the window located", figures.outlined(image, box, true))])
        components.pictures([("the patch", attribution.enlarged(view.read(LOCATE, "patches")[at]))])
    heat = figures.spread(view.read(LOCATE, "maps")[at], windows, candidate["side"], image.shape[:2])
    middle.markdown("**Activation map**")
    charts.draw(figures.activation(image, heat, box, true), "activation", "Where masking costs similarity", middle)
    with right:
        own = frame(known, np.array([candidate["row"]]), ["id", "caption"]).iloc[0]
        rows = [
            ("caption", own["caption"]),
            ("id", own["id"]),
            ("window: top, left", f"{candidate['y']}, {candidate['x']} px"),
            ("drop of similarity", f"{candidate['drop']:.3f}"),
            ("masked, it leaves its cluster", "yes" if candidate["changes"] else "no"),
            ("pasted, images it flips", text.percent(candidate["flips"])),
            ("taken for a trigger", "yes" if candidate["rank"] <= view.settings.locate.top else "no"),
        ]
        if found is not None:
            line = found.loc[at]
            held = line["covers"] != localization.NONE
            rows.append(
                (
                    "ground truth",
                    (
                        "poisoned"
                        if line["poisoned"]
                        else "clean, though it holds a part of a trigger"
                        if held
                        else "clean"
                    ),
                )
            )
            if true:
                rows += [
                    ("IoU with the true place", f"{line['iou']:.3f} (at most {line['reachable']:.3f})"),
                    ("of the trigger inside the window", text.percent(line["inside"])),
                ]
            else:
                rows.append(("IoU with the true place", COVERS[line["covers"]]))
        components.table(["this patch", ""], rows)
        for page, label, stage in (
            ("neighbours", "Look at its neighbours", "score"),
            ("tokens", "Look at its words and patches", "mask"),
        ):
            if view.has(stage):
                query = {"case": view.name, "pair": own["id"]}
                st.page_link(f"pages/{page}.py", label=label, icon=":material/arrow_forward:", query_params=query)


def _decisions(known: dict[str, Any], candidates: pd.DataFrame, picked: selection.Picked, reveal: bool) -> None:
    st.subheader("The classifier's decisions")
    settings, score = view.settings.classify, view.read(CLASSIFY, "scores")["score"].to_numpy()
    out = np.setdiff1d(np.arange(len(score)), view.read(CLASSIFY, "kept"))
    found_in = candidates.loc[candidates["rank"] <= view.settings.locate.top, "row"].to_numpy()
    cut = poisoncam.cut(score, found_in, settings)
    beyond = int((score >= cut).sum()) - len(out)
    threshold = float(score[out].min()) if beyond > 0 and len(out) else cut
    truth = known["poisoned"] if reveal else None
    chart, side = st.columns([3, 2], gap="large")
    figure = figures.decisions(score, truth, threshold, f"left out from {threshold:.2g}")
    charts.draw(figure, "decisions", "Histogram of the classifier's probabilities over D", chart)
    with side:
        rows = [
            ("pairs left out of training", f"{len(out):,} of {len(score):,} ({text.percent(len(out) / len(score))})"),
            ("threshold", f"{threshold:.3g}"),
        ]
        if truth is not None:
            left_out, area = np.isin(np.arange(len(score)), out), auroc(score, truth)
            rows += [
                ("poisoned among them", f"{int(truth[out].sum()):,}"),
                ("precision", text.percent(share(truth, left_out))),
                ("recall of all poisons", text.percent(share(left_out, truth))),
                ("AUROC", "undefined" if area is None else f"{area:.4f}"),
            ]
            if partial := _partial(known, out[~truth[out]]):
                rows.insert(3, ("clean ones that hold a part of a trigger", f"{partial:,}"))
        components.table(["what it leaves out", ""], rows)
        how = "The threshold lies half way, in log-odds, from D's median to the images in which the patches were found"
        said = (
            f" {beyond:,} more reach it, but at most {100 * settings.most:g} % of D are left out." if beyond > 0 else ""
        )
        st.caption(f"{how}, and not above {settings.threshold:g}.{said}")
        about = f"Select the {len(out):,} left out"
        st.button(
            about,
            key="select-out",
            icon=":material/filter_alt:",
            disabled=not len(out),
            on_click=_select,
            args=(known, out),
        )
    first = out[np.argsort(-score[out], kind="stable")][:12]
    if len(first):
        st.caption("Left out first, by its probability:")
        selection.cards(view, known, first, [f"probability {score[r]:.3g}" for r in first], reveal, picked.rows)


def _partial(known: dict[str, Any], rows: np.ndarray) -> int:
    """How many of some clean pairs hold a trigger's image all the same, as an attack of two keys leaves them."""
    if not view.holds("attack", "manifest"):
        return 0
    found = localization.places(
        view.read("attack", "manifest"), frame(known, rows, ["id"])["id"], view.read("data", "images").shape[1:3]
    )
    return int((found["covers"] != localization.NONE).sum())


@safe
def _select(known: dict[str, Any], rows: np.ndarray) -> None:
    selection.choose(rules.among(frame(known, rows, ["id"])["id"]))


def _strategies(known: dict[str, Any], reveal: bool) -> None:
    st.subheader("Masking strategies compared")
    top = view.settings.locate.top
    columns = ["strategy", "windows", "seconds", "change the cluster", f"the first {top}: flips"]
    columns += (
        [f"the first {top}: poisoned", "poisoned before a clean one", "IoU, poisoned", "trigger inside, poisoned"]
        if reveal
        else []
    )
    keys = {name: _run(name) for name in poisoncam.STRATEGIES}
    runs = {name: read(key, "candidates") for name, key in keys.items() if key}
    rows = [[name, *(_line(known, keys[name], runs[name], reveal) if name in runs else [])] for name in keys]
    components.table(columns, [row + ["-"] * (len(columns) - len(row)) for row in rows])
    chart, side = st.columns([3, 2], gap="large")
    charts.draw(figures.compared(runs, top), "compared", "Flips by rank under each masking strategy", chart)
    with side:
        st.caption(
            "The same images, clusters and pasting; only the windows differ. Over seeds and attacks: python -m ubt"
            " table poisoncam."
        )
        work = [(view.settings.with_values({"locate.strategy": name}), LOCATE) for name in keys if name not in runs]
        if work and _where() != compute():
            st.caption(
                f"This case was computed elsewhere ({_where().device}, {_where().precision}), so that no strategy run"
                " here would share its M_bd."
            )
        elif work and not view.given:
            each(f"strategies-{view.name}", work, "further strategies")


def _line(known: dict[str, Any], key: str, candidates: pd.DataFrame, reveal: bool) -> list[str]:
    top = view.settings.locate.top
    flips = candidates.loc[candidates["rank"] <= top, "flips"].mean()
    line = [
        f"{len(read(key, 'windows'))}",
        f"{store().find(key).manifest['seconds']:.0f}",
        f"{int(candidates['changes'].sum())}",
        text.percent(flips),
    ]
    found = _judged(known, candidates) if reveal else None
    if found is None:
        return line
    made = localization.summary(candidates, found, top)
    line += [text.percent(made.get("top")), f"{made.get('first', '-')}"]
    return line + (
        [f"{made['iou']:.3f}", text.percent(made["inside"])]
        if "iou" in made
        else ["covers the whole image"]
        if made["poisoned"]
        else []
    )


def _run(strategy: str) -> str | None:
    """The artefact of this case's location by a strategy; None if it is not there."""
    if strategy == view.settings.locate.strategy:
        return view.key(LOCATE)
    case = view.settings.with_values({"locate.strategy": strategy})
    return every_key(case, _where())[LOCATE] if standing(store(), case, _where(), until=LOCATE)[0] == "done" else None


def _where() -> Compute:
    return Compute(**view.record["compute"])


needs(view, CLASSIFY, "Trigger patches have not been sought yet: about a minute on two cores.", explore)
if view is not None and view.has("data", "poison") and not view.given:
    st.divider()
    trigger_form.section(view)
