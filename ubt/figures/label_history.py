"""What analysts decided along the queue."""

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout

COLOURS = {"backdoor": (POISONED, "/"), "clean": (CLEAN, ""), "unsure": ("#9069C2", "x"), "undecided": (UNKNOWN, "")}
BARS = 50


def along(labels: pd.Series, height: int = 240) -> go.Figure:
    """How many of each stretch of the queue were decided, and how.

    Args:
        labels: of the queue in order, missing where nobody decided.
    """
    figure, values = go.Figure(), labels.fillna("undecided").to_numpy(object)
    edges = np.unique(np.linspace(0, len(values), min(BARS, len(values)) + 1).astype(int))
    for label, (colour, shape) in COLOURS.items():
        counts = np.array([(values[a:b] == label).sum() for a, b in pairwise(edges)], int)
        figure.add_bar(
            x=(edges[:-1] + edges[1:] + 1) / 2,
            y=counts,
            width=np.diff(edges),
            name=f"{label} ({counts.sum():,})",
            marker={
                "color": colour,
                "opacity": 0.3 if label == "undecided" else 1,
                "line": {"width": 0},
                "pattern": {"shape": shape, "solidity": 0.3},
            },
            hovertemplate="%{y} pairs",
        )
    layout(figure, height=height, x="place in the queue, most suspicious first", y="pairs")
    return figure.update_layout(barmode="stack", bargap=0)
