"""Separation: does the backdoor separate from the clean pairs, under which model, and what do the thresholds catch?"""

import numpy as np
import streamlit as st

from ubt.evaluation.detection import caught, otsu
from ubt.figures import similarity
from ubt.stages.split import suspicious_count
from ubt.ui import html
from ubt.ui.case import make
from ubt.ui.guard import guard
from ubt.ui.navigation import current
from ubt.ui.panel import missing, no_case

MODELS = {"score": "Clean reference", "score_poisoned": "Poisoned model (M_bd)", "score_overfit": "Overfitted model"}
GRID = 24

view = current()
st.title("Separation")
st.caption(
    "Cosine similarity of every image with its own caption. Poisons fit their captions badly under the clean reference, well under the poisoned model, and "
    "best under the overfitted one, where the rest of the suspicious pairs stay behind."
)
if view is None:
    no_case()
    st.stop()
if not view.has("score"):
    missing(view, "score", "The pairs have not been scored yet.")
    st.stop()

scores = {stage: view.read(stage, "similarity")["similarity"].to_numpy() for stage in MODELS if view.has(stage)}
truth = view.read("attack", "truth")["poisoned"].to_numpy()
pairs = view.read("data", "pairs")
settings = view.settings
gap = 0.5
if "score_overfit" in scores:
    suspicious = caught(scores["score"], None, suspicious_count(len(pairs), settings.split.fraction), 0, 0).suspicious
    gap = round(otsu(scores["score_overfit"][suspicious]), 2)


@st.fragment
@guard()
def explore() -> None:
    left, middle, right = st.columns(3)
    percent = left.slider(
        "Suspicious fraction: share of D, %", 0.5, 50.0, 100 * settings.split.fraction, 0.5, key=f"fraction-{view.name}",
        help="The pairs of lowest similarity under the clean reference are D_susp",
    )  # fmt: skip
    threshold = middle.slider(
        "Threshold on the overfitted similarity", -1.0, 1.0, gap, 0.01, key=f"threshold-{view.name}", disabled="score_overfit" not in scores,
        help="Pairs of D_susp from it on count as flagged. It starts in the widest gap between two groups, found without the truth",
    )  # fmt: skip
    size = suspicious_count(len(pairs), percent / 100)
    k = right.slider(
        "k: size of D_topk", 2, max(3, min(200, size)), min(settings.k, max(3, size)), key=f"k-{view.name}", disabled="score_overfit" not in scores,
        help="The k pairs of D_susp most similar under the overfitted model",
    )  # fmt: skip
    with st.container(horizontal=True):
        reveal = st.toggle("Show the ground truth", True, key="reveal", persist_state="session", help="A lab case knows it; a defender does not")
        inside = st.toggle("D_susp only", False, key="inside", persist_state="session", help="Histograms of the suspicious pairs alone")
    as_run = (percent, k) == (100 * settings.split.fraction, settings.k)
    topk = view.read("select", "topk") if as_run and view.has("select") else None
    group = {} if topk is None or topk["group"].max() == 0 else dict(zip(topk["row"], topk["group"], strict=True))
    result = caught(scores["score"], scores.get("score_overfit"), size, threshold, k, None if topk is None else topk["row"].to_numpy())
    shown = result.suspicious if inside else np.ones(len(pairs), bool)
    lines = {"score": (result.cut, "D_susp", "left"), "score_overfit": (threshold, "flagged", "right")}
    for column, (stage, title) in zip(st.columns(3), MODELS.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            if stage in scores:
                figure = similarity.histogram(scores[stage][shown], truth[shown] if reveal else None, lines.get(stage))
                st.plotly_chart(figure, key=f"chart-{stage}", config={"displayModeBar": False}, alt=f"Similarity histogram, {title}")
            else:
                missing(view, stage, "Not scored yet.", offer=stage == next(s for s in MODELS if s not in scores))

    names = {
        "D_susp": f"D_susp: lowest {percent:g} %",
        "flagged": f"flagged: {threshold:.2f} and more",
        "D_topk": f"D_topk: first {k}" + (" of each group" if group else ""),
    }
    rows = [
        [names[name], f"{c['pairs']:,}", f"{c['poisoned']:,}", html.percent(c["precision"]), html.percent(c["recall"])]
        for name, c in result.counts(truth).items()
    ]  # fmt: skip
    columns = ["", "pairs", "poisoned", "precision", "recall of all poisons"]
    html.table(columns if reveal else columns[:2], rows if reveal else [r[:2] for r in rows])
    if not as_run:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Read off the cached scores: the overfitted model was trained with {100 * settings.split.fraction:g} % and unlearning used k = {settings.k}."
            )
            if st.button("Make a case with these", key="as-case", icon=":material/content_copy:"):
                with guard():
                    make(settings.with_values({"split.fraction": percent / 100, "select.k": k}), run=False)
                    st.switch_page("pages/overview.py")
    if "score_overfit" not in scores:
        return
    st.subheader("D_topk: the pairs of D_susp most similar under the overfitted model")
    rows = result.ranked[np.isin(result.ranked, np.flatnonzero(result.chosen["D_topk"]))][:GRID]
    rank = {row: n for n, row in enumerate(result.ranked, 1)}
    said = [f"{rank[r]}. similarity {scores['score_overfit'][r]:.3f}" + (f", group {group[r] + 1}" if group else "") for r in rows]
    if group:
        st.caption(f"{max(group.values()) + 1} groups of captions hold together, each perhaps a backdoor of its own; each gives its first {k}.")
    html.grid(view.read("data", "images")[rows], pairs["caption"].iloc[rows], said, truth[rows] if reveal else None)
    if (count := int(result.chosen["D_topk"].sum())) > GRID:
        st.caption(f"The first {GRID} of {count}.")
    if view.has("mask") and len(rows):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            caption = {pairs["id"].iloc[r]: f"{rank[r]}. {pairs['caption'].iloc[r][:90]}" for r in rows}
            pair = st.selectbox("One of them", list(caption), format_func=caption.get, key=f"carry-{view.name}")
            st.page_link(
                "pages/tokens.py", label="Look at its words and patches", icon=":material/arrow_forward:", query_params={"case": view.name, "pair": pair}
            )


explore()
