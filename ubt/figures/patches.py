"""Located trigger patches: where masking costs an image its cluster, what patches do to other images, and whom the
classifier leaves out.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image, ImageDraw
from plotly.colors import sequential

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, hatch, layout, mark, track
from ubt.figures.attribution import enlarged

TRUE = "#2BD4FF"
"""The true place of a trigger, on an image."""
DASH = 8
HEAT = sequential.Inferno[1:]
"""Streamlit takes the first colour of the whole scale, #000004, for a place that its theme fills."""
STRATEGIES = {
    "full coverage": (CLEAN, "solid", "circle"),
    "interval": (MODELS["published"], "dash", "square"),
    "random": (MODELS["purified"], "dot", "diamond"),
}
"""A masking strategy's colour, dash and marker."""
REACH, BIN = 16.0, 0.5
"""How far the axis of log-odds reaches, and the width of a bar on it."""
ODDS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Probabilities that the axis of log-odds names."""


def outlined(image: np.ndarray, box: Sequence[int], true: Sequence[int] | None = None) -> np.ndarray:
    """An image enlarged, a box in white and black around a patch of it, and a dashed one around the true place.

    Args:
        image: uint8 (H, W, 3). box, true: top, left, height and width in pixels.
    """
    big = enlarged(image)
    times = big.shape[0] // image.shape[0]
    picture = Image.fromarray(big.copy())
    pen = ImageDraw.Draw(picture)

    def corners(b: Sequence[int], grow: int) -> tuple[int, int, int, int]:
        top, left, height, width = (times * int(v) for v in b)
        return left - grow, top - grow, left + width - 1 + grow, top + height - 1 + grow

    pen.rectangle(corners(box, 0), outline="black", width=4)
    pen.rectangle(corners(box, -1), outline="white", width=2)
    if true is not None:
        x0, y0, x1, y1 = corners(true, 1)
        for x in range(x0, x1, DASH):
            for y in (y0, y1):
                pen.line([(x, y), (min(x + DASH // 2, x1), y)], TRUE, 3)
        for y in range(y0, y1, DASH):
            for x in (x0, x1):
                pen.line([(x, y), (x, min(y + DASH // 2, y1))], TRUE, 3)
    return np.asarray(picture)


def spread(drop: np.ndarray, windows: np.ndarray, side: int, size: tuple[int, int]) -> np.ndarray:
    """An activation map in pixels: the mean drop of the windows that cover a pixel, missing where none does.

    Args:
        drop: (windows,). windows: their upper left corners (windows, 2). size: height and width.
    """
    total, count = np.zeros(size), np.zeros(size)
    for value, (y, x) in zip(drop, windows, strict=True):
        total[y : y + side, x : x + side] += value
        count[y : y + side, x : x + side] += 1
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)


def activation(
    image: np.ndarray, heat: np.ndarray, box: Sequence[int], true: Sequence[int] | None = None, height: int = 470
) -> go.Figure:
    """An activation map over its image, the located patch framed, and the true place dotted.

    Args:
        image: uint8 (H, W, 3). heat: as `spread` gives it. box, true: top, left, height and width in pixels.
    """
    figure = go.Figure(go.Image(z=image, hoverinfo="skip"))
    figure.add_heatmap(
        z=heat,
        name="mean drop of similarity",
        colorscale=HEAT,
        opacity=0.62,
        zmin=min(0.0, float(np.nanmin(heat))),
        zmax=max(0.05, float(np.nanmax(heat))),
        colorbar={"title": {"text": "drop of similarity, mean", "side": "top"}}
        | {"orientation": "h", "thickness": 12, "y": 1.02, "yanchor": "bottom"},
        hovertemplate="windows over row %{y}, column %{x}: mean drop %{z:.3f}<extra></extra>",
    )
    frames = [(box, "#FFFFFF", "solid", 3, "the located patch")] + (
        [(true, TRUE, "dot", 2.5, "the true place")] if true is not None else []
    )
    for (top, left, tall, wide), colour, dash, width, label in frames:
        at = {"x0": left - 0.5, "y0": top - 0.5, "x1": left + wide - 0.5, "y1": top + tall - 0.5}
        figure.add_shape(type="rect", name=label, line={"color": colour, "dash": dash, "width": width}, **at)
    layout(figure, height=height, x="column (px)", y="row (px)").update_layout(hovermode="closest", margin={"t": 10})
    figure.update_xaxes(range=[-0.5, image.shape[1] - 0.5], constrain="domain", showgrid=False, zeroline=False)
    bound = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    return figure.update_yaxes(range=[image.shape[0] - 0.5, -0.5], showgrid=False, zeroline=False, **bound)


def ranked(
    candidates: pd.DataFrame,
    top: int,
    poisoned: np.ndarray | None,
    chosen: str = "",
    most: int = 100,
    height: int = 300,
) -> go.Figure:
    """Flips by rank, the patches that are taken for triggers left of the line; poisoned images are diamonds, where the
    truth may be shown.

    Args:
        candidates: as `ubt.defenses.poisoncam.locate` gives them. poisoned: of each (n,), None if nobody knows. chosen:
        id of the one looked at.
        most: how many of the first are drawn.
    """
    rows = np.argsort(candidates["rank"].to_numpy())[:most]
    first = candidates.iloc[rows]
    parts = [("patches", np.ones(len(first), bool), CLEAN, "circle-open")]
    if poisoned is not None:
        p = poisoned[rows]
        parts = [("of clean images", ~p, CLEAN, "circle-open"), ("of poisoned images", p, POISONED, "diamond")]
    figure = go.Figure()
    for name, among, colour, symbol in parts:
        some = first[among]
        figure.add_scatter(
            x=some["rank"],
            y=100 * some["flips"],
            mode="markers",
            name=f"{name} ({len(some)})",
            customdata=list(zip(some["id"].map(escape), some["drop"], strict=True)),
            marker={"symbol": symbol, "size": 8, "color": colour, "line": {"width": 1.5, "color": colour}},
            hovertemplate="rank %{x}: %{y:.1f} %, drop %{customdata[1]:.2f}, %{customdata[0]}<extra></extra>",
        )
    if (here := first[first["id"] == chosen]).size:
        figure.add_scatter(
            x=here["rank"],
            y=100 * here["flips"],
            mode="markers",
            name="looked at",
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 16, "color": UNKNOWN, "line": {"width": 2.5, "color": UNKNOWN}},
        )
    if len(candidates) > top:
        mark(figure, top + 0.5, f"the first {top} are taken for triggers", "right")
    x = f"rank of the patch (the first {len(first)} of {len(candidates)})"
    layout(figure, height=height, x=x, y="images flipped (%)")
    figure.update_xaxes(range=[0, len(first) + 1]).update_layout(hovermode="closest")
    return figure.update_yaxes(range=[-4, 122], tickvals=[0, 25, 50, 75, 100])


def log_odds(probability: np.ndarray | float) -> np.ndarray:
    """Log-odds of probabilities (n,), those beyond the axis at its ends.

    >>> log_odds(np.array([0, 0.5, 1])).tolist()
    [-16.0, 0.0, 16.0]
    """
    with np.errstate(divide="ignore"):
        p = np.asarray(probability, float)
        return np.clip(np.log(p) - np.log1p(-p), -REACH, REACH)


def decisions(
    score: np.ndarray, poisoned: np.ndarray | None, threshold: float, label: str, height: int = 300
) -> go.Figure:
    """How many pairs have which probability, on an axis of log-odds, counts on a logarithmic one; poisoned pairs are
    the narrow bars. No bar holds pairs of both sides of the threshold.

    Args:
        score: probabilities (n,). poisoned: (n,), None if nobody knows. threshold: from which one a pair is left out,
            and its `label`.
    """
    parts = [("pairs", np.ones(len(score), bool), UNKNOWN, BIN, "")]
    if poisoned is not None:
        parts = [("clean", ~poisoned, CLEAN, BIN, ""), ("poisoned", poisoned, POISONED, 0.4 * BIN, "/")]
    at, cut = log_odds(score), float(log_odds(threshold))
    places = np.floor((at - cut) / BIN).astype(int)
    figure, highest = go.Figure(), 1
    for name, among, colour, width, shape in parts:
        bins, counts = np.unique(places[among], return_counts=True)
        highest = max(highest, counts.max(initial=0))
        low, high = (1 / (1 + np.exp(-(cut + BIN * (bins + step)))) for step in (0, 1))
        figure.add_bar(
            x=cut + BIN * (bins + 0.5),
            y=counts,
            width=width,
            name=f"{name} ({among.sum():,})",
            marker={"color": colour, "line": {"width": 0}, "pattern": hatch(shape)},
            meta=f"{(score[among] >= threshold).sum():,} from the threshold on",
            customdata=[f"{a:.2g} to {b:.2g}" for a, b in zip(low, high, strict=True)],
            hovertemplate="%{y:,} pairs of probability %{customdata}",
        )
    low, high = min(at.min(), cut), max(at.max(), cut)
    side, whole = "left" if 2 * cut > low + high else "right", f"{label} from a probability of {threshold:g} on"
    mark(figure, cut, label, side, hover=whole)
    layout(figure, height=height, x="probability that a trigger was pasted (axis in log-odds)", y="pairs (log)")
    figure.update_xaxes(
        tickvals=[float(log_odds(p)) for p in ODDS], ticktext=[f"{p:g}" for p in ODDS], range=[low - 1, high + 1]
    )
    figure.update_yaxes(type="log", range=[np.log10(0.7), np.log10(3 * highest)], tickvals=[10**n for n in range(8)])
    return figure.update_layout(barmode="overlay", bargap=0)


def compared(runs: Mapping[str, pd.DataFrame], top: int, most: int = 60, height: int = 300) -> go.Figure:
    """Flips by rank under several masking strategies.

    Args:
        runs: strategy to its candidates.
    """
    figure = go.Figure()
    for name, candidates in runs.items():
        first = candidates.sort_values("rank").head(most)
        drawn = track(first["rank"], 100 * first["flips"], name, STRATEGIES[name], 5)
        figure.add_scatter(**drawn, hovertemplate="%{y:.1f} %")
    mark(figure, top + 0.5, f"the first {top}", "right")
    layout(figure, height=height, x="rank of the patch", y="images flipped (%)")
    return figure.update_yaxes(range=[-4, 122], tickvals=[0, 25, 50, 75, 100])
