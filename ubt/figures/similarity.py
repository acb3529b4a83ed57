"""How similar images and their captions are under a model: clean beside poisoned (Figs. 3, 4, 6, 7)."""

import numpy as np
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout, mark

BINS = np.linspace(-1, 1, 101)
CENTRES = (BINS[:-1] + BINS[1:]) / 2
WIDTH = 0.02


def binned(similarity: np.ndarray) -> np.ndarray:
    """Each pair's bin, uint8 (n,), for `histogram`; 255 where there is no score."""
    place = np.clip((np.nan_to_num(similarity, nan=9, posinf=9, neginf=-9) + 1) / WIDTH, 0, len(CENTRES) - 1).astype(
        np.uint8
    )
    return np.where(np.isfinite(similarity), place, 255).astype(np.uint8)


def counted(bins: np.ndarray) -> np.ndarray:
    """How many pairs are in each bin (100,), those without a score left out."""
    return np.bincount(bins, minlength=256)[: len(CENTRES)]


def histogram(
    similarity: np.ndarray,
    poisoned: np.ndarray | None,
    line: tuple[float, str, str] | None = None,
    height: int = 320,
    among: np.ndarray | None = None,
    selected: np.ndarray | None = None,
) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, so that few poisons show beside many clean
    pairs.

    Args:
        similarity: cosine similarities (n,) in [-1, 1], or their bins as `binned` gives them. poisoned: which are
            poisoned (n,), None if nobody knows. line: where to draw a line, what it says, and on which side. among:
            which pairs to show (n,), all by default.
        selected: which pairs are selected (n,); the others stay, as grey outlines.
    """
    bins = similarity if similarity.dtype == np.uint8 else binned(similarity)
    among = np.ones(len(bins), bool) if among is None else among
    parts = [("pairs", among, UNKNOWN, "solid")]
    if poisoned is not None:
        parts = [("clean", among & ~poisoned, CLEAN, "solid"), ("poisoned", among & poisoned, POISONED, "dot")]
    figure, top = go.Figure(), 0.0
    for name, rows, colour, dash in parts:
        counts = counted(bins[rows])
        whole, shown, title = max(1, counts.sum()), counts, f"{name} ({counts.sum():,})"
        top = max(top, 100 * counts.max() / whole)
        if selected is not None:
            figure.add_scatter(
                x=CENTRES,
                y=100 * counts / whole,
                mode="lines",
                line={"shape": "hvh", "color": UNKNOWN, "width": 1, "dash": dash},
                opacity=0.7,
                showlegend=False,
                hoverinfo="skip",
            )
            shown = counted(bins[rows & selected])
            title = f"{name} ({shown.sum():,} of {counts.sum():,})"
        fill = {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": colour} if name == "poisoned" else None
        figure.add_scatter(
            x=CENTRES,
            y=100 * shown / whole,
            name=title,
            customdata=shown,
            mode="lines",
            fill="tozeroy",
            line={"shape": "hvh", "color": colour, "width": 1.6, "dash": dash},
            fillpattern=fill,
            fillcolor=None if fill else _faint(colour),
            hovertemplate="%{y:.2f} % (%{customdata:,} pairs)",
        )
    if line:
        mark(figure, *line)
    layout(figure, height=height, x="cosine similarity", y="share of its pairs (%)")
    figure.update_layout(dragmode="select", selectdirection="h")
    figure.update_yaxes(range=[0, 1.15 * max(top, 1e-9)])
    return figure.update_xaxes(range=[-1, 1], dtick=0.5, hoverformat=".2f")


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.25)"
