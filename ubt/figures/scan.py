"""A scan's figures: which class gives way, and what it takes, beside the reference."""

from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ubt.core.text import visible
from ubt.figures import CLEAN, POISONED, UNKNOWN, hatch, layout

SHOWN, LONGEST = 20, 40
"""Classes in a figure, those of the highest scores; characters of a name."""


def _said(names: pd.Series) -> list[str]:
    """Names of classes, which may hold anything, as text."""
    return [escape(visible(name, LONGEST), quote=False) for name in names]


def scores(classes: pd.DataFrame, high: float, low: float, height: int = 320) -> go.Figure:
    """How many standard deviations each class gives way more easily than the others, with the verdict's lines.

    Args:
        classes: a row a class: name, score. high, low: from where a model counts as poisoned, and below where as not.
    """
    shown = classes.sort_values("score", ascending=False, kind="stable").head(SHOWN)
    above = shown["score"] >= high
    figure = go.Figure()
    for part, title, colour, shape in (
        (shown[above], "from the upper line on", POISONED, "/"),
        (shown[~above], "below it", UNKNOWN, ""),
    ):
        figure.add_bar(
            x=_said(part["name"]),
            y=part["score"],
            name=title,
            marker={"color": colour, "pattern": hatch(shape)},
            hovertemplate="%{y:.1f} standard deviations",
        )
    layout(figure, height=height, y="gives way more easily than the others<br>(standard deviations)")
    ends = [_said(shown["name"])[0], _said(shown["name"])[-1]]
    for at, text, dash in ((high, "poisoned from here", "dash"), (low, "not poisoned below", "dot")):
        line = {"width": 1.5, "dash": dash, "color": UNKNOWN}
        figure.add_scatter(x=ends, y=[at, at], name=text, mode="lines", line=line, hoverinfo="skip")
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=_said(shown["name"]), tickangle=-45)
    return figure.update_layout(barmode="overlay")


def what_it_takes(classes: pd.DataFrame, method: str, measure: str, height: int = 320) -> go.Figure:
    """What the inverted triggers of the first classes do (`asr`, percent of held images) or cover (`size`, percent of
    the image), on the model and, where there is one, on the reference.

    Args:
        classes: a row a class: name, score, `METHOD asr` and so on (`ubt.detectors.inversion.verdict.Judged`).
    """
    shown = classes.sort_values("score", ascending=False, kind="stable").head(SHOWN)
    scale = 100.0 if measure == "size" else 1.0
    figure = go.Figure()
    for column, title, colour, shape in (
        (f"{method} {measure}", "this model", POISONED, "/"),
        (f"{method} reference {measure}", "the reference", CLEAN, ""),
    ):
        if column in shown and np.isfinite(shown[column]).any():
            figure.add_bar(
                x=_said(shown["name"]),
                y=scale * shown[column],
                name=title,
                marker={"color": colour, "pattern": hatch(shape)},
                hovertemplate="%{y:.1f} %",
            )
    said = "held images turned (percent)" if measure == "asr" else "share of the image covered (percent)"
    layout(figure, height=height, y=said)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=_said(shown["name"]), tickangle=-45)
    return figure.update_layout(barmode="group", bargap=0.3)
