"""One setting's points and what is measured at each, the one in view marked."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, layout, track

LOOKS = {
    "poisoned": (POISONED, "solid", "circle"),
    "purified, ours": (MODELS["purified"], "dot", "square"),
    "split recall": (CLEAN, "dash", "diamond"),
    "precision@k": (UNKNOWN, "dashdot", "triangle-up"),
}
"""Colour, dash and symbol of each line."""
PANELS = {
    "CA (%)": {"poisoned": "CA, M_bd", "purified, ours": "CA, ours"},
    "ASR (%)": {"poisoned": "ASR, M_bd", "purified, ours": "ASR, ours"},
    "found (%)": {"split recall": "split recall", "precision@k": "precision@k"},
}
"""What is drawn: of each panel, a line's name to its measure."""


def lines(frame: pd.DataFrame, axis: str, at: int, height: int = 330) -> go.Figure:
    """CA, ASR, and what was found, a panel each, over the values of one setting, evenly spaced; a point that is not
    measured is left out.

    Args:
        frame: the rows of one setting, see `ubt.cli.make_demo.grid`. axis: what its axis is called. at: the row in
            view.
    """
    figure = make_subplots(
        1, len(PANELS), subplot_titles=[f"<b>{title}</b>" for title in PANELS], horizontal_spacing=0.07
    )
    places, traces = list(range(len(frame))), []
    sizes = [17 if place == at else 9 for place in places]
    for col, measures in enumerate(PANELS.values(), 1):
        for name, measure in measures.items():
            key = {"legendgroup": name, "showlegend": col != 2, "hovertemplate": "%{y:.2f} %"}
            drawn = track(places, frame[measure].astype(float), name, LOOKS[name], sizes, **key)
            traces.append(drawn | {"type": "scatter", "xaxis": f"x{col}", "yaxis": f"y{col}"})
    look = {"width": 1.5, "dash": "dash", "color": UNKNOWN}
    line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": look}
    figure.add_traces(traces)
    axes = ["", *range(2, len(PANELS) + 1)]
    layout(figure, height=height).update_layout(shapes=[line | {"xref": f"x{n}", "yref": f"y{n} domain"} for n in axes])
    figure.update_xaxes(tickvals=places, ticktext=[f"{v:g}" for v in frame["shown"]], range=[-0.4, len(places) - 0.6])
    return figure.update_layout(
        margin={"t": 75},
        legend={"y": 1, "yref": "container", "yanchor": "top"},
        yaxis={"range": _range(frame)},
        yaxis2={"range": [-4, 104]},
        yaxis3={"range": [-4, 104]},
        xaxis2={"title": {"text": axis}},
    )


def _range(frame: pd.DataFrame) -> tuple[float, float]:
    low = frame[list(PANELS["CA (%)"].values())].astype(float).min().min()
    return (min(90.0, low - 1) if pd.notna(low) else 0.0), 100.5
