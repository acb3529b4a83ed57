"""Nearest neighbours on the page, searched in the embeddings of the case in view, and cached."""

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.evaluation.model_roles import SCORED
from ubt.pairs import neighbors
from ubt.pairs.neighbors import Approximate, Embedding, IndexSettings
from ubt.ui import attribution
from ubt.ui.view import View, compute, read, store
from ubt.workflows import derived

APPROXIMATE_FROM = IndexSettings().approximate_from
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
PIXELS = 50_000_000
"""An image of more is refused before it is decoded."""
STOPWORDS = frozenset(
    "a an the of on in with and to at is are its it by for from this that near next photo picture image some"
    " one".split()
)
"""Words that mean nothing for what a group of captions shares."""


@dataclass(frozen=True)
class Query:
    """A pair of D by its row, or a unit vector (d,) that is compared with images and captions alike."""

    row: int = -1
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class Answer:
    """Rows and cosine similarities of the nearest, highest first, and what it took."""

    rows: np.ndarray
    similarity: np.ndarray
    seconds: float


def models(view: View) -> list[str]:
    """The models that D's embedding can be searched under."""
    return [role.name for role in SCORED if derived.embedded(store(), view.record, role.name)]


def reads(view: View) -> bool:
    """Whether the models that D's embedding can be searched under can read a caption or an image too."""
    return set(models(view)) <= set(attribution.available(view))


def embedding(view: View, model: str) -> Embedding:
    """D's embedding under a model, as memory maps."""
    key = view.key(derived.source(model))
    return Embedding(read(key, "image_features"), read(key, "text_features"))


def index_options(space: str, model: str) -> dict[str, Any]:
    """What the page's approximate index is made with."""
    return derived.index_options(space, model, IndexSettings())


def index(view: View, space: str, model: str) -> Approximate:
    """The approximate index, kept in memory."""
    key = derived.key(view.record, "index", index_options(space, model))
    return _opened(
        str(store().root.resolve()),
        key,
        _index=read(key, "index"),
        _about=read(key, "about"),
        _parts=embedding(view, model).parts(space),
    )


def recall(view: View, space: str, model: str) -> float:
    """The approximate index's recall@10, as it was measured when it was built."""
    return read(derived.key(view.record, "index", index_options(space, model)), "about")["recall_at_10"]


@st.cache_resource(max_entries=2, show_spinner="Reading the index…")
def _opened(root: str, key: str, _index: np.ndarray, _about: dict, _parts: tuple) -> Approximate:
    return Approximate(_index, _about, _parts)


def of_caption(view: View, model: str, text: str) -> Query:
    """A caption typed in, as the model reads it."""
    return Query(vector=_caption(_key(view, model), text, _view=view, _model=model))


@st.cache_data(max_entries=128, show_spinner="Reading the caption…")
def _caption(key: str, text: str, _view: View, _model: str) -> np.ndarray:
    from ubt.clip import models as clip
    from ubt.data import model_input

    net, alone = attribution.opened(_view, _model)
    with alone:
        return clip.embed_tokens(net, model_input.tokenize([text], net.context_length))[0]


def of_image(view: View, model: str, file) -> Query:
    """An image dropped in, as the model sees it: its middle square, at the size of D's images.

    Raises:
        BadInput: it is no image that can be read, or too large.
    """
    content = file.getvalue()
    return Query(vector=_image(_key(view, model), digest(content.hex()), _content=content, _view=view, _model=model))


@st.cache_data(max_entries=32, show_spinner="Reading the image…")
def _image(key: str, content: str, _content: bytes, _view: View, _model: str) -> np.ndarray:
    from ubt.clip import models as clip

    net, alone = attribution.opened(_view, _model)
    side = read(_view.key("data"), "images").shape[1] if _view.holds("data", "images") else 224
    with alone:
        return clip.embed_images(net, decoded(_content, side)[None])[0]


def decoded(content: bytes, side: int) -> np.ndarray:
    """The middle square of an image file, uint8 (side, side, 3).

    Raises:
        BadInput: it is no image that can be read, or too large.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise BadInput(
                    f"expected an image of at most {PIXELS // 10**6} megapixels, got {image.width} x {image.height};"
                    " make it smaller"
                )
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.asarray(ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (side, side)))
    except BadInput:
        raise
    except Exception as e:  # decoders of hostile bytes raise nearly anything
        raise BadInput(
            f"expected an image (PNG, JPEG, WebP or BMP), got a file that cannot be read as one ({type(e).__name__});"
            " save it anew"
        ) from None


def _key(view: View, model: str) -> str:
    return view.key(derived.source(model)) + view.key("data")


def nearest(view: View, space: str, model: str, query: Query, k: int, approximate: Approximate | None = None) -> Answer:
    """The k nearest pairs of D, the pair asked for left out."""
    vector = "" if query.vector is None else digest(np.asarray(query.vector, np.float32).tobytes().hex())
    return _nearest(
        _key(view, model),
        space,
        query.row,
        vector,
        k,
        approximate is not None,
        _view=view,
        _model=model,
        _vector=query.vector,
        _index=approximate,
    )


@st.cache_data(max_entries=256, show_spinner="Searching…")
def _nearest(
    key: str, space: str, row: int, vector: str, k: int, by_index: bool, _view: View, _model: str, _vector, _index
) -> Answer:
    held = embedding(_view, _model)
    parts = held.parts(space)
    asked = (
        held.rows(space, np.array([row]))
        if row >= 0
        else np.concatenate([_vector] * len(parts))[None] / np.sqrt(len(parts))
    )
    started = time.perf_counter()
    if not np.isfinite(asked).all():
        return Answer(np.array([], int), np.array([], np.float32), 0.0)
    similarity, rows = (
        _index.search(asked, k + 1)
        if by_index
        else neighbors.exact(parts, asked.astype(np.float32), k + 1, compute().device)
    )
    found = (rows[0] >= 0) & (rows[0] != row)
    return Answer(rows[0][found][:k], similarity[0][found][:k], time.perf_counter() - started)


def duplicates(view: View, space: str, model: str, rows: np.ndarray, least: float) -> np.ndarray:
    """The group of near-duplicates of each of some pairs (m,), -1 of those alone."""
    return _duplicates(
        _key(view, model), space, digest(rows.tobytes().hex()), least, _held=embedding(view, model), _rows=rows
    )


@st.cache_data(max_entries=32, show_spinner="Grouping…")
def _duplicates(key: str, space: str, among: str, least: float, _held: Embedding, _rows: np.ndarray) -> np.ndarray:
    return neighbors.groups(_held.rows(space, _rows), least)


def common_words(captions: pd.Series, most: int = 5, share: float = 0.5) -> list[str]:
    """The words that stand in more than a share of some captions, most frequent first."""
    words = captions.str.lower().str.findall(r"\w+").explode()
    words = words[~words.isin(STOPWORDS)]
    found = words.groupby(level=0).unique().explode().value_counts() / max(1, len(captions))
    return list(found[found > share].index[:most])
