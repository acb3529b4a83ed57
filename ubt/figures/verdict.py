"""Verdicts on the plane they are judged on: how concentrated D_topk is, and how far its images are displaced."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ubt.defenses.token_unlearning import health
from ubt.defenses.token_unlearning.verdict import answer
from ubt.figures import CLEAN, POISONED, UNKNOWN, layout

KINDS = (("clean", CLEAN, "circle"), ("poisoned", POISONED, "diamond"))
"""The two kinds of models that are judged: colour and symbol."""
COLOURS = {health.POISONED: POISONED, health.NOT_POISONED: CLEAN, health.CANNOT_TELL: UNKNOWN}
"""Of the star, by the verdict's answer."""
X, Y = (-0.2, 1.0), (-0.05, 1.1)
EDGE = {"width": 1, "color": UNKNOWN}


def one(found: Mapping[str, Any], others: pd.DataFrame | None = None, height: int = 260) -> go.Figure:
    """A model among others.

    Args:
        found: `ubt.defenses.token_unlearning.verdict.verdict`'s result. others: other cases to see it among: `case`,
            `score`, `displaced`, and whether its model is `poisoned`.
    """
    figure = _plane(found["threshold"], found["least_displaced"], height)
    for (kind, colour, symbol), side in zip(KINDS, (False, True), strict=True):
        part = others[others["poisoned"] == side] if others is not None else []
        if len(part):
            figure.add_scatter(
                x=part["score"].tolist(),
                y=part["displaced"].tolist(),
                mode="markers",
                text=part["case"],
                name=f"other cases, {kind} ({len(part)})",
                marker={"size": 8, "symbol": f"{symbol}-open", "color": colour, "line": {"width": 1.5}},
                hovertemplate=f"%{{text}}, {kind}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>",
            )
    figure.add_scatter(
        x=[found["score"]],
        y=[found["displaced"]],
        mode="markers+text",
        text=["<b>this model</b>"],
        textposition="top center",
        showlegend=False,
        marker={"size": 15, "symbol": "star", "color": COLOURS[answer(found)], "line": EDGE},
        hovertemplate="score %{x:.3f}, displaced %{y:.3f}<extra></extra>",
    )
    return figure


def many(frame: pd.DataFrame, height: int = 460) -> go.Figure:
    """Every model, a point a seed; misjudged ones are crossed, those of which nothing can be told are squares.

    Args:
        frame: `ubt.reports.paper.verdict_table.Verdicts.measured`.
    """
    done = frame[frame["state"] == "done"]
    first = done.iloc[0] if len(done) else {"threshold": 0.5, "least displaced": 0.15}
    figure = _plane(float(first["threshold"]), float(first["least displaced"]), height)
    hover = "%{customdata[0]}, reference %{customdata[1]}, seed %{customdata[2]}: score %{x:.3f}, displaced %{y:.3f}"
    untold = done["answer"] == health.CANNOT_TELL
    for kind, colour, symbol, which in (
        *((k, c, s, ~untold & ((done["is"] == health.POISONED) == (c == POISONED))) for k, c, s in KINDS),
        (health.CANNOT_TELL, UNKNOWN, "square-open", untold),
    ):
        part = done[which]
        figure.add_scatter(
            x=part["score"],
            y=part["displaced"],
            mode="markers",
            name=f"{kind} ({len(part)})",
            customdata=part[["model", "reference", "seed"]],
            marker={"size": 11, "symbol": symbol, "color": colour, "opacity": 0.75, "line": EDGE},
            hovertemplate=f"{hover}<extra></extra>",
        )
    wrong = done[done["wrong"].astype(bool)]
    if len(wrong):
        cross = {"size": 17, "symbol": "x-thin", "line": {"width": 2, "color": UNKNOWN}}
        figure.add_scatter(
            x=wrong["score"],
            y=wrong["displaced"],
            mode="markers",
            name=f"misjudged ({len(wrong)})",
            marker=cross,
            hoverinfo="skip",
        )
    if not len(done):
        figure.add_annotation(x=0.2, y=0.4, text="nothing judged yet", showarrow=False)
    return figure


def _plane(threshold: float, least: float, height: int) -> go.Figure:
    """The plane, with the corner shaded in which a model counts as poisoned."""
    figure, line = go.Figure(), {"width": 1.5, "dash": "dash", "color": UNKNOWN}
    for x, y, colour, opacity in ((X[0], Y[0], CLEAN, 0.1), (threshold, least, POISONED, 0.16)):
        figure.add_shape(
            type="rect", x0=x, x1=X[1], y0=y, y1=Y[1], fillcolor=colour, opacity=opacity, line_width=0, layer="below"
        )
    figure.add_shape(type="line", x0=threshold, x1=threshold, y0=least, y1=Y[1], line=line)
    figure.add_shape(type="line", x0=threshold, x1=X[1], y0=least, y1=least, line=line)
    counts = f"score above {threshold:g} and displaced above {least:.3g} count as poisoned"
    corners = ((X[0], Y[0], "not poisoned", "left", "bottom"), (X[1], Y[1], "poisoned", "right", "top"))
    for x, y, text, side, end in corners:
        figure.add_annotation(
            x=x, y=y, text=text, hovertext=counts, showarrow=False, xanchor=side, yanchor=end, font={"size": 11}
        )
    layout(figure, height=height, x="score (cosine)", y="displaced: 1 - cosine")
    return figure.update_xaxes(range=X).update_yaxes(range=Y).update_layout(hovermode="closest")
