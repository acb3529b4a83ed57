"""Tokens: which words and which parts of an image carry a pair's similarity, and what a mask keeps of them.

Which words and which patches carry a pair's similarity (Chefer et al.: attention weighted by its gradient), and what is
left of caption and image above a threshold: the mask of Eq. 5. In a poison it keeps the target's word and the trigger.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core import text
from ubt.defenses.token_unlearning.mask import METHODS
from ubt.defenses.token_unlearning.verdict import answer, judged_poisoned
from ubt.figures import mask_pictures
from ubt.figures.attribution import enlarged, overlay, survivors
from ubt.pairs.table import PairTable
from ubt.ui import apply, attribution, charts, components, controls, pair_picker, selection
from ubt.ui import images as case_images
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import missing, no_case
from ubt.ui.navigation import current, heading
from ubt.ui.paper_results import paper_figures, table_4

SHOWN = 12
EXPORTED = 8
PAPERS = ("5", "8")

view = current()
heading("tokens")
if view is None or not view.has("mask", "mask_published"):
    no_case() if view is None else missing(view, "mask_published", "No pair has been attributed yet.")
    paper_figures(PAPERS)
    st.stop()

with st.spinner("Loading attribution; the first time takes a few seconds…"):
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
if view.has("verdict") and not judged_poisoned(found := view.read("verdict", "verdict")):
    st.info(
        f"The verdict on this model is {answer(found)!r}: these are its most similar suspicious pairs, and unlearning"
        " left the model unchanged."
    )


@dataclass(frozen=True)
class Look:
    """How a pair is looked at: the thresholds of its mask, how strong the heat is drawn, and what is attributed how."""

    text: float
    image: float
    opacity: float
    method: str = METHODS[0]
    start: int = -1


@st.fragment
@guard()
def explore() -> None:
    table, selected = selection.opened(view)
    pair = pair_picker.choose_pair(view, table, selected)
    if pair is None:
        return
    row = int(table.rows([pair])[0])
    look = _controls()
    models = _models()
    if not models:
        st.info("Choose at least one model.")
        return
    caption = st.text_input(
        "Caption: edit it and see the scores move",
        table.caption[row].as_py(),
        key=f"caption-{view.name}-{pair}",
        max_chars=2000,
    )
    image = case_images.some(view, [row])[0]
    for column, model in zip(st.columns(len(models)), models, strict=True):
        with column, guard():
            _attribution(model, row, caption, image, look)
    _notes(table, row, caption)
    st.divider()
    _topk(look)


def _controls() -> Look:
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
    return Look(text_threshold, image_threshold, opacity, method, start)


def _models() -> list[str]:
    """The models to compare."""
    offered = attribution.available(view)
    return st.pills(
        "Models, side by side",
        offered,
        selection_mode="multi",
        default=[m for m in ("reference", "poisoned", "overfit", "purified") if m in offered],
        key=f"models-{view.name}",
        format_func=view.model_title,
    )


def _attribution(model: str, row: int, caption: str, image: np.ndarray, look: Look) -> None:
    """What one model reads in the pair: words and image, and what the mask keeps of them."""
    found = attribution.explained(view, model, row, caption, look.method, look.start)
    caption_words = words.split(caption, len(found.by_token))
    if found.unfit:
        st.caption(f"Tokens and patches left out one at a time: {plain(found.unfit)}.")
    score = words.scores(caption_words, found.by_token)
    title = view.model_title(model)
    st.markdown(f"**{title[0].upper()}{title[1:]}** · similarity {found.similarity:.3f}")
    components.words(caption_words, score, words.kept(score, look.text))
    heat = upsample(found.map[None], *image.shape[:2])
    mask = above(heat, look.image)[0]
    masked = overlay(image, heat[0], mask, look.opacity)
    components.pictures([("image", enlarged(image)), (f"above {look.image:g}: {text.percent(mask.mean())}", masked)])


def _notes(table: PairTable, row: int, caption: str) -> None:
    notes = []
    if any(w.cut for w in words.split(caption, view.read("mask", "tokens").shape[1])):
        notes.append("Words struck through lie beyond the model's context and are not read.")
    if caption != table.caption[row].as_py():
        notes.append("The caption was edited; the pair in D keeps its own.")
    if table.poisoned is not None:
        notes.append(f"Ground truth: {'poisoned' if table.poisoned[row] else 'clean'}.")
    st.caption(" ".join(notes))


def _topk(look: Look) -> None:
    """The same thresholds on all of D_topk, from the cached scores."""
    st.subheader("All of D_topk: what survives the mask")
    form, all_flagged, reveal = _shown()
    among = np.ones(len(attributed), bool) if all_flagged else attributed["topk"].to_numpy()
    table, maps = view.read(form, "words"), view.read(form, "maps")
    part = table[table["id"].isin(attributed["id"][among])].copy()
    part["kept"] = words.surviving(part, look.text)
    targets = {w for p in settings.attacks for w in p.attack.target.lower().split()} if reveal else ()
    chart, side = st.columns([3, 2], gap="large")
    charts.draw(survivors(part, targets), "survivors", "How many captions say and keep each word", chart)
    with side:
        rows = _summary(part, maps, among, look.image)
        if reveal and view.has("judge"):
            rows += _judged(attributed[among], maps[among], part, look.image)
        components.table(["at these thresholds", ""], rows)
        _as_run(look)
    _examples(part, maps, np.flatnonzero(among), look)


def _shown() -> tuple[str, bool, bool]:
    """Whose masks are shown, whether of all flagged pairs, and whether beside the truth."""
    forms = {"mask": "overfitted model (ours)", "mask_published": "M_bd (published)"}
    with st.container(horizontal=True, vertical_alignment="center"):
        form = controls.choice("Attributed by", forms, "mask-form", default="mask", label_visibility="collapsed")
        all_flagged = controls.toggle(f"All {len(attributed)} flagged pairs that were attributed", False, "all-flagged")
        return form, all_flagged, view.has("attack") and selection.truth_toggle()


def _summary(part: pd.DataFrame, maps: np.ndarray, among: np.ndarray, threshold: float) -> list[tuple[str, str]]:
    """What the mask keeps, in shares; the maps a few hundred at a time, for they are as large as images."""
    chosen = np.flatnonzero(among)
    covered = [
        image_masks(maps[some], *images.shape[1:3], threshold).mean((1, 2))
        for some in np.split(chosen, range(256, len(chosen), 256))
    ]
    kept = part[~part["cut"]].groupby("id")["kept"].mean().mean() if len(part) else None
    return [
        ("pairs", f"{among.sum()}"),
        ("words kept, mean share of a caption", text.percent(kept)),
        ("image kept, mean share of its pixels", text.percent(float(np.concatenate(covered).mean()))),
    ]


def _as_run(look: Look) -> None:
    """The thresholds of the case as it was run, and a case with others."""
    st.caption(
        f"Scored by {how['method']}, block {how['start_layer']}, when the case was run, which masked at"
        f" {how['text_threshold']:g} (text) and {how['image_threshold']:g} (image)."
        + (" It masked captions token by token; here they are masked by words." if how["rewrite"] == "ids" else "")
    )
    moved = (look.text, look.image) != (how["text_threshold"], how["image_threshold"])
    if moved:
        values = {"mask.text_threshold": look.text, "mask.image_threshold": look.image}
        apply.case_with(view, values, "Run a case with these thresholds", "as-case")


def _examples(part: pd.DataFrame, maps: np.ndarray, chosen: np.ndarray, look: Look) -> None:
    """The first pairs with their heat, and their export."""
    first = chosen[: max(SHOWN, EXPORTED)]
    shown = mask_pictures.explanations(
        case_images.some(view, attributed["row"].to_numpy()[first]),
        attributed.iloc[first],
        part,
        maps[first],
        look.image,
    )
    components.attributions(
        [(overlay(e.image, e.heat, e.mask, look.opacity), e.words, e.scores, e.kept, e.cut) for e in shown[:SHOWN]]
    )
    if len(chosen) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(chosen)}.")
    _export(shown[:EXPORTED], look)


def _judged(
    chosen: pd.DataFrame, maps: np.ndarray, part: pd.DataFrame, image_threshold: float
) -> list[tuple[str, str]]:
    from ubt.evaluation import masks

    keys = {p.word for p in settings.attacks}
    judged = masks.judged(
        chosen,
        maps,
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
        "trigger_inside": "pixels of the trigger that are kept",
    }
    return [
        ("poisoned pairs among them", f"{judged['poisons']}"),
        *((label, text.percent(judged[k])) for k, label in names.items()),
    ]


def _export(shown: list[mask_pictures.Explained], look: Look) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = controls.choice("Export as", list(mask_pictures.FORMATS), "export-kind", default="PNG")
        for title, name, draw, threshold in (
            ("Words (as Fig. 5)", "words", mask_pictures.words_figure, look.text),
            ("Images (as Fig. 8)", "heat", mask_pictures.heat_figure, look.image),
        ):
            controls.download(
                title,
                lambda d=draw, t=threshold: mask_pictures.saved(d([mask_pictures.Block(shown)], t), kind),
                f"{name}-{view.name}.{kind.lower()}",
                mask_pictures.FORMATS[kind],
                f"export-{name}",
            )


explore()
st.divider()
table_4()
paper_figures(PAPERS)
