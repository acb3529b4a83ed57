"""One image at the gate: which one, its verdict, what models take it for, each detector's score, and where the evidence
sits.
"""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.text import visible
from ubt.data.images import IMAGE_FORMATS, refitted
from ubt.data.model_input import context_length, fit, image_size
from ubt.data.user_roles import prompts
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.detectors.gate.base import embed, moved
from ubt.detectors.gate.masking import MaskingSettings, trajectory
from ubt.detectors.gate.pasted import PastedSettings
from ubt.figures import gate as figures
from ubt.figures.attribution import enlarged, overlay
from ubt.ui import charts, components, images, lens, pairs
from ubt.ui.attribution import opened
from ubt.ui.errors import plain
from ubt.ui.view import View, compute, store
from ubt.workflows import gate as gates
from ubt.workflows.gate import CANNOT_TELL, NOT_TRIGGERED, TRIGGERED, Gate

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False positive rates to choose from."""
LONGEST = 80
"""Characters of a pair in the list."""
LISTED = 24
"""Pairs of the case in view that are offered."""
LOOKS = {
    TRIGGERED: (st.error, ":material/coronavirus:", "it scores as few clean images do"),
    NOT_TRIGGERED: (st.success, ":material/verified:", "clean images score so too"),
    CANNOT_TELL: (st.warning, ":material/help:", ""),
}
"""By verdict: what shows it, its icon, and what it means."""


@st.cache_resource(max_entries=2, show_spinner="Preparing the detectors…")
def _gate(root: str, key: str) -> tuple[Gate, threading.Lock]:
    """A gate, and the lock of whoever computes with it."""
    return gates.ready(Store(Path(root)), key, compute()), threading.Lock()


def draw(view: View | None, key: str) -> None:
    """Choose an image, and judge it."""
    gate, alone = _gate(str(store().root.resolve()), key)
    left, right = st.columns([2, 3], gap="large")
    with left:
        fpr, detector = _choices(gate)
        chosen = _image(view, gate)
        plain_one = chosen
        if chosen is not None:
            chosen = lens.laid(view, chosen)
    if chosen is None or plain_one is None:
        right.caption("The verdict on the image, what models take it for, and each detector's score are shown here.")
        return
    with alone:
        gate = replace(gate, fpr=fpr, detector=detector)
        found = gate.judge(chosen[None]).iloc[0]
        scores = {name: float(score(chosen[None])[0]) for name, score in gate.scores.items()}
        taken = _taken(view, gate, key, chosen)
        before = {} if chosen is plain_one else _taken(view, gate, key, plain_one)
        heat = moved(gate.watched.model, chosen, PastedSettings().side, PastedSettings().stride)
        paths = [trajectory(gate.watched.model, chosen[None], MaskingSettings(), [0, i])[1][:, 0] for i in range(3)]
    with left:
        covered = overlay(chosen, heat / max(float(heat.max()), 1e-6), None, 0.55)
        components.pictures([("as the model sees it", enlarged(chosen)), ("where covering it moves it most", covered)])
    with right:
        _verdict(found, gate)
        if taken:
            charts.draw(figures.answers(gate.watched.names, taken), "image-answers", "What models take the image for")
            if before:
                said = (f"{n} {plain(gate.watched.names[int(p.argmax())])}" for n, p in before.items())
                st.caption(f"Without the trigger: {', '.join(said)}.")
    thresholds = {name: gate.threshold(name) for name in scores}
    st.subheader("Each detector's score, among those of clean images", anchor=False)
    held = figures.distributions(gate.held, scores, thresholds)
    charts.draw(held, "image-scores", "Scores of clean images by detector, and this image's")
    rows = [
        [n, IMAGE_DETECTORS[n].about, f"{s:.3f}", f"{100 * gate.rarity(n, np.array([s]))[0]:.1f} %"]
        for n, s in scores.items()
    ]
    components.table(
        ["detector", "what it takes for suspicious", "score", "clean images that score as high"], rows, labels=2
    )
    st.subheader("While more and more of it is covered", anchor=False)
    st.caption("A triggered image jumps where its trigger goes, a clean one drifts (BackdoorIDS).")
    charts.draw(figures.way(paths), "image-way", "Likeness with the whole image while it is covered")


def _choices(gate: Gate) -> tuple[float, str]:
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
        detector = st.selectbox("Detector that decides", list(gate.scores), key="image-detector")
    return fpr, detector or gate.detector


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
    shown = images.some(view, found)
    return None if shown is None else _fitting(shown[0], gate)


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


def _taken(view: View | None, gate: Gate, key: str, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the model, the reference, and the purified model of the case in view take an image for: probabilities of the
    classes.
    """
    watched = gate.watched
    if len(watched.names) < 2:
        return {}
    root = str(store().root.resolve())
    sides = {"this model": (watched.model, key), "the reference": (watched.reference, f"{key}/reference")}
    if view is not None and view.has("unlearn") and (purified := opened(view, "purified"))[0] is not None:
        sides["the purified model"] = purified[0], view.key("unlearn")
    found = {}
    for title, (model, of) in sides.items():
        if model is not None:
            shown = np.asarray(refitted(image[None], image_size(model), fit(model))[0:1])
            scale = float(model.logit_scale.detach().exp())
            scores = scale * embed(model, shown)[0] @ _weights(root, of, watched.names, model).T
            powers = np.exp(scores - scores.max())
            found[title] = powers / powers.sum()
    return found


@st.cache_data(max_entries=8, show_spinner=False)
def _weights(root: str, of: str, names: tuple[str, ...], _model: Any) -> np.ndarray:
    """The texts of classes under a model, unit rows (classes, embedding)."""
    from ubt.evaluation import zeroshot

    return zeroshot.class_weights(_model, prompts(list(names), "7", context_length(_model)))
