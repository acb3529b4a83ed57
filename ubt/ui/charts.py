"""The one place where charts are drawn: each gets a text alternative with its counts."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ubt.figures.alternative import described


def draw(figure: go.Figure, key: str, about: str, at: Any = st, **more: Any) -> Any:
    """Draw a plotly figure; a screen reader hears what it is `about`, its axes, and its counts in words.

    Args:
        at: the column or container to draw it in. more: passed on to `st.plotly_chart`.
    """
    more.setdefault("config", {"displayModeBar": False})
    return at.plotly_chart(figure, key=key, alt=f"{about.rstrip('.')}. {described(figure)}", **more)
