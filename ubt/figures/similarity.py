"""How similar images and their captions are under a model: clean beside poisoned (Figs. 3, 4, 6, 7)."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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


@dataclass(frozen=True)
class Part:
    """How a histogram is drawn as one part of a page: its `title` beside its `legend`, if it has one, which has the
    names alone; its axes untitled.
    """

    title: str
    legend: bool = True


def histogram(
    similarity: np.ndarray,
    poisoned: np.ndarray | None,
    line: tuple[float, str, str] | None = None,
    height: int = 320,
    among: np.ndarray | None = None,
    span: tuple[float, float] = WHOLE,
    part: Part | None = None,
) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, so that few poisons show beside many clean
    pairs.

    Args:
        similarity: cosine similarities (n,) in [-1, 1], or their bins as `binned` gives them. poisoned: which are
            poisoned (n,), None if nobody knows. line: where to draw a line, what it says, and on which side. among:
            which pairs to show (n,), all by default. span: the axis' ends. part: as one part of a page.
    """
    bins = similarity if similarity.dtype == np.uint8 else binned(similarity)
    traces, top = [], 0.0
    for name, rows, colour, dash in _populations(poisoned, among):
        counts = counted(bins if rows is None else bins[rows])
        share = 100 * counts / max(1, counts.sum())
        top = max(top, share.max())
        fill = {"shape": "/", "size": 5, "solidity": 0.25, "fgcolor": colour} if name == "poisoned" else None
        traces.append(
            {
                "type": "scatter",
                "x": CENTRES,
                "y": share,
                "name": name if part else f"{name} ({counts.sum():,})",
                "customdata": counts,
                "mode": "lines",
                "fill": "tozeroy",
                "line": {"shape": "hvh", "color": colour, "width": 1.6, "dash": dash},
                **({"fillpattern": fill} if fill else {"fillcolor": faint(colour)}),
                "hovertemplate": "%{y:.2f} % (%{customdata:,} pairs in all)",
            }
        )
    at, *said = line or (None,)
    layout = copy.deepcopy(_layout(height, tuple(said), span, part))
    layout["yaxis"]["range"] = [0, 1.15 * max(top, 1e-9)]
    if at is not None:
        layout["shapes"][0] |= {"x0": at, "x1": at}
        layout["annotations"][0]["x"] = at
    return go.Figure({"data": traces, "layout": layout}, _validate=False)


def _populations(
    poisoned: np.ndarray | None, among: np.ndarray | None
) -> list[tuple[str, np.ndarray | None, str, str]]:
    """What a histogram shows: each population's name, which pairs it is (n,), None for all, its colour and dash."""
    if poisoned is None:
        return [("pairs", among, UNKNOWN, "solid")]
    clean, planted = (~poisoned, poisoned) if among is None else (among & ~poisoned, among & poisoned)
    return [("clean", clean, CLEAN, "solid"), ("poisoned", planted, POISONED, "dot")]


def shares(
    bins: np.ndarray, poisoned: np.ndarray | None, selected: np.ndarray, among: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """What of each population is selected, as `histogram` draws all of it: `x` and `y` of each bin, y in percent of the
    population, the bins' `width`, how it is drawn, and what is `said` of it.

    Args:
        bins: as `binned` gives them. selected: which pairs are selected (n,). poisoned, among: as of `histogram`.
    """
    found = []
    for name, rows, colour, dash in _populations(poisoned, among):
        whole = int(counted(bins if rows is None else bins[rows]).sum())
        counts = counted(bins[selected if rows is None else rows & selected])
        said = f"{name} ({counts.sum():,} of {whole:,})"
        used = np.flatnonzero(counts)
        at = slice(max(0, used[0] - 1), used[-1] + 2) if len(used) else slice(0)
        y = (100 * counts / max(1, whole))[at]
        drawn = {"colour": colour, "dash": dash != "solid", "hatched": name == "poisoned", "width": WIDTH}
        found.append({"said": said, "x": CENTRES[at].round(4).tolist(), "y": y.round(4).tolist(), **drawn})
    return found


@lru_cache(64)
def _layout(height: int, said: tuple[str, ...], span: tuple[float, float], part: Part | None) -> dict[str, Any]:
    """All of a histogram but its traces, with a line at 0; plotly takes ten times as long for it as for them."""
    figure = go.Figure()
    if said:
        mark(figure, 0.0, *said)
    layout(figure, height=height, x="cosine similarity", y="share of its pairs (%)")
    figure.update_layout(dragmode="select", selectdirection="h")
    figure.update_xaxes(range=list(span), dtick=0.5 if span == WHOLE else 0.2, hoverformat=".2f")
    if part:
        _as_part(figure, part)
    return figure.layout.to_plotly_json()


def _as_part(figure: go.Figure, part: Part) -> None:
    figure.update_layout(
        margin={"l": 4, "r": 4, "t": 38, "b": 4},
        title={
            "text": f"<b>{part.title}</b>" + ("" if part.legend else ": similarity"),
            "font": {"size": 14},
            "x": 0,
            "xref": "container",
            "y": 0.99,
            "yanchor": "top",
        },
        showlegend=part.legend,
        legend={"font": {"size": 11}, "x": 1, "xanchor": "right", "yref": "container", "y": 1, "yanchor": "top"},
    )
    figure.update_xaxes(title=None).update_yaxes(title=None, ticksuffix=" %", nticks=4)


def faint(colour: str) -> str:
    """A colour, `#rrggbb`, as what fills a curve that others are drawn over."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.25)"
