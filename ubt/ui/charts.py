"""The one place where charts are drawn: each gets a text alternative with its counts."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ubt.figures.alt_text import described


def draw(figure: go.Figure, key: str, about: str, at: Any = st, **more: Any) -> Any:
    """Draw a plotly figure; a screen reader hears what it is `about`, its axes, and its counts in words.

    Args:
        at: the column or container to draw it in. more: passed on to `st.plotly_chart`.
    """
    more.setdefault("config", {"displayModeBar": False})
    return at.plotly_chart(figure, key=key, alt=f"{about.rstrip('.')}. {described(figure)}", **more)


@st.cache_resource(max_entries=64, show_spinner=False)
def _built(about: tuple, _make: Callable[[], go.Figure]) -> dict[str, Any]:
    figure = _make()
    return {"data": [trace.to_plotly_json() for trace in figure.data], "layout": figure.layout.to_plotly_json()}


def cached_figure(about: tuple, make: Callable[[], go.Figure]) -> go.Figure:
    """A figure that is built once for each `about`, which takes plotly tens of milliseconds; then a copy each time,
    which may be changed, but no longer knows its rows and columns (`row=`, `col=`).
    """
    return go.Figure(**_built(about, make), _validate=False)
