"""The pairs on a plane, drawn with WebGL, coloured by a column."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout

PALETTE = ("#2E86C1", "#DB6B1E", "#1C9A78", "#9069C2", "#A5881C", "#C24C7E", "#5B6BC0", "#74933A", "#2F95A8", "#A0664B")
SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up", "x", "triangle-down", "star", "hexagon", "pentagon")
NAMED = {
    "poisoned": {True: ("poisoned", POISONED, "diamond"), False: ("clean", CLEAN, "circle")},
    "flagged": {True: ("flagged", POISONED, "diamond"), False: ("not flagged", CLEAN, "circle")},
    "suspicious": {True: ("suspicious", POISONED, "diamond"), False: ("not suspicious", CLEAN, "circle")},
    "label": {
        "backdoor": ("backdoor", POISONED, "diamond"),
        "clean": ("clean", CLEAN, "circle"),
        "unsure": ("unsure", "#9069C2", "square"),
        None: ("undecided", UNKNOWN, "circle-open"),
    },
}
CELLS = 60
"""Cells along each side of the grid on which density is counted."""
SIZE, OPACITY = 4, 0.95


def scatter(xy: np.ndarray, values: Any, name: str, rows: np.ndarray, height: int = 600) -> go.Figure:
    """Points that can be outlined and clicked; a click gives the row in D. What is outlined looks as it did: the page
    shows what is selected.

    Args:
        xy: (n, 2), NaN where a pair has no place. values: the column that colours (n,), numbers, truth values or text.
        rows: which to draw.
    """
    figure = go.Figure()
    rows = rows[np.isfinite(xy[rows]).all(axis=1)]
    for title, members, marker in _parts(values, name, rows):
        figure.add_scattergl(
            x=xy[members, 0],
            y=xy[members, 1],
            customdata=members.astype(np.int32),
            mode="markers",
            name=f"{title} ({len(members):,})" if title else "",
            showlegend=bool(title),
            marker={"size": SIZE, "opacity": OPACITY, **marker},
            hovertemplate=f"{title}<extra></extra>" if title else f"{name}: %{{marker.color:.3f}}",
            unselected={"marker": {"opacity": OPACITY}},
        )
    layout(figure, height=height)
    figure.update_layout(dragmode="lasso", hovermode="closest", uirevision="map")
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "title": None}
    return figure.update_xaxes(**hidden).update_yaxes(scaleanchor="x", **hidden)


def named(figure: go.Figure, places: np.ndarray, names: Sequence[str]) -> go.Figure:
    """The map with names written at some places (m, 2)."""
    for (x, y), name in zip(places, names, strict=True):
        figure.add_annotation(
            x=x, y=y, text=f"<b>{escape(name)}</b>", showarrow=False, font={"size": 11}, captureevents=False
        )
    return figure


def with_density(figure: go.Figure, xy: np.ndarray) -> go.Figure:
    """The map with lines of equal density of all its places (n, 2) beneath the points, each at twice the density of the
    one outside it.
    """
    from scipy.ndimage import gaussian_filter

    xy = xy[np.isfinite(xy).all(axis=1)]
    if len(xy) < 2:
        return figure
    counts, x, y = np.histogram2d(xy[:, 0], xy[:, 1], bins=CELLS)
    smooth = np.log2(gaussian_filter(counts, 1.5) * CELLS**2 / len(xy) + 2**-4)
    figure.add_contour(
        x=(x[:-1] + x[1:]) / 2,
        y=(y[:-1] + y[1:]) / 2,
        z=smooth.T.astype(np.float32),
        contours={"coloring": "none", "start": -2, "end": 8, "size": 1},
        line={"color": UNKNOWN, "width": 1},
        hoverinfo="skip",
        showscale=False,
        showlegend=False,
    )
    return figure


def zoomed(figure: go.Figure, xy: np.ndarray, rows: np.ndarray) -> go.Figure:
    """The map as near as all of some pairs can be seen; `rows`: which (n,)."""
    some = xy[rows]
    some = some[np.isfinite(some).all(axis=1)]
    if not len(some):
        return figure
    low, high = some.min(axis=0), some.max(axis=0)
    room = np.maximum(0.08 * (high - low), 0.02 * np.ptp(xy[np.isfinite(xy).all(axis=1)], axis=0)) + 1e-6
    (left, bottom), (right, top) = low - room, high + room
    figure.update_layout(uirevision=f"{left:.4g} {right:.4g} {bottom:.4g} {top:.4g}")
    return figure.update_xaxes(range=[left, right]).update_yaxes(range=[bottom, top])


def _parts(values: Any, name: str, rows: np.ndarray):
    if isinstance(values, pa.Array):
        text = np.array(values.take(pa.array(rows)).to_pylist(), object)
        for value, (title, colour, symbol) in NAMED[name].items():
            members = rows[np.array([v == value for v in text], bool)]
            if len(members):
                yield title, members, {"color": colour, "symbol": symbol, "size": SIZE + 4 * (value is not None)}
        return
    some = values[rows]
    if some.dtype == bool:
        for value in (False, True):
            title, colour, symbol = NAMED[name][value]
            yield title, rows[some == value], {"color": colour, "symbol": symbol, "size": SIZE + 2 * value}
    elif name in ("cluster", "group"):
        number = np.nan_to_num(some, nan=-1).astype(int)
        yield "none", rows[number < 0], {"color": UNKNOWN, "symbol": "circle"}
        for value in range(min(int(number.max(initial=-1)) + 1, len(PALETTE))):
            yield f"{name} {value}", rows[number == value], {"color": PALETTE[value], "symbol": SYMBOLS[value]}
        if (rest := rows[number >= len(PALETTE)]).size:
            yield f"{name} {len(PALETTE)} and further", rest, {"color": UNKNOWN, "symbol": "circle-open"}
    else:
        bar = {"title": {"text": name.replace("_", " ")}, "thickness": 12}
        yield "", rows, {"color": some.astype(np.float32), "colorscale": "Viridis", "showscale": True, "colorbar": bar}
