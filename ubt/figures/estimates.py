"""What can be said of a model before and after unlearning where nobody knows the truth."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.evaluation.estimates import ESTIMATES
from ubt.evaluation.model_roles import labels
from ubt.figures import fill, layout

SHORT = {
    "left": "flagged,<br>still taken",
    "retrieval": "R@1 on<br>D_normal",
    "agreement": "retrieved<br>as before",
    "ca": "CA",
}
"""The estimates in percent, as an axis names them."""
UNITS = {"pull": ".3f"}


def bars(measures: Mapping[str, Mapping[str, float]], height: int = 340) -> go.Figure:
    """Every model's estimates side by side: those in percent, and beside them the pull, which is a cosine similarity.

    Args:
        measures: model name to `ubt.evaluation.estimates.estimate`'s measures of it.
    """
    percents = [name for name in SHORT if any(name in row for row in measures.values())]
    pulled = any("pull" in row for row in measures.values())
    figure = make_subplots(1, 2, column_widths=[0.76, 0.24], horizontal_spacing=0.2) if pulled else make_subplots(1, 1)
    names = labels(audit=True)
    for model, row in measures.items():
        named = {"name": names[model], "legendgroup": model, "marker": fill(model)}
        figure.add_bar(
            x=[SHORT[n] for n in percents],
            y=[row.get(n) for n in percents],
            hovertemplate="%{y:.2f} %",
            row=1,
            col=1,
            **named,
        )
        if pulled:
            figure.add_bar(
                x=["pull"], y=[row.get("pull")], hovertemplate="%{y:.3f}", showlegend=False, row=1, col=2, **named
            )
    layout(figure, height=height)
    figure.update_yaxes(title_text="percent", range=[0, 104], tickvals=[0, 25, 50, 75, 100], row=1, col=1)
    if pulled:
        figure.update_yaxes(title_text="cosine similarity", row=1, col=2)
    return figure.update_layout(barmode="group", bargap=0.25)


def table(measures: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    """The same in figures: columns, and a row an estimate."""
    shown = [name for name in ESTIMATES if any(name in row for row in measures.values())]
    rows = [
        [ESTIMATES[n], *(f"{row[n]:{UNITS.get(n, '.2f')}}" if n in row else "-" for row in measures.values())]
        for n in shown
    ]
    return ["estimate", *(labels(audit=True)[m] for m in measures)], rows
