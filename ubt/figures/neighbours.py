"""How similar the nearest pairs are, and which of them are flagged."""

import numpy as np
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, layout


def nearest(similarity: np.ndarray, flagged: np.ndarray, poisoned: np.ndarray | None, height: int = 220) -> go.Figure:
    """Similarity by rank. Flagged pairs are filled, the others hollow; diamonds are poisoned and circles clean where
    the ground truth may be shown, else diamonds are the flagged ones.

    Args:
        similarity: of the nearest (k,), highest first. flagged: (k,). poisoned: (k,), None if nobody knows.
    """
    figure, rank = go.Figure(), np.arange(1, len(similarity) + 1)
    marked = flagged if poisoned is None else poisoned
    figure.add_bar(
        x=rank,
        y=similarity,
        marker={"color": [POISONED if m else CLEAN for m in marked]},
        opacity=0.35,
        width=0.15,
        hoverinfo="skip",
        showlegend=False,
    )
    parts = [("flagged", flagged, True, ""), ("not flagged", ~flagged, False, "-open")]
    if poisoned is not None:
        parts = [
            (f"{n}, {'poisoned' if kind else 'clean'}", rows & (poisoned == kind), kind, fill)
            for n, rows, _, fill in parts
            for kind in (True, False)
        ]
    for name, rows, bad, hollow in parts:
        symbol, colour = ("diamond", POISONED) if bad else ("circle", CLEAN)
        figure.add_scatter(
            x=rank[rows],
            y=similarity[rows],
            mode="markers",
            name=f"{name} ({int(rows.sum())})",
            hovertemplate="similarity %{y:.3f}",
            marker={"symbol": symbol + hollow, "size": 9, "color": colour, "line": {"width": 1.6, "color": colour}},
        )
    layout(figure, height=height, x="rank", y="cosine similarity")
    low = float(np.nanmin(similarity)) if len(similarity) else 0
    return figure.update_yaxes(range=[min(low - 0.05, 0.95), 1.02]).update_xaxes(range=[0, len(similarity) + 1])
