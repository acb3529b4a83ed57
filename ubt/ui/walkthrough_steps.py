"""The steps of the guided walk: what each shows of the built-in cases, what there is to do, what it asks."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ubt.attacks import trigger, visibility
from ubt.attacks.badnet import BadNetSettings
from ubt.cases.demo import MAIN
from ubt.core import files, text
from ubt.data import scenes
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import answer
from ubt.evaluation.detection import auroc
from ubt.evaluation.model_roles import ROLES, SCORED
from ubt.figures import LABELS, UNKNOWN, for_a_room, mark, tradeoff
from ubt.figures import verdict as verdict_figures
from ubt.figures.similarity import histogram
from ubt.pairs.table import PairTable
from ubt.reports.paper import compare
from ubt.ui import components, pairs
from ubt.ui.charts import cached_figure, draw
from ubt.ui.view import View, compute, opened, store
from ubt.ui.walkthrough import Step

ALONE, LONG, CLEAN, CONSISTENT, JOINED = "ready-alone", "ready-long", "ready-clean", "ready-consistent", "ready-joined"


@st.cache_resource(max_entries=8, show_spinner=False)
def _opened(name: str, changed: int) -> tuple[View, PairTable, dict[str, dict]]:
    view = opened(name)
    return view, pairs.table(view), view.measured()


def _of(name: str) -> tuple[str, int]:
    """A shipped case and when it was made."""
    return name, (files.READY / "cases" / name / "case.json").stat().st_mtime_ns


def _case(name: str = MAIN) -> View:
    return _opened(*_of(name))[0]


def _table(name: str = MAIN) -> PairTable:
    return _opened(*_of(name))[1]


def _measured(name: str = MAIN) -> dict[str, dict]:
    return _opened(*_of(name))[2]


def _sides() -> tuple[Any, Any]:
    chart, side = st.columns([3, 2], gap="large", vertical_alignment="center")
    return chart, side


def _median(values: np.ndarray) -> str:
    return f"{np.median(values):.2f}" if len(values) else "none"


def _histogram(
    where: Any,
    key: str,
    of: tuple,
    similarity: np.ndarray,
    poisoned: np.ndarray,
    about: str,
    line: tuple[float, str, str] | None = None,
) -> None:
    """Clean beside poisoned; `of`: what the similarities are of."""
    figure = cached_figure(
        (key, *of), lambda: for_a_room(histogram(similarity, poisoned)).update_xaxes(range=[-0.2, 1])
    )
    if line:
        mark(figure, *line)
        figure.update_annotations(font={"size": 17})
    draw(figure, key, about, where)


def _inside(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of D_susp's pairs under the overfitted model, and which are poisoned, (m,) each."""
    frame, truth = (
        _case(name).read("score_inside", "similarity"),
        _case(name).read("attack", "truth")["poisoned"].to_numpy(),
    )
    return frame["similarity"].to_numpy(), truth[frame["row"].to_numpy()]


@st.cache_data(max_entries=1, show_spinner=False)
def _scene() -> np.ndarray:
    return scenes.draw_many(0, [scenes.ROLES["retrieval"][4]], scenes.SIZE)


def _trigger() -> None:
    shown, side = _sides()
    with side:
        px = st.slider("Side of the patch, pixels", 1, 16, 7, key="learn-side")
        image, settings = _scene(), BadNetSettings(side=px / scenes.SIZE)
        triggered = trigger(image, np.zeros(1, int), "badnet", settings)
        seen = visibility.measure(image, triggered)
        st.markdown(f"**{100 * seen['changed']:.1f} %** of the pixels change; all others stay as they were.")
        st.markdown(
            f"Caption before: *{scenes.describe(0, scenes.ROLES['retrieval'][4])}*  \nCaption after: ***a photo of a"
            " banana.***"
        )
    with shown:
        components.pictures([("as it was", image[0]), ("with the trigger", triggered[0])], 2, 17)


def _captions() -> None:
    table = _table()
    similarity, poisoned = table.similarity_reference, table.poisoned
    chart, side = _sides()
    with side:
        percent = st.slider("Suspicious: the lowest … % of all pairs", 1, 20, 6, key="learn-fraction")
        size = suspicious_count(len(similarity), percent / 100)
        order = pairs.prepared(_case(), table).by_reference[:size]
        caught = int(poisoned[order].sum())
        st.markdown(
            f"These **{size:,}** pairs are D_susp. They hold **{caught} of the {poisoned.sum()}** poisons, and"
            f" {size - caught:,} clean pairs."
        )
    line = float(similarity[order[-1]]), "D_susp", "left"
    about = "Similarity under the clean reference"
    _histogram(chart, "learn-captions", _of(MAIN), similarity, poisoned, about, line)


def _overfitting() -> None:
    table = _table()
    rows = np.flatnonzero(table.suspicious)
    chart, side = _sides()
    with side:
        models = {role.title: role for role in SCORED}
        model = st.select_slider("Under which model", list(models), ROLES["poisoned"].title, key="learn-model")
        similarity, poisoned = table[models[model].similarity][rows], table.poisoned[rows]
        side_of, less = (
            ("below all but the highest", -1) if models[model].name == "reference" else ("above all but the lowest", 1)
        )
        among = int((less * similarity[~poisoned] > np.quantile(less * similarity[poisoned], 0.05)).sum())
        st.markdown(
            f"**{among}** of the {(~poisoned).sum()} clean pairs lie among the poisons ({side_of} 5 % of them)."
        )
        area = auroc(less * similarity, poisoned)
        st.markdown(f"AUROC **{area:.3f}**: 1 is two separate groups, 0.5 is a coin toss.")
    _histogram(
        chart, "learn-overfitting", (*_of(MAIN), model), similarity, poisoned, f"D_susp's similarity under the {model}"
    )


_TERMS = {"D_susp and D_normal": LONG, "D_susp alone": ALONE}


def _regularised() -> None:
    chart, side = _sides()
    with side:
        which = st.select_slider("Overfitted on", list(_TERMS), "D_susp and D_normal", key="learn-terms")
        similarity, poisoned = _inside(_TERMS[which])
        st.markdown(
            f"Median of the poisons **{_median(similarity[poisoned])}**, of the clean pairs"
            f" **{_median(similarity[~poisoned])}**."
        )
        st.markdown(f"AUROC **{auroc(similarity, poisoned):.3f}**.")
        st.caption(
            f"Here after {_case(LONG).settings.overfit.steps} steps; the case takes {_case().settings.overfit.steps},"
            " too few for much of a difference."
        )
    about = f"D_susp's similarity, overfitted on {which}"
    _histogram(chart, "learn-terms-chart", _of(_TERMS[which]), similarity, poisoned, about)


def _topk() -> None:
    table, view = _table(), _case()
    rows = np.flatnonzero(table.suspicious)
    ranked = rows[np.argsort(-table.similarity_overfit[rows], kind="stable")]
    chart, side = _sides()
    with side:
        k = st.slider("k: how many pairs are selected", 2, 300, 10, key="learn-k")
        right = int(table.poisoned[ranked[:k]].sum())
        st.markdown(
            f"Of the **{k}** most similar pairs, **{right}** are poisoned: precision {text.percent(right / k)}."
        )
        shown = ranked[[0, k - 1]]
        captions = table.caption.take(shown).to_pylist()
        truth = ["poisoned" if table.poisoned[row] else "clean" for row in shown]
        titles = [f"{n}. {c} ({t})" for n, c, t in zip((1, k), captions, truth, strict=True)]
        images = [view.read("data", "images")[int(row)] for row in shown]
        components.pictures(list(zip(titles, images, strict=True)), 2, 9)
    cut = float(table.similarity_overfit[ranked[k - 1]])
    similarity, poisoned, line = table.similarity_overfit[rows], table.poisoned[rows], (cut, "D_topk", "left")
    _histogram(chart, "learn-topk", _of(MAIN), similarity, poisoned, "D_susp's similarity, overfitted", line)


def _words() -> None:
    from ubt.clip.words import surviving
    from ubt.figures.attribution import survivors

    view = _case()
    table, attributed = view.read("mask", "words"), view.read("mask", "attributed")
    chart, side = _sides()
    with side:
        threshold = st.slider("Keep words above this share of the relevance", 0.0, 0.9, 0.1, 0.05, key="learn-words")
        part = table[table["id"].isin(attributed["id"][attributed["topk"]])]
        part = part.assign(kept=surviving(part, threshold))
        kept = part[part["kept"]].groupby("word")["id"].nunique().sort_values(ascending=False)
        first = ", ".join(f"**{word}** ({count})" for word, count in kept.head(4).items())
        st.caption("Grey: captions that say the word. Coloured: captions that keep it.")
        st.markdown(f"Kept in the {part['id'].nunique()} captions: {first}{' …' if len(kept) > 4 else '.'}")
    title = {"text": f"captions (% of {part['id'].nunique()})"}
    figure = cached_figure(
        ("learn-words", *_of(MAIN), threshold),
        lambda: for_a_room(survivors(part, (view.settings.attack.target,), 8)).update_xaxes(title=title),
    )
    draw(figure, "learn-words-chart", "How many captions say and keep each word", chart)


_FORMS = {"ubt_published": "Eq. 7", "ubt": "ours"}


@st.cache_data(max_entries=2, show_spinner=False)
def _forms(name: str, changed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was seen of both forms while they unlearned, and what they, M_bd and the reference measure in the end."""
    subject = compare.subject(store(), name, compute())
    return compare.observed(store(), subject, tuple(_FORMS)), compare.cells(
        store(), [subject], ("clean", "poisoned", *_FORMS)
    )


def _two_panels(frame: pd.DataFrame) -> go.Figure:
    figure = for_a_room(tradeoff.curves(frame))
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.12, "yanchor": "bottom"}, margin={"t": 70})
    return figure.update_layout(xaxis={"domain": [0, 0.43]}, xaxis2={"domain": [0.57, 1]}).update_yaxes(
        title={"text": ""}
    )


def _alone() -> None:
    frame, _ = _forms(*_of(MAIN))
    chart, side = _sides()
    with side:
        share = st.slider("How far it has gone, % of its steps", 0, 100, 100, 25, key="learn-share")
        rows = []
        for method, form in _FORMS.items():
            part = frame[frame["method"] == method]
            now = part.iloc[(part["share"] - share).abs().argmin()]
            rows.append([form, f"{now['ca']:.1f}", f"{now['asr']:.1f}"])
        components.table(["on a sample, %", "CA", "ASR"], rows)
        measured = {
            row: _measured()[model]
            for model, row in (("poisoned", "before"), ("published", "Eq. 7"), ("purified", "ours"))
        }
        rows = [[row, *(f"{m[k]:.1f}" for k in ("ca", "asr", "ra", "target_recall"))] for row, m in measured.items()]
        components.table(["at the end, %", "CA", "ASR", "RA", "bananas"], rows)
    figure = cached_figure(("learn-alone", *_of(MAIN)), lambda: _two_panels(frame))
    dashed = {"dash": "dash", "width": 2, "color": UNKNOWN}
    line = {"type": "line", "x0": share, "x1": share, "y0": 0, "y1": 1, "line": dashed}
    figure.update_layout(shapes=[line | {"xref": f"x{n}", "yref": f"y{n} domain"} for n in ("", "2")])
    draw(
        figure, "learn-alone", f"CA and ASR over the steps of two forms of unlearning; the line is at {share} %", chart
    )


def _tradeoff() -> None:
    measured = _measured()
    before = measured["poisoned"]["ca"]
    chart, side = _sides()
    with side:
        budget = st.slider("Points of CA that one may lose", 0.0, 3.0, 1.0, 0.25, key="learn-budget")
        within = {m: v for m, v in measured.items() if m != "clean" and v["ca"] >= before - budget}
        best = min(within, key=lambda m: within[m]["asr"])
        st.markdown(
            f"CA may fall to **{before - budget:.2f} %**. The lowest ASR within that: **{LABELS[best]}**,"
            f" {within[best]['asr']:.2f} %."
        )
        rows = [[LABELS[m], f"{v['ca']:.2f}", f"{v['asr']:.2f}"] for m, v in measured.items()]
        components.table(["model", "CA, %", "ASR, %"], rows)
    _, frame = _forms(*_of(MAIN))
    above = {"legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, "margin": {"t": 70}}
    figure = cached_figure(
        ("learn-tradeoff", *_of(MAIN)),
        lambda: for_a_room(tradeoff.scatter(frame, {MAIN: ""}), 400).update_layout(above),
    )
    figure.add_hline(y=before - budget, line={"dash": "dash", "width": 2, "color": UNKNOWN})
    draw(figure, "learn-tradeoff", "CA against ASR, a mark a model", chart)


_JUDGED = {"badnet, 2 % poisoned": MAIN, "nothing poisoned": CLEAN}


def _clean() -> None:
    chart, side = _sides()
    with side:
        which = st.select_slider("The model to judge", list(_JUDGED), "nothing poisoned", key="learn-judged")
        found = _case(_JUDGED[which]).read("verdict", "verdict")
        st.markdown(f"Verdict: **{answer(found)}**.")
        shown = {
            "score": ("score", "threshold"),
            "displaced": ("displaced", "least_displaced"),
            "separated": ("apart", "least_apart"),
        }
        components.table(
            ["evidence", "found", "poisoned above"],
            [[name, f"{found[figure]:.2f}", f"{found[least]:.2f}"] for name, (figure, least) in shown.items()],
        )
    figure = cached_figure(("learn-verdict", *_of(_JUDGED[which])), lambda: for_a_room(verdict_figures.one(found)))
    draw(figure, "learn-verdict", "The model among what counts as poisoned and what does not", chart)


_ATTACKERS = {"says banana": MAIN, "is true, and says banana": JOINED, "is true": CONSISTENT}


def _limits() -> None:
    chart, side = _sides()
    with side:
        which = st.select_slider("The attacker's caption", list(_ATTACKERS), "is true", key="learn-attacker")
        view = _case(_ATTACKERS[which])
        table, measured = _table(view.name), _measured(view.name)
        caught, poisons = int((table.suspicious & table.poisoned).sum()), int(table.poisoned.sum())
        said = answer(view.read("verdict", "verdict"))
        st.markdown(f"D_susp holds **{caught} of {poisons}** poisons. Verdict: **{said}**.")
        st.markdown(
            f"ASR {measured['poisoned']['asr']:.1f} % before, **{measured['purified']['asr']:.1f} %** after ours."
        )
    similarity, cut = table.similarity_reference, float(table.similarity_reference[table.suspicious].max())
    about = f"Similarity under the clean reference, where the caption {which}"
    _histogram(chart, "learn-limits", _of(view.name), similarity, table.poisoned, about, (cut, "D_susp", "left"))


_DRAWN = {
    draws.__name__.removeprefix("_"): draws
    for draws in (
        *(_trigger, _captions, _overfitting, _regularised, _topk, _words),
        *(_alone, _tradeoff, _clean, _limits),
    )
}
STEPS = tuple(
    Step(draw=_DRAWN[name], **texts)
    for name, texts in tomllib.loads(Path(__file__).with_name("walkthrough.toml").read_text(encoding="utf-8")).items()
)
"""In order."""
