"""How well a score finds the poisons at every threshold: ROC and precision-recall."""

import plotly.graph_objects as go

from ubt.figures import CLEAN, POISONED, UNKNOWN, layout

AXES = {"roc": ("false-positive rate", "true-positive rate"), "pr": ("recall", "precision")}
LINES = {
    "reference, in D": (UNKNOWN, "dash"),
    "M_bd, in D": (CLEAN, "dot"),
    "overfitted, in D_susp": (POISONED, "solid"),
}
"""A score, and among which pairs it is judged, to its colour and dash."""


def curve(
    kind: str, found: dict[str, dict], at: dict[str, tuple[float, float]] | None = None, height: int = 320
) -> go.Figure:
    """One kind of curve for several scores, each with the point where its threshold stands.

    Args:
        kind: `roc` or `pr`. found: name to `ubt.evaluation.detection.curves`' result. at: name to the point in use.
    """
    figure = go.Figure()
    for name, curves in found.items():
        if kind not in curves:
            continue
        colour, dash = LINES[name]
        c = curves[kind]
        figure.add_scatter(
            x=c["x"],
            y=c["y"],
            name=name,
            mode="lines",
            line={"color": colour, "dash": dash, "width": 2},
            customdata=c["at"],
            hovertemplate="%{y:.3f} at threshold %{customdata:.3f}",
        )
        if at and name in at:
            figure.add_scatter(
                x=[at[name][0]],
                y=[at[name][1]],
                mode="markers",
                marker={"size": 11, "symbol": "diamond", "color": colour},
                showlegend=False,
                hovertemplate="the threshold in use<extra></extra>",
            )
    x, y = AXES[kind]
    layout(figure, height=height, x=x, y=y)
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure.update_yaxes(range=[-0.02, 1.04])
