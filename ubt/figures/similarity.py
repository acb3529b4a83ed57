"""How similar images and their captions are under a model: clean beside poisoned (Figs. 3, 4, 6, 7)."""

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout, mark

BINS = np.linspace(-1, 1, 101)
CENTRES = (BINS[:-1] + BINS[1:]) / 2
WIDTH = 0.02
WHOLE = (-1.0, 1.0)
"""The axis of the papers' figures: all that a cosine similarity can be."""
NARROWEST = 0.4
"""The least that an axis fitted to the data spans."""


def binned(similarity: np.ndarray) -> np.ndarray:
    """Each pair's bin, uint8 (n,), for `histogram`; 255 where there is no score."""
    place = np.clip((np.nan_to_num(similarity, nan=9, posinf=9, neginf=-9) + 1) / WIDTH, 0, len(CENTRES) - 1).astype(
        np.uint8
    )
    return np.where(np.isfinite(similarity), place, 255).astype(np.uint8)


def counted(bins: np.ndarray) -> np.ndarray:
    """How many pairs are in each bin (100,), those without a score left out."""
    return np.bincount(bins, minlength=256)[: len(CENTRES)]


def spanned(bins: Iterable[np.ndarray]) -> tuple[float, float]:
    """The part of [-1, 1] that holds every pair of several histograms, to a tenth, with a bin of room on either side;
    all of it where nothing is scored.

    Args:
        bins: of each, its pairs' bins (n,) as `binned` gives them.
    """
    used = np.flatnonzero(np.sum([counted(some) for some in bins], axis=0))
    if not len(used):
        return WHOLE
    low, high = 10 * (BINS[used[0]] - WIDTH), 10 * (BINS[used[-1] + 1] + WIDTH)
    low, high = np.floor(low + 1e-6) / 10, np.ceil(high - 1e-6) / 10
    lacking = max(0.0, NARROWEST - (high - low)) / 2
    return max(-1.0, round(low - lacking, 2)), min(1.0, round(high + lacking, 2))


def histogram(
    similarity: np.ndarray,
    poisoned: np.ndarray | None,
    line: tuple[float, str, str] | None = None,
    height: int = 320,
    among: np.ndarray | None = None,
    selected: np.ndarray | None = None,
    span: tuple[float, float] = WHOLE,
) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, so that few poisons show beside many clean
    pairs.

    Args:
        similarity: cosine similarities (n,) in [-1, 1], or their bins as `binned` gives them. poisoned: which are
            poisoned (n,), None if nobody knows. line: where to draw a line, what it says, and on which side. among:
            which pairs to show (n,), all by default.
        selected: which pairs are selected (n,); the others stay, as grey outlines. span: the axis' ends.
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
            fillcolor=None if fill else faint(colour),
            hovertemplate="%{y:.2f} % (%{customdata:,} pairs)",
        )
    if line:
        mark(figure, *line)
    layout(figure, height=height, x="cosine similarity", y="share of its pairs (%)")
    figure.update_layout(dragmode="select", selectdirection="h")
    figure.update_yaxes(range=[0, 1.15 * max(top, 1e-9)])
    return figure.update_xaxes(range=list(span), dtick=0.5 if span == WHOLE else 0.2, hoverformat=".2f")


def small(figure: go.Figure, height: int, title: str, legend: bool = True) -> go.Figure:
    """A histogram as one part of a page: its title beside its legend, which has the names alone; its axes untitled."""
    figure.for_each_trace(lambda trace: trace.update(name=(trace.name or "").partition(" (")[0]))
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 38, "b": 4},
        title={
            "text": f"<b>{title}</b>" + ("" if legend else ": similarity"),
            "font": {"size": 14},
            "x": 0,
            "xref": "container",
            "y": 0.99,
            "yanchor": "top",
        },
        showlegend=legend,
        legend={"font": {"size": 11}, "x": 1, "xanchor": "right", "yref": "container", "y": 1, "yanchor": "top"},
    )
    return figure.update_xaxes(title=None).update_yaxes(title=None, ticksuffix=" %", nticks=4)


def faint(colour: str) -> str:
    """A colour, `#rrggbb`, as what fills a curve that others are drawn over."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.25)"
