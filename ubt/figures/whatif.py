"""One setting's points and what is measured at each, the one in view marked."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, layout

LOOKS = {"poisoned": (POISONED, "solid", "circle"), "purified, ours": (MODELS["purified"], "dot", "square"),
         "split recall": (CLEAN, "dash", "diamond"), "precision@k": (UNKNOWN, "dashdot", "triangle-up")}  # fmt: skip
"""Colour, dash and symbol of each line."""
PANELS = {
    "CA (%)": {"poisoned": "CA, M_bd", "purified, ours": "CA, ours"}, "ASR (%)": {"poisoned": "ASR, M_bd", "purified, ours": "ASR, ours"},
    "found (%)": {"split recall": "split recall", "precision@k": "precision@k"},
}  # fmt: skip
"""What is drawn: of each panel, a line's name to its measure."""


def lines(frame: pd.DataFrame, axis: str, at: int, height: int = 330) -> go.Figure:
    """CA, ASR, and what was found, a panel each, over the values of one setting, evenly spaced; a point that is not measured is left out.

    Args:
        frame: the rows of one setting, see `ubt.ready.making.grid`. axis: what its axis is called. at: the row in view.
    """
    figure = make_subplots(1, len(PANELS), subplot_titles=[f"<b>{title}</b>" for title in PANELS], horizontal_spacing=0.07)
    places = list(range(len(frame)))
    for col, measures in enumerate(PANELS.values(), 1):
        for name, measure in measures.items():
            colour, dash, symbol = LOOKS[name]
            sizes = [17 if place == at else 9 for place in places]
            figure.add_scatter(
                x=places, y=frame[measure].astype(float), name=name, legendgroup=name, showlegend=col != 2, mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2}, marker={"symbol": symbol, "size": sizes, "color": colour},
                hovertemplate="%{y:.2f} %", row=1, col=col,
            )  # fmt: skip
        figure.add_vline(x=at, line={"width": 1.5, "dash": "dash", "color": UNKNOWN}, row=1, col=col)
    layout(figure, height=height)
    figure.update_yaxes(range=[-4, 104]).update_yaxes(range=_range(frame), col=1)
    figure.update_xaxes(tickvals=places, ticktext=[f"{v:g}" for v in frame["shown"]], range=[-0.4, len(places) - 0.6]).update_xaxes(title={"text": axis}, col=2)
    return figure.update_layout(margin={"t": 75}, legend={"y": 1, "yref": "container", "yanchor": "top"})


def _range(frame: pd.DataFrame) -> tuple[float, float]:
    low = frame[list(PANELS["CA (%)"].values())].astype(float).min().min()
    return (min(90.0, low - 1) if pd.notna(low) else 0.0), 100.5
