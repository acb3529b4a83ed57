"""The one place where charts are drawn: each gets a text alternative with its counts."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from ubt.figures.alt_text import described
from ubt.ui import web


def draw(figure: go.Figure, key: str, about: str, at: Any = st, **more: Any) -> Any:
    """Draw a plotly figure; a screen reader hears what it is `about`, its axes, and its counts in words.

    Args:
        at: the column or container to draw it in. more: passed on to `st.plotly_chart`.
    """
    return _draw(figure, key, f"{about.rstrip('.')}. {described(figure)}", at, **more)


def draw_kept(of: tuple, make: Callable[[], go.Figure], key: str, about: str, at: Any = st, **more: Any) -> Any:
    """The same of a figure that is built, and put in words, once for each `of`."""
    figure, said = _kept(of, make)
    return _draw(figure, key, f"{about.rstrip('.')}. {said}", at, **more)


def _draw(figure: go.Figure, key: str, alt: str, at: Any, **more: Any) -> Any:
    more.setdefault("config", {"displayModeBar": False})
    return at.plotly_chart(figure, key=key, alt=alt, **more)


@st.cache_resource(max_entries=64, show_spinner=False)
def _kept(of: tuple, _make: Callable[[], go.Figure]) -> tuple[go.Figure, str]:
    figure = _make()
    return figure, described(figure)


def veil(
    key: str,
    selected: np.ndarray | None,
    maps: Sequence[str] = (),
    curves: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Show what is selected on charts that show everything, without drawing them again.

    Args:
        key: of this veil. selected: which pairs are selected (n,); None while nothing is. maps: keys of maps, on which
            all other points are veiled. curves: a histogram's key to the `ubt.figures.similarity.shares` of what is
            selected.
    """
    packed = None if selected is None else base64.b64encode(np.packbits(selected if maps else selected[:0])).decode()
    data = {"selected": packed, "maps": [*maps], "curves": curves or {}}
    component = st.components.v2.component("ubt_veil", js=web.text("veil.js"))
    component(key=key, data=data)


@st.cache_resource(max_entries=64, show_spinner=False)
def _built(about: tuple, _make: Callable[[], go.Figure]) -> dict[str, Any]:
    figure = _make()
    return {"data": [trace.to_plotly_json() for trace in figure.data], "layout": figure.layout.to_plotly_json()}


def cached_figure(about: tuple, make: Callable[[], go.Figure]) -> go.Figure:
    """A figure that is built once for each `about`, which takes plotly tens of milliseconds; then a copy each time,
    which may be changed, but no longer knows its rows and columns (`row=`, `col=`).
    """
    return go.Figure(**_built(about, make), _validate=False)
