"""Two cases in one figure, in the same colours: the first solid and filled, the second dashed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout, track
from ubt.figures.similarity import CENTRES, binned, counted, faint
from ubt.figures.training import PERCENT

LOOKS = (("A", "solid", "circle"), ("B", "dash", "diamond-open"))
"""What the two are called in a legend, their lines and their marks."""


def histograms(cases: tuple[tuple[np.ndarray, np.ndarray | None], ...], height: int = 340) -> go.Figure:
    """The similarity histograms of two cases, each population in percent of its own pairs.

    Args:
        cases: of each, the similarities (n,) in [-1, 1] and which pairs are poisoned (n,), None if nobody knows.
    """
    figure, top = go.Figure(), 0.0
    for (letter, dash, _), (similarity, poisoned) in zip(LOOKS, cases, strict=True):
        bins = binned(similarity)
        parts = [("pairs", np.ones(len(bins), bool), UNKNOWN)]
        if poisoned is not None:
            parts = [("clean", ~poisoned, CLEAN), ("poisoned", poisoned, POISONED)]
        for name, rows, colour in parts:
            counts = counted(bins[rows])
            share = 100 * counts / max(1, counts.sum())
            there = np.flatnonzero(counts)
            part = slice(max(0, there[0] - 1), there[-1] + 2) if len(there) else slice(0, 0)
            top = max(top, share.max())
            figure.add_scatter(
                x=CENTRES[part],
                y=share[part],
                customdata=counts[part],
                name=f"{letter}: {name} ({counts.sum():,})",
                mode="lines",
                line={"shape": "hvh", "color": colour, "dash": dash, "width": 1.6 if dash == "solid" else 2.4},
                fill="tozeroy" if dash == "solid" else None,
                fillcolor=faint(colour),
                hovertemplate="%{y:.2f} % (%{customdata:,} pairs)",
            )
    layout(figure, height=height, x="cosine similarity", y="share of its pairs (%)")
    return figure.update_yaxes(range=[0, 1.1 * max(top, 1e-9)]).update_xaxes(hoverformat=".2f")


def curves(cases: Mapping[str, pd.DataFrame], height: int = 340) -> go.Figure:
    """CA and ASR of two cases while a model trains, over optimiser steps.

    Args:
        cases: A and B, or one of them, to `step`, and `ca` and `asr` in percent.
    """
    figure = go.Figure()
    for letter, dash, symbol in LOOKS:
        for name, (label, colour, _, _) in PERCENT.items():
            if letter in cases and name in cases[letter]:
                part = cases[letter].dropna(subset=[name])
                look = (colour, dash, symbol)
                told = f"{letter}: {label.removesuffix(', sample')}"
                figure.add_scatter(**track(part["step"], part[name], told, look, hovertemplate="%{y:.1f} %"))
    layout(figure, height=height, x="optimiser step", y="percent, on a sample")
    return figure.update_yaxes(range=[-3, 103])
