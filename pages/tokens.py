"""Tokens: which words and which parts of an image carry a pair's similarity, and what a mask keeps of them."""

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core import text
from ubt.defenses.token_unlearning.mask import METHODS
from ubt.figures import attribution as figures
from ubt.figures import mask_pictures
from ubt.pairs.table import rows_of
from ubt.ui import attribution, charts, components, pair_picker, selection
from ubt.ui import images as pictures
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import missing, no_case
from ubt.ui.navigation import current
from ubt.ui.paper_results import paper_figures, table_4

SHOWN = 12
EXPORTED = 8
PAPERS = ("5", "8")

view = current()
st.title("Tokens")
st.caption(
    "Which words and which patches carry a pair's similarity (Chefer et al.: attention weighted by its gradient), and"
    " what is left of caption and image above a threshold: Eq. 5's mask. In a poison it is the target's word, and the"
    " trigger."
)
if view is None or not view.has("mask", "mask_published"):
    no_case() if view is None else missing(view, "mask_published", "No pair has been attributed yet.")
    paper_figures(PAPERS)
    st.stop()

with st.spinner("Getting ready to attribute; the first time takes a few seconds…"):
    from ubt.clip import words
    from ubt.clip.attribution import above, image_masks, upsample

settings = view.settings
images = view.read("data", "images")
attributed, how = view.read("mask", "attributed"), view.read("mask", "how")
if how["unfit"]:
    st.info(
        f"No attention relevance for this model: {plain(how['unfit'])}. Tokens and patches were left out one at a time"
        " instead."
    )
if view.has("verdict") and not view.read("verdict", "verdict")["poisoned"]:
    st.info(
        "This model was judged not poisoned: what follows are its most similar suspicious pairs, and the purified"
        " models are the model as it came."
    )


@st.fragment
@guard()
def one_pair() -> None:
    known, reveal, picked = selection.opened(view)
    pair = pair_picker.choose_pair(view, known, picked)
    if pair is None:
        return
    row = int(rows_of(known["id"], [pair])[0])
    own = known["caption"][row].as_py()
    first, second, third = st.columns(3)
    text_threshold = first.slider(
        "Text threshold: share of relevance", 0.0, 1.0, how["text_threshold"], 0.01, key="text", bind="query-params"
    )
    image_threshold = second.slider(
        "Image threshold: relevance, 0 to 1", 0.0, 1.0, how["image_threshold"], 0.01, key="image", bind="query-params"
    )
    opacity = third.slider("Heat over the image", 0.0, 1.0, 0.55, 0.05, key="opacity", persist_state="session")
    first, second = st.columns([1, 2], vertical_alignment="bottom")
    method = first.selectbox(
        "Method", METHODS, key="method", persist_state="session", help="The last two are there to compare"
    )
    layers = [-n for n in range(1, attribution.depth(view) + 1)]
    start = second.select_slider(
        "From which block on",
        layers[::-1],
        -1,
        key="start",
        format_func=lambda n: "last" if n == -1 else "first" if n == layers[-1] else f"last {-n}",
        disabled=method != METHODS[0],
        help="Published: the last block alone. A tower with fewer blocks starts at its first",
    )
    there = [m for m in attribution.STAGES if attribution.has(view, m)]
    first = [m for m in ("clean", "poisoned", "overfitted", "purified") if m in there]
    compared = st.pills(
        "Models, side by side",
        there,
        selection_mode="multi",
        default=first,
        key=f"models-{view.name}",
        format_func=lambda m: view.titled(attribution.TITLES, m),
    )
    if view.ready:
        st.caption("Its other models were not shipped with this case. Run it live to compare them.")
    if not compared:
        st.info("Choose at least one model.")
    caption = st.text_input("Caption: edit it and see the scores move", own, key=f"caption-{pair}", max_chars=2000)
    image = pictures.some(view, [row])[0]
    for column, model in zip(st.columns(max(1, len(compared))), compared, strict=False):
        with column, guard():
            said = attribution.explained(view, model, row, caption, method, start)
            found = words.split(caption, len(said.by_token))
            if said.unfit:
                st.caption(f"Tokens and patches left out one at a time: {plain(said.unfit)}.")
            score = words.scores(found, said.by_token)
            kept = words.kept(score, text_threshold)
            title = view.titled(attribution.TITLES, model)
            st.markdown(f"**{title[0].upper()}{title[1:]}** · similarity {said.similarity:.3f}")
            components.words(found, score, kept)
            heat = upsample(said.map[None], *image.shape[:2])
            mask = above(heat, image_threshold)[0]
            components.pictures(
                [
                    ("image", figures.enlarged(image)),
                    (
                        f"above {image_threshold:g}: {text.percent(mask.mean())}",
                        figures.overlay(image, heat[0], mask, opacity),
                    ),
                ]
            )
    notes = []
    if any(w.cut for w in words.split(caption, view.read("mask", "tokens").shape[1])):
        notes.append("Words struck through lie beyond the model's context and are not read.")
    if caption != own:
        notes.append("The caption was edited; the pair in D keeps its own.")
    if reveal:
        notes.append(f"Ground truth: {'poisoned' if known['poisoned'][row] else 'clean'}.")
    st.caption(" ".join(notes))
    st.divider()
    whole(text_threshold, image_threshold, opacity)


def whole(text_threshold: float, image_threshold: float, opacity: float) -> None:
    """The same thresholds on all of D_topk, from the cached scores."""
    st.subheader("All of D_topk: what survives the mask")
    with st.container(horizontal=True, vertical_alignment="center"):
        forms = {"mask": "overfitted model (ours)", "mask_published": "M_bd (published)"}
        form = st.segmented_control(
            "Read by",
            list(forms),
            format_func=forms.get,
            default="mask",
            required=True,
            key="mask-form",
            persist_state="session",
            label_visibility="collapsed",
        )
        flagged = st.toggle(
            f"All {len(attributed)} flagged pairs that were looked at",
            False,
            key="all-flagged",
            persist_state="session",
        )
        reveal = view.has("attack") and selection.truth_toggle()
    table, maps = view.read(form, "words"), view.read(form, "maps")
    among = np.ones(len(attributed), bool) if flagged else attributed["topk"].to_numpy()
    part = table[table["id"].isin(attributed["id"][among])].copy()
    part["kept"] = words.surviving(part, text_threshold)
    chosen = np.flatnonzero(among)
    covered = [
        image_masks(maps[some], *images.shape[1:3], image_threshold).mean((1, 2))
        for some in np.split(chosen, range(256, len(chosen), 256))
    ]
    targets = {w for p in settings.attacks for w in p.attack.target.lower().split()} if reveal else ()
    chart, side = st.columns([3, 2], gap="large")
    charts.draw(figures.survivors(part, targets), "survivors", "How many captions say and keep each word", chart)
    with side:
        rows = [
            ("pairs", f"{among.sum()}"),
            (
                "words kept, mean share of a caption",
                text.percent(part[~part["cut"]].groupby("id")["kept"].mean().mean() if len(part) else None),
            ),
            ("image kept, mean share of its pixels", text.percent(float(np.concatenate(covered).mean()))),
        ]
        if reveal and view.has("judge"):
            rows += _judged(attributed[among], maps[among], part, image_threshold)
        components.table(["at these thresholds", ""], rows)
        scored = f"Scored by {how['method']}, block {how['start_layer']}, when the case was run"
        st.caption(
            f"{scored}, which masked at {how['text_threshold']:g} (text) and {how['image_threshold']:g} (image)."
            + (" It masked captions piece by piece; here they are masked by words." if how["rewrite"] == "ids" else "")
        )
        moved = (text_threshold, image_threshold) != (how["text_threshold"], how["image_threshold"])
        if moved and st.button("Make a case with these thresholds", key="as-case", icon=":material/content_copy:"):
            make(
                settings.with_values({"mask.text_threshold": text_threshold, "mask.image_threshold": image_threshold}),
                run=False,
            )
            st.toast("The case is on record; it is the one in view now.")
            st.rerun(scope="app")
    first = chosen[: max(SHOWN, EXPORTED)]
    shown = mask_pictures.explanations(
        pictures.some(view, attributed["row"].to_numpy()[first]),
        attributed.iloc[first],
        part,
        maps[first],
        image_threshold,
    )
    components.attributions(
        [(figures.overlay(e.image, e.heat, e.mask, opacity), e.words, e.scores, e.kept, e.cut) for e in shown[:SHOWN]]
    )
    if among.sum() > SHOWN:
        st.caption(f"The first {SHOWN} of {among.sum()}.")
    _export(shown[:EXPORTED], text_threshold, image_threshold)


def _judged(chosen: pd.DataFrame, its: np.ndarray, part: pd.DataFrame, image_threshold: float) -> list[tuple[str, str]]:
    from ubt.evaluation import masks

    keys = {p.trigger.word for p in settings.attacks}
    got = masks.judged(
        chosen,
        its,
        part,
        view.read("attack", "truth"),
        view.read("attack", "manifest"),
        images.shape[1:3],
        image_threshold,
        keys,
    )
    names = {
        "target_first": "poisons whose target scores highest",
        "target_kept": "poisons that keep the target",
        "trigger_inside": "trigger's pixels that are kept",
    }
    return [
        ("poisoned pairs among them", f"{got['poisons']}"),
        *((label, text.percent(got[k])) for k, label in names.items()),
    ]


def _export(shown: list[mask_pictures.Explained], text_threshold: float, image_threshold: float) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Export as",
            list(mask_pictures.FORMATS),
            default="PNG",
            required=True,
            key="export-kind",
            persist_state="session",
        )
        for title, name, draw, threshold in (
            ("Words (as Fig. 5)", "words", mask_pictures.words_figure, text_threshold),
            ("Images (as Fig. 8)", "heat", mask_pictures.heat_figure, image_threshold),
        ):
            st.download_button(
                title,
                lambda d=draw, t=threshold: mask_pictures.saved(d([mask_pictures.Block(shown)], t), kind),
                f"{name}-{view.name}.{kind.lower()}",
                mask_pictures.FORMATS[kind],
                icon=":material/download:",
                key=f"export-{name}",
                on_click="ignore",
            )


one_pair()
st.divider()
table_4()
paper_figures(PAPERS)
