"""Try a trigger: an analyst's hypothesis of trigger and target, built on the page, and its ASR on the case's models."""

from typing import Any

import numpy as np
import streamlit as st

from ubt.clip.cost import SCORED
from ubt.evaluation.model_roles import labels
from ubt.evaluation.trigger_hypothesis import LONGEST, Hypothesis, stamped
from ubt.figures import trigger_hypothesis
from ubt.figures.attribution import enlarged
from ubt.figures.patches import outlined
from ubt.ui import charts, components, costs, pairs
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import build
from ubt.ui.view import View, read, store
from ubt.workflows import derived, try_trigger

SOURCES = {
    "found": "found by PoisonCAM",
    "cut": "cut from an image",
    "file": "an image file",
    "drawn": "drawn",
    "word": "a word alone",
}
MEGABYTES = 20
ROUNDS = 4
"""How often a model reads an image: as it is, with the trigger, with the control, and one more for reading it."""


def section(view: View) -> None:
    """The section of a case in which M_bd is there."""

    @st.fragment(key="try-a-trigger")
    @guard()
    def draw() -> None:
        _section(view)

    draw()


def _section(view: View) -> None:
    st.subheader("Try a trigger")
    st.caption(
        "Assume a trigger and a target, and see how often each model classifies images as the target because of it: the"
        " ASR of the hypothesis. Compare it with the rate without any trigger, and with a control: a piece of another"
        " clean image in the same place, since any patch hides something."
    )
    height, width = view.read("data", "images").shape[1:3]
    left, right = st.columns([3, 2], gap="large")
    with left:
        offered = [s for s in SOURCES if s != "found" or view.has("poisoncam_locate")]
        source = st.segmented_control(
            "The trigger", offered, default=offered[0], required=True, format_func=SOURCES.get, key="try-source"
        )
        pixels, form, values = _trigger(view, source or offered[0], height, width)
        target = _target(view)
        word = st.text_input(
            "A word before every text",
            key="try-word",
            max_chars=LONGEST,
            help="As dual-key attacks have it; empty: none",
        )
    if pixels is None and source != "word":
        return
    if not target.strip() or (form == "none" and not word.strip()):
        st.info("Name a target." if not target.strip() else "Name the word that would be the trigger.")
        return
    hypothesis = Hypothesis(target=target, form=form, word=word, **values)
    hypothesis.check(pixels, height, width)
    with right:
        _preview(view, pixels, hypothesis)
    options = try_trigger.options(
        store(), view.record, hypothesis, "" if pixels is None else try_trigger.trigger(view.record, pixels)
    )
    models = [stage for stage in try_trigger.models_of(view.audits).values() if stage in options["over"]]
    untried = f"Not tried yet: up to {hypothesis.images} images under {len(models)} models."
    if build(
        view,
        "probe",
        options,
        untried,
        "Try it",
        costs.of_seconds(ROUNDS * SCORED * hypothesis.images * len(models)),
        lambda: None if pixels is None else try_trigger.keep(store(), view.record, pixels),
    ):
        _result(view, options, hypothesis)


def _trigger(view: View, source: str, height: int, width: int) -> tuple[np.ndarray | None, str, dict[str, Any]]:
    """Pixels, form and place of the trigger; no pixels where there is none yet."""
    if source == "word":
        return None, "none", {}
    if source == "found":
        candidates, patches = view.read("poisoncam_locate", "candidates"), view.read("poisoncam_locate", "patches")
        rank = int(st.number_input("Its rank", 1, len(candidates), 1, key="try-rank"))
        pixels, at = try_trigger.candidate(candidates, patches, rank, height, width)
        return pixels, "patch", _place(pixels, height, width, at, f"found-{rank}")
    if source == "cut":
        pixels, at = _cut(view, height, width)
        return pixels, "patch", {} if pixels is None else _place(pixels, height, width, at, "cut")
    if source == "drawn":
        pixels = drawn(height, width)
        return pixels, "patch", _place(pixels, height, width, {"top": 1.0, "left": 1.0}, "drawn")
    file = st.file_uploader(
        "Image file", type=["png", "jpg", "jpeg", "webp", "gif", "bmp"], key="try-file", max_upload_size=MEGABYTES
    )
    whole = st.toggle("Blend it over the whole image", key="try-whole")
    if file is None:
        st.info("Choose a file: a patch, in pixels of the images, or a pattern to blend over them.")
        return None, "patch", {}
    pixels = try_trigger.loaded(file.getvalue(), "the file", height, width, whole)
    if whole:
        return pixels, "pattern", {"alpha": st.slider("Share of the pattern", 0.05, 1.0, 0.2, 0.05, key="try-alpha")}
    return pixels, "patch", _place(pixels, height, width, {"top": 1.0, "left": 1.0}, "file")


def _cut(view: View, height: int, width: int) -> tuple[np.ndarray | None, dict[str, float]]:
    table, images = pairs.table(view), view.read("data", "images")
    first = 0 if table.topk is None else int(np.argmax(table.topk))
    start = st.session_state.get("pair") or table.ids([first])[0]
    pair = st.text_input("Id of the pair", value=start, key="try-pair").strip()
    rows = table.rows([pair])
    if not len(rows):
        st.info(f"There is no pair {plain(pair[:80])} in D.")
        return None, {}
    image, size = np.asarray(images[int(rows[0])]), images.shape[1:3]
    one, two = st.columns(2)
    box = [
        column.slider(label, low, most, min(start, most), key=f"try-{label}")
        for column, label, low, most, start in (
            (one, "top, px", 0, size[0] - 1, size[0] * 5 // 6),
            (one, "height, px", 1, min(size[0], height), size[0] // 6),
            (two, "left, px", 0, size[1] - 1, size[1] * 5 // 6),
            (two, "width, px", 1, min(size[1], width), size[1] // 6),
        )
    ]
    top, h, left, w = box
    h, w = min(h, size[0] - top), min(w, size[1] - left)
    components.pictures(
        [
            ("cut from it", outlined(image, (top, left, h, w))),
            ("the patch", enlarged(image[top : top + h, left : left + w])),
        ]
    )
    return image[top : top + h, left : left + w], {"top": top / size[0], "left": left / size[1]}


def drawn(height: int, width: int) -> np.ndarray:
    """A patch as the page's controls draw it, for images of this size: uint8 (side, side, 3)."""
    one, two, three, four = st.columns(4, vertical_alignment="bottom")
    kind = one.selectbox("What", ("checkerboard", "solid"), key="try-kind")
    side = two.number_input(
        "Side, px", 1, min(height, width), max(1, round(0.1459 * min(height, width))), key="try-side"
    )
    first = _colour(three.color_picker("Colour", "#ffffff", key="try-colour"))
    if kind == "solid":
        return np.full((side, side, 3), first, np.uint8)
    cell = four.number_input("Square, px", 1, int(side), 1, key="try-cell")
    odd = (np.indices((side, side)) // cell).sum(0) % 2
    return np.where(odd[..., None] == 1, first, 0).astype(np.uint8)


def _colour(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text.lstrip("#")[:6]), np.uint8)


def _place(pixels: np.ndarray, height: int, width: int, at: dict[str, float], what: str) -> dict[str, Any]:
    """Where a patch lies, in pixels of the page's sliders; `at` to begin with."""
    if st.toggle("Random place", key="try-random", help="At another place in each image, instead of one place"):
        return {"place": "random"}
    free = [n - m for n, m in zip((height, width), pixels.shape[:2], strict=True)]
    start = [min(round(share * n), most) for share, n, most in zip(at.values(), (height, width), free, strict=True)]
    found = []
    for column, label, n, most, begin in zip(st.columns(2), ("top", "left"), (height, width), free, start, strict=True):
        px = (
            column.slider(f"Its {label} edge, px", 0, most, begin, key=f"try-{label}-{what}-{begin}-{most}")
            if most
            else 0
        )
        found.append(px / n)
    return {"top": found[0], "left": found[1]}


def _target(view: View) -> str:
    """The text that images would be classified as: words that D_topk's captions keep, the classes, or any other."""
    words = try_trigger.suggested(store(), view.record)
    classes = view.read("test", "classes") if view.has("test") else []
    offered = list(dict.fromkeys([*words, *classes]))
    about = "First what most of D_topk's masked captions keep" if words else "A class, or any other text"
    chosen = st.selectbox(
        "Target",
        offered,
        index=0 if words else None,
        key="try-target",
        accept_new_options=True,
        help=f"{about}; or type one",
    )
    return (chosen or "")[:LONGEST]


@st.cache_data(max_entries=8, show_spinner=False)
def _some(data: str, count: int, seed: int, _images: Any) -> np.ndarray:
    rows = np.sort(np.random.default_rng(seed).permutation(len(_images))[:count])
    return np.asarray(_images[rows])


def _preview(view: View, pixels: np.ndarray | None, hypothesis: Hypothesis) -> None:
    if pixels is None:
        return
    stage = "test" if view.has("test") else "data"
    images = _some(view.key(stage), 4, 0, _images=view.read(stage, "images"))
    components.pictures(
        [(f"with the trigger, {n}", image) for n, image in enumerate(stamped(images, pixels, hypothesis, 0)[0], 1)]
    )


def _result(view: View, options: dict[str, Any], hypothesis: Hypothesis) -> None:
    key = derived.key(view.record, "probe", options)
    measures, about, readings = (read(key, entry) for entry in ("measures", "about", "readings"))
    audit = view.settings.own.audits
    st.markdown(plain(try_trigger.meaning(measures, hypothesis.target, "the model" if audit else "the poisoned model")))
    chart, side = st.columns([3, 2], gap="large")
    names = labels(audit)
    figure = trigger_hypothesis.rates(measures, names)
    charts.draw(figure, "tried", "Share of images that each model classifies as the target", chart)
    with side:
        rows = []
        for model, m in measures.items():
            cells = [
                (
                    "undefined"
                    if m[k] is None
                    else f"{m[k]:.1f} [{m['intervals'][k][0]:.1f},\u00a0{m['intervals'][k][1]:.1f}]"
                )
                for k in trigger_hypothesis.RATES
            ]
            rows.append([names[model], *cells])
        components.table(["percent", *(title for title, *_ in trigger_hypothesis.RATES.values())], rows)
        st.caption(_definition(about))
    shown, model = read(key, "triggered"), "poisoned"
    rows = readings[readings["model"] == model].sort_values("image")
    cards = [f"before: {before[:80]}" for before in rows["before"]]
    components.grid(np.asarray(shown), [f"with it: {after[:80]}" for after in rows["after"]], cards, None)


def _definition(about: dict[str, Any]) -> str:
    asked = f"{about['images']:,} labelled images of other classes; a model chooses among {about['texts']:,} classes"
    if not about["labelled"]:
        asked = (
            f"{about['images']:,} pairs of D_normal that are not flagged and whose caption does not name the target; a"
            f" model chooses among the target, the image's own caption and {about['texts'] - 2:,} captions of other"
            " pairs"
        )
    word = f" The word's control: {plain(about['control_word'])}." if about["control_word"] else ""
    return (
        f"{asked}. No trigger: the share classified as the target without it. Trigger and control: of the other images,"
        f" the share then classified as the target.{word}"
    )
