"""Attribution on the page: models of the case in view, kept in memory, and each one's attribution of a pair."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.evaluation.model_roles import ROLES
from ubt.ui.view import View, store


@dataclass(frozen=True)
class Explanation:
    """A model's attribution of a pair: similarity, scores of the caption's row of token ids (context,), relevance of
    patches (rows, columns), and why another method than relevance was used, if it was.
    """

    similarity: float
    by_token: np.ndarray
    map: np.ndarray
    unfit: str


@st.cache_resource(max_entries=5, show_spinner="Reading the model…")
def _model(root: str, key: str) -> tuple:
    """A model, and the lock of whoever computes with it: some methods hook into it for a moment."""
    from ubt.clip import models

    return Store(Path(root)).open(key)["model"] if key else models.load(REFERENCE), threading.Lock()


@st.cache_data(max_entries=512, show_spinner="Attributing…")
def _explained(
    root: str, key: str, data: str, row: int, caption: str, method: str, start_layer: int, _images: np.ndarray
) -> Explanation:
    from ubt.clip import attribution, models
    from ubt.data import model_input

    model, alone = _model(root, key)
    image, tokens = np.asarray(_images[row : row + 1]), model_input.tokenize([caption], model.context_length)
    with alone:
        words, patches = attribution.attribute(model, image, tokens, method, start_layer)
        similarity = float((models.embed_images(model, image) * models.embed_tokens(model, tokens)).sum())
    return Explanation(
        similarity, words[0], patches[0], attribution.unfit(model) if method == attribution.RELEVANCE else ""
    )


def available(view: View) -> list[str]:
    """The models that the case has."""
    own = view.settings.own
    reference = bool(own.reference) or not own.audits
    made_by = {name: role.stage(own.audits) for name, role in ROLES.items()}
    return [name for name, stage in made_by.items() if (view.holds(stage, "model") if stage else reference)]


def _key(view: View, model: str) -> str:
    """The artefact that holds a model; empty for the shipped reference."""
    stage = ROLES[model].stage(view.audits)
    return view.key(stage) if stage else view.settings.own.reference


def opened(view: View, model: str) -> tuple:
    """One of the case's models, and the lock of whoever computes with it."""
    return _model(str(store().root.resolve()), _key(view, model))


def explained(view: View, model: str, row: int, caption: str, method: str, start_layer: int) -> Explanation:
    """A pair's attribution under one of the case's models, with its own caption or another."""
    return _explained(
        str(store().root.resolve()),
        _key(view, model),
        view.key("data"),
        row,
        caption,
        method,
        start_layer,
        _images=view.read("data", "images"),
    )


def depth(view: View) -> int:
    """Blocks of the deeper tower."""
    from ubt.clip.models import text_tower

    model, _ = opened(view, available(view)[0])
    towers = (getattr(tower, "transformer", None) for tower in (model.visual, text_tower(model)))
    return max((len(t.resblocks) for t in towers if t is not None), default=1)
