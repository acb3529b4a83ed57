"""One image at the gate: its scores among those of clean images, its way while it is covered, and what models take it
for.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from ubt.core.text import visible
from ubt.figures import CLEAN, POISONED, UNKNOWN, hatch, layout, track
from ubt.figures.small_multiples import small_multiples

BINS, LONGEST = 30, 30
"""Of a histogram; characters of a class's name."""
LOOKS = ((POISONED, "/"), (CLEAN, ""), (UNKNOWN, "x"))
"""Of models side by side: colour and pattern."""


def distributions(
    held: Mapping[str, np.ndarray], scores: Mapping[str, float], thresholds: Mapping[str, float], columns: int = 3
) -> go.Figure:
    """Each detector's scores of clean images as a histogram, the image's own as a line, and its threshold dashed.

    Args:
        held: by detector, (n,) each. scores: of the image. thresholds: above which an image counts as triggered;
            infinite where none can be said.
    """
    names = list(scores)
    figure = small_multiples(-(-len(names) // columns), columns, names, 0.34)
    for n, name in enumerate(names):
        at = {"row": n // columns + 1, "col": n % columns + 1}
        counts, edges = np.histogram(held[name], BINS)
        share = 100 * counts / max(1, counts.sum())
        middles, top = (edges[:-1] + edges[1:]) / 2, float(share.max(initial=1.0))
        figure.add_bar(
            x=middles,
            y=share,
            width=edges[1] - edges[0],
            name="clean images",
            marker={"color": CLEAN},
            showlegend=n == 0,
            legendgroup="clean",
            hovertemplate="%{y:.1f} % at %{x:.3f}",
            **at,
        )
        lines = [("this image", scores[name], POISONED, "solid", 3.0)]
        if np.isfinite(thresholds[name]):
            lines.append(("threshold", thresholds[name], UNKNOWN, "dash", 1.5))
        for title, x, colour, dash, width in lines:
            figure.add_scatter(
                x=[x, x],
                y=[0, 1.08 * top],
                name=title,
                mode="lines",
                line={"color": colour, "dash": dash, "width": width},
                showlegend=n == 0,
                legendgroup=title,
                hovertemplate="%{x:.3f}",
                **at,
            )
    layout(figure, height=210 * -(-len(names) // columns) + 80)
    figure.update_layout(margin={"t": 70}, bargap=0, hovermode="closest")
    figure.update_xaxes(matches=None, showticklabels=True).update_yaxes(matches=None, showticklabels=False)
    return figure.update_yaxes(title={"text": "share of clean images"}, col=1)


def way(paths: Sequence[np.ndarray], height: int = 280) -> go.Figure:
    """How like the whole image it still is while more and more of it is covered, a line a random order.

    Args:
        paths: cosines (steps,), of nothing covered first.
    """
    figure, looks = go.Figure(), (("solid", "circle"), ("dash", "diamond"), ("dot", "square"))
    for i, path in enumerate(paths):
        dash, symbol = looks[i % len(looks)]
        covered = 100 * np.arange(len(path)) / len(path)
        drawn = track(covered, path, f"order {i + 1}", (POISONED, dash, symbol), hovertemplate="%{y:.2f}")
        figure.add_scatter(**drawn)
    layout(figure, height=height, x="of the image covered (percent)", y="cosine similarity with the whole image")
    return figure.update_yaxes(range=[min(-0.1, float(np.min(paths)) - 0.05), 1.05])


def answers(classes: Sequence[str], found: Mapping[str, np.ndarray], first: int = 5, height: int = 300) -> go.Figure:
    """The classes that models take an image for: probabilities in percent, those first that any model finds likely.

    Args:
        classes: names. found: by model, probabilities of the classes (classes,).
    """
    likely = np.max(list(found.values()), 0)
    rows = np.argsort(-likely, kind="stable")[: first + len(found) - 1][::-1]
    names = [escape(visible(classes[i], LONGEST), quote=False) for i in rows]
    figure = go.Figure()
    for (model, probability), (colour, shape) in zip(found.items(), LOOKS, strict=False):
        figure.add_bar(
            y=names,
            x=100 * probability[rows],
            name=escape(visible(model, LONGEST), quote=False),
            orientation="h",
            marker={"color": colour, "pattern": hatch(shape)},
            hovertemplate="%{x:.1f} %",
        )
    layout(figure, height=height, x="probability (percent)")
    return figure.update_xaxes(range=[0, 100]).update_layout(barmode="group", bargap=0.25, hovermode="y unified")
