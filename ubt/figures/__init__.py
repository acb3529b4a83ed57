"""Plotly figures: a frame in, a figure out. Colours keep their contrast on light and dark pages and for colour-blind
readers; what differs in hue differs in pattern, dash or place too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ubt.evaluation.model_roles import MEASURED, labels

CLEAN, POISONED, UNKNOWN = "#2E86C1", "#DB6B1E", "#7F8C9A"
INK = "#111111"
"""Text on a filled shape, which stands out from each of these."""
MODELS = {name: role.colour for name, role in MEASURED.items()}
"""The colours of a case's models that are measured, by what their figures are called."""
LABELS = labels(audit=False)


def fill(model: str) -> dict:
    """How a model's bars are filled."""
    return {"color": MODELS[model], "pattern": hatch(MEASURED[model].pattern)}


def hatch(shape: str, opacity: float = 0.75, solidity: float = 0.35) -> dict:
    """White lines over a bar."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": f"rgba(255,255,255,{opacity})", "solidity": solidity}


def mark(
    figure: go.Figure, x: float, text: str, side: str = "left", colour: str = UNKNOWN, hover: str = "", **where: int
) -> None:
    """A dashed line at `x` that says what it is, on one side of its top; `hover`: the same in full, where `x` alone is
    not what it means.
    """
    line = {"width": 1.5, "dash": "dash", "color": colour}
    remark = {"text": f" {text} ", "font": {"size": 11}, "hovertext": hover or None}
    figure.add_vline(x=x, line=line, annotation=remark, annotation_position=f"top {side}", **where)


def error_bars(up: Sequence[float], down: Sequence[float] | None = None, colour: str | None = UNKNOWN) -> dict:
    """Bars of a spread (n,) to both sides, or of how far an interval reaches `up` and `down`."""
    bars = {"type": "data", "array": up, "thickness": 1.4, "width": 4, "color": colour}
    return bars if down is None else bars | {"symmetric": False, "arrayminus": down}


def track(x: Any, y: Any, name: str, look: tuple[str, str, str], size: float = 7, **more: Any) -> dict:
    """A line with markers, as `add_scatter` takes it, of a `look`: colour, dash, symbol; `more`: the rest."""
    colour, dash, symbol = look
    line, marker = {"color": colour, "dash": dash, "width": 2}, {"symbol": symbol, "size": size}
    return {"x": x, "y": y, "name": name, "mode": "lines+markers", "line": line, "marker": marker} | more


def layout(figure: go.Figure, *, height: int, x: str = "", y: str = "") -> go.Figure:
    """What every figure has: titles and units on the axes, room for the legend above."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": {"text": ""}},
    )
    figure.update_xaxes(title={"text": x}, automargin=True)
    figure.update_yaxes(title={"text": y}, automargin=True)
    return figure


def for_a_room(figure: go.Figure, height: int = 350, scale: float = 1.0) -> go.Figure:
    """A figure to be read from the back of a room: larger text, thicker lines; all of it, and `height` in pixels,
    `scale` times as large.
    """
    large, less, margin = 18 * scale, 17 * scale, figure.layout.margin
    figure.update_layout(
        height=round(height * scale),
        font={"size": large},
        legend={"font": {"size": large}, "itemwidth": max(30, 30 * scale)},
        hoverlabel={"font": {"size": large}},
        margin={side: scale * (margin[side] or 0) for side in "lrtb"},
    )
    figure.update_xaxes(tickfont={"size": less}, title={"font": {"size": large}})
    figure.update_yaxes(tickfont={"size": less}, title={"font": {"size": large}})
    figure.update_annotations(font={"size": less})
    for note in figure.layout.annotations:
        note.update({side: scale * note[side] for side in ("xshift", "yshift", "ax", "ay") if note[side]})
    figure.update_traces(textfont={"size": less}, constraintext="none", selector={"type": "bar"})
    for trace in figure.select_traces(selector=lambda t: t.type == "scatter" and t.marker.size):
        trace.marker.size = np.multiply(trace.marker.size, scale).tolist()
    return figure.update_traces(line={"width": 3 * scale}, selector={"type": "scatter", "mode": "lines"})
