"""How similar the nearest pairs are, and which of them are flagged."""

import numpy as np
import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, layout


def nearest(similarity: np.ndarray, flagged: np.ndarray, poisoned: np.ndarray | None, height: int = 220) -> go.Figure:
    """Similarity by rank; flagged pairs are diamonds, and coloured by the ground truth where it may be shown.

    Args:
        similarity: of the nearest (k,), highest first. flagged: (k,). poisoned: (k,), None if nobody knows.
    """
    figure, rank = go.Figure(), np.arange(1, len(similarity) + 1)
    marked = flagged if poisoned is None else poisoned
    figure.add_bar(
        x=rank, y=similarity, marker={"color": [POISONED if m else CLEAN for m in marked]}, opacity=0.35, width=0.15, hoverinfo="skip", showlegend=False
    )
    for name, rows, symbol in (("flagged", flagged, "diamond"), ("not flagged", ~flagged, "circle-open")):
        colour = [POISONED if m else CLEAN for m in marked[rows]]
        truth = ["" if poisoned is None else "poisoned" if m else "clean" for m in marked[rows]]
        figure.add_scatter(
            x=rank[rows], y=similarity[rows], mode="markers", name=f"{name} ({int(rows.sum())})", customdata=np.array(truth, object),
            marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1.6, "color": colour}}, hovertemplate="similarity %{y:.3f} %{customdata}",
        )  # fmt: skip
    layout(figure, height=height, x="rank", y="cosine similarity")
    low = float(np.nanmin(similarity)) if len(similarity) else 0
    return figure.update_yaxes(range=[min(low - 0.05, 0.95), 1.02]).update_xaxes(range=[0, len(similarity) + 1])
