"""One image at the gate: which one, its verdict, what models take it for, each detector's score, and where the evidence
sits.
"""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from ubt.cases.store import Store
from ubt.clip.models import embed_tokens
from ubt.core.errors import UbtError
from ubt.core.text import visible
from ubt.data.images import IMAGE_FORMATS, refitted, tried
from ubt.data.model_input import context_length, fit, image_size, tokenize
from ubt.data.user_roles import prompts
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.detectors.gate.base import embed, moved
from ubt.detectors.gate.masking import MaskingSettings, trajectory
from ubt.detectors.gate.pasted import PastedSettings
from ubt.figures import gate as figures
from ubt.figures.attribution import enlarged, overlay
from ubt.ui import charts, components, lens, pairs, trigger_places
from ubt.ui.attribution import opened
from ubt.ui.errors import guard, plain
from ubt.ui.view import View, compute, read, store
from ubt.workflows import gate as gates
from ubt.workflows.gate import CANNOT_TELL, NOT_TRIGGERED, TRIGGERED, Gate

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False positive rates to choose from."""
LONGEST = 80
"""Characters of a pair in the list."""
SMALL = 64
"""Pixels a side up to which every detector is asked unless somebody says otherwise."""
LISTED = 24
"""Pairs of the case in view that are offered."""
LOOKS = {
    TRIGGERED: (st.error, ":material/coronavirus:", "it scores as few clean images do"),
    NOT_TRIGGERED: (st.success, ":material/verified:", "clean images score so too"),
    CANNOT_TELL: (st.warning, ":material/help:", ""),
}
"""By verdict: what shows it, its icon, and what it means."""


@st.cache_resource(max_entries=8, show_spinner="Preparing the detector…")
def _gate(root: str, key: str, detector: str) -> tuple[Gate, threading.Lock]:
    """A gate by one detector, and the lock of whoever computes with it."""
    return gates.ready(Store(Path(root)), key, compute(), detector=detector), threading.Lock()


@st.cache_data(max_entries=512, show_spinner=False)
def _scored(root: str, key: str, detector: str, mark: str, _image: np.ndarray) -> tuple[float, float]:
    """A detector's score of an image, and how like the nearest clean image it is."""
    gate, alone = _gate(root, key, detector)
    with alone:
        return float(gate.scores[detector](_image[None])[0]), float(gate.nearest(_image[None])[0])


@st.cache_data(max_entries=64, show_spinner=False)
def _covered(root: str, key: str, detector: str, mark: str, _image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """How far covering each place of an image moves it, and its way in three random orders."""
    gate, alone = _gate(root, key, detector)
    model, s = gate.watched.model, PastedSettings()
    with alone:
        heat = moved(model, _image, s.side, s.stride)
        return heat, [trajectory(model, _image[None], MaskingSettings(), [0, i])[1][:, 0] for i in range(3)]


def draw(view: View | None, key: str) -> None:
    """Choose an image, and judge it."""
    root = str(store().root.resolve())
    left, right = st.columns([2, 3], gap="large")
    with left:
        fpr, detector = _choices(list(read(key, "about")["detectors"]))
        gate, alone = _gate(root, key, detector)
        gate = replace(gate, fpr=fpr)
        as_it_is = _image(view, gate)
        found = None if as_it_is is None else lens.chosen(view, as_it_is)
    if as_it_is is None:
        right.caption("The verdict on the image, what models take it for, and each detector's score are shown here.")
        return
    verdict = right.container()
    if found is not None:
        with right:
            _lens(view, gate, alone, key, as_it_is, found)
    shown = as_it_is if found is None else lens.laid(as_it_is, found)
    mark = hashlib.blake2b(np.ascontiguousarray(shown).tobytes(), digest_size=16).hexdigest()
    score, nearest = _scored(root, key, detector, mark, _image=shown)
    answer = gate.answers(np.array([score]), np.array([nearest])).iloc[0]
    heat, paths = _covered(root, key, detector, mark, _image=shown)
    with left:
        hot = overlay(shown, heat / max(float(heat.max()), 1e-6), None, 0.55)
        components.pictures([("as the model sees it", enlarged(shown)), ("where covering it moves it most", hot)])
    with verdict:
        _verdict(answer, gate)
    if found is None:
        with right:
            with alone:
                taken = _taken(view, gate, key, as_it_is)
            _answers(gate, taken, {})
    if isinstance(found, lens.Patch):
        trigger_places.section(view, key, gate, found, shown.shape[:2])
    _scores(root, key, gate, detector, mark, shown)
    st.subheader("While more and more of it is covered", anchor=False)
    st.caption("A triggered image jumps where its trigger goes, a clean one drifts (BackdoorIDS).")
    charts.draw(figures.way(paths), "image-way", "Likeness with the whole image while it is covered")


def _answers(gate: Gate, taken: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> None:
    """What models take the image for, and took it for `before` the trigger lay on it; nothing where no classes are
    known.
    """
    if not taken:
        return
    charts.draw(figures.answers(gate.watched.names, taken), "image-answers", "What models take the image for")
    if before:
        said = (f"{n} {plain(gate.watched.names[int(p.argmax())])}" for n, p in before.items())
        st.caption(f"Without the trigger: {', '.join(said)}.")


def _lens(
    view: View | None, gate: Gate, alone: threading.Lock, key: str, image: np.ndarray, found: lens.Patch | np.ndarray
) -> None:
    """The trigger under the lens: while it is moved the models answer at once, the verdict once it rests."""
    with st.container(border=True, key="lens"):

        @st.fragment(key="lens-live")
        @guard()
        def live() -> None:
            left, right = st.columns(2)
            with left:
                lens.controls(image, found)
            shown = lens.laid(image, found)
            with right:
                caption = st.text_input("A caption, to compare with the image", key="lens-caption", max_chars=LONGEST)
                with alone:
                    taken, before = (_taken(view, gate, key, seen) for seen in (shown, image))
                    like = _like(view, gate, key, caption, (image, shown)) if caption.strip() else []
                _answers(gate, taken, before)
                if like:
                    heads = ["cosine with the caption", "without the trigger", "with it"]
                    components.table(heads, [[name, *(f"{c:.3f}" for c in cosines)] for name, *cosines in like])
                if not taken and not like:
                    st.caption("Name classes above, or write a caption, and the models answer while you drag.")
            if st.session_state.pop(lens.RESTS, False):
                st.rerun(scope="app")

        live()


def _scores(root: str, key: str, gate: Gate, detector: str, mark: str, image: np.ndarray) -> None:
    """What the detector that decides says, or all of them, among their scores of clean images."""
    st.subheader("Scores, among those of clean images", anchor=False)
    names = list(gate.held) if st.toggle("Every detector", image.shape[0] <= SMALL, key="image-every") else [detector]
    scores = {name: _scored(root, key, name, mark, _image=image)[0] for name in names}
    figure = figures.distributions(gate.held, scores, {name: gate.threshold(name) for name in names})
    charts.draw(figure, "image-scores", "Scores of clean images by detector, and this image's")
    rare = {name: 100 * float(gate.rarity(name, np.array([score]))[0]) for name, score in scores.items()}
    rows = [[n, IMAGE_DETECTORS[n].about, f"{scores[n]:.3f}", f"{rare[n]:.1f} %"] for n in names]
    heads = ["detector", "what it takes for suspicious", "score", "clean images that score as high"]
    components.table(heads, rows, labels=2)


def _choices(detectors: list[str]) -> tuple[float, str]:
    rate, which = st.columns(2)
    with rate:
        fpr = st.select_slider(
            "Clean images that may be called triggered",
            RATES,
            0.01,
            format_func=lambda share: f"{100 * share:g} %",
            key="image-fpr",
            persist_state="session",
        )
    with which:
        detector = st.selectbox("Detector that decides", detectors, key="image-detector")
    return fpr, detector or detectors[0]


def _image(view: View | None, gate: Gate) -> np.ndarray | None:
    """The image to judge, uint8 (size, size, 3); None while there is none."""
    of_case = view is not None and view.holds("data", "images")
    sources = {"file": "an image file", **({"pair": "a pair of the case in view"} if of_case else {})}
    source = st.segmented_control(
        "The image", list(sources), default=[*sources][-1], required=True, format_func=sources.get, key="image-source"
    )
    if source == "pair" and view is not None:
        return _of_pair(view, gate)
    kinds = [ending.lower() for ending in IMAGE_FORMATS]
    dropped = st.file_uploader("Drop an image, or paste one", type=[*kinds, "jpg", "tif"], key="image-file")
    if dropped is None:
        return None
    try:
        return gate.read([dropped.getvalue()])[0]
    except UbtError as e:
        st.error(plain(e), icon=":material/broken_image:")
        return None


def _of_pair(view: View, gate: Gate) -> np.ndarray | None:
    """An image of D: one of the pairs that look most suspicious, or of the others, or any by its id."""
    table = pairs.table(view)
    every = np.ones(len(table), bool)
    rows = [*table.most_suspicious(every, LISTED // 2), *np.linspace(0, len(table) - 1, LISTED // 2).astype(int)]
    frame = table.frame(np.array(rows), ["id", "caption"]).drop_duplicates("id")
    captions = dict(zip(frame["id"], frame["caption"], strict=True))
    chosen = st.selectbox(
        "Pair",
        list(captions),
        key="image-pair",
        format_func=lambda i: visible(f"{i}: {captions[i]}", LONGEST),
        help="The most suspicious ones first, then some of the others",
    )
    typed = st.text_input("Or another pair's id", key="image-id", max_chars=200).strip()
    found = table.rows([typed or chosen])
    if not len(found):
        st.info(f"No pair of this case is called {plain(typed)}.")
        return None
    shown, why = tried(view.read("data", "images"), found)
    if why:
        st.warning(f"This image can no longer be read: {plain(why[0])}", icon=":material/broken_image:")
        return None
    return _fitting(shown[0], gate)


def _fitting(image: np.ndarray, gate: Gate) -> np.ndarray:
    """An image of D as the gate's model takes it."""
    return image if image.shape == gate.watched.clean.shape[1:] else gate.read([Image.fromarray(image)])[0]


def _verdict(found: pd.Series, gate: Gate) -> None:
    show, icon, means = LOOKS[found["verdict"]]
    why, threshold = found["reason"] or means, gate.threshold()
    rare = f"{100 * found['rarity']:.1f} % of {len(gate.held[gate.detector]):,} clean images score as high"
    beyond = f"threshold {threshold:.3f}" if np.isfinite(threshold) else "no threshold at this rate"
    show(
        f"## {found['verdict'].capitalize()}\n\n{plain(why[0].upper() + why[1:])}. {rare[0].upper()}{rare[1:]}"
        f" ({gate.detector} {found['score']:.3f}, {beyond}).",
        icon=icon,
    )
    st.caption(
        "The verdict is about this image and this model. That an image is not triggered does not make the model clean;"
        " for that, scan the model (page *Scan*)."
    )


def _models(view: View | None, gate: Gate, key: str) -> list[tuple[str, str, Any]]:
    """The models that are asked: what they are called, a name that tells their weights, and each itself."""
    watched = gate.watched
    found = [("this model", key, watched.model)]
    if watched.reference is not None:
        found.append(("the reference", f"{key}/reference", watched.reference))
    if view is not None and view.holds("unlearn", "model") and _of(view, key):
        found.append(("the purified model", view.key("unlearn"), opened(view, "purified")[0]))
    return found


def _taken(view: View | None, gate: Gate, key: str, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the model, the reference, and the purified model of the case in view take an image for: probabilities of the
    classes.
    """
    names = gate.watched.names
    if len(names) < 2:
        return {}
    root = str(store().root.resolve())
    return {said: _probable(root, of, names, model, image) for said, of, model in _models(view, gate, key)}


def _like(view: View | None, gate: Gate, key: str, caption: str, images: tuple[np.ndarray, ...]) -> list[tuple]:
    """How like a caption images are under each model: its name, and the cosines."""
    found = []
    for said, _, model in _models(view, gate, key):
        tokens = tokenize([caption], context_length(model))
        text = embed_tokens(model, tokens)[0]
        seen = (refitted(image[None], image_size(model), fit(model))[0:1] for image in images)
        found.append((said, *(float(embed(model, np.asarray(one))[0] @ text) for one in seen)))
    return found


def _of(view: View, key: str) -> bool:
    """Whether the model that a gate watches is the poisoned model of the case in view."""
    model = read(key, "about")["watch"]["model"]
    return read(model, "card")["source"] == f"case {view.name}" or model == view.settings.own.suspect


def _probable(root: str, of: str, names: tuple[str, ...], model: Any, image: np.ndarray) -> np.ndarray:
    """What a model takes an image for: probabilities of the classes (classes,)."""
    shown = np.asarray(refitted(image[None], image_size(model), fit(model))[0:1])
    scores = float(model.logit_scale.detach().exp()) * embed(model, shown)[0] @ _weights(root, of, names, model).T
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


@st.cache_data(max_entries=8, show_spinner=False)
def _weights(root: str, of: str, names: tuple[str, ...], _model: Any) -> np.ndarray:
    """The texts of classes under a model, unit rows (classes, embedding)."""
    from ubt.evaluation import zeroshot

    return zeroshot.class_weights(_model, prompts(list(names), "7", context_length(_model)))
