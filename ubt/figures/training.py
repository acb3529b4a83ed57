"""What happened while a model trained: accuracy, attack success and similarity over steps."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, layout, track

PERCENT = {"ca": ("CA, sample", CLEAN, "solid", "circle"), "asr": ("ASR, sample", POISONED, "solid", "diamond")}
"""Figures in percent: label, colour, dash, marker."""
SIMILARITY = {
    "similarity": ("{of}'s similarity", POISONED, "solid"),
    "led": ("triggered images led to the target", POISONED, "dash"),
    "restored": ("images led back", MODELS["purified"], "dash"),
    "kept": ("images kept", UNKNOWN, "dot"),
}


def rows(history: pd.DataFrame, observed: pd.DataFrame | None) -> pd.DataFrame:
    """What a finished stage's training told, a row a step: its `history`, and beside it what was `observed` on the
    way.
    """
    return history if observed is None else history.merge(observed, on="step", how="outer").sort_values("step")


def curves(rows: pd.DataFrame, steps: int, of: str = "D_unlearn", height: int = 470) -> go.Figure:
    """CA and ASR in percent above, if there are any, similarities below, over optimiser steps.

    Args:
        rows: `step` and any of the figures named here. steps: where the step axis ends. of: the pairs whose mean
            similarity with their own captions, in each batch, `similarity` is.
    """
    below = 1 + any(name in rows for name in PERCENT)
    figure = make_subplots(
        rows=below, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.6, 0.4][-below:]
    )
    for name, (label, colour, dash, symbol) in PERCENT.items():
        if name in rows:
            part = rows.dropna(subset=[name])
            drawn = track(part["step"], part[name], label, (colour, dash, symbol), hovertemplate="%{y:.1f} %")
            figure.add_scatter(**drawn | {"line": {"color": colour, "dash": dash}}, row=1, col=1)
    for name, (label, colour, dash) in SIMILARITY.items():
        if name in rows:
            part = rows.dropna(subset=[name])
            figure.add_scatter(
                x=part["step"],
                y=part[name],
                name=label.format(of=of),
                mode="lines",
                line={"color": colour, "dash": dash},
                hovertemplate="%{y:.3f}",
                row=below,
                col=1,
            )
    layout(figure, height=height if below > 1 else int(0.6 * height)).update_layout(
        showlegend=True, legend={"y": -0.16 if below > 1 else -0.3, "yanchor": "top"}
    )
    if below > 1:
        figure.update_yaxes(title={"text": "percent"}, range=[-3, 103], row=1, col=1)
    figure.update_yaxes(title={"text": "cosine similarity"}, row=below, col=1)
    return figure.update_xaxes(range=[0, steps]).update_xaxes(title={"text": "optimiser step"}, row=below, col=1)
