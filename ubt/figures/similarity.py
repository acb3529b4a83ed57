"""How similar images and their captions are under a model: clean beside poisoned (Figs. 3, 4, 6, 7)."""

import numpy as np
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout, mark

BINS = np.linspace(-1, 1, 101)
CENTRES = (BINS[:-1] + BINS[1:]) / 2
WIDTH = 0.02


def histogram(similarity: np.ndarray, poisoned: np.ndarray | None, line: tuple[float, str, str] | None = None, height: int = 320) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, so that few poisons show beside many clean pairs.

    Args:
        similarity: cosine similarities (n,) in [-1, 1]. poisoned: which are poisoned (n,), None if nobody knows.
        line: where to draw a line, what it says, and on which side.
    """
    figure = go.Figure()
    parts = [("pairs", np.ones(len(similarity), bool), UNKNOWN, "solid")]
    if poisoned is not None:
        parts = [("clean", ~poisoned, CLEAN, "solid"), ("poisoned", poisoned, POISONED, "dot")]
    for name, rows, colour, dash in parts:
        counts = np.histogram(np.clip(similarity[rows], -1, 1), BINS)[0]
        fill = {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": colour} if name == "poisoned" else None
        figure.add_scatter(
            x=CENTRES, y=100 * counts / max(1, counts.sum()), name=f"{name} ({counts.sum():,})", customdata=counts, mode="lines", fill="tozeroy",
            line={"shape": "hvh", "color": colour, "width": 1.6, "dash": dash}, fillpattern=fill, fillcolor=None if fill else _faint(colour),
            hovertemplate="%{y:.2f} % (%{customdata:,} pairs)",
        )  # fmt: skip
    if line:
        mark(figure, *line)
    layout(figure, height=height, x="cosine similarity", y="share of its pairs (%)")
    top = max((max(trace.y) for trace in figure.data), default=1)
    figure.update_yaxes(range=[0, 1.15 * top])
    return figure.update_xaxes(range=[-1, 1], dtick=0.5, hoverformat=".2f")


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.25)"
