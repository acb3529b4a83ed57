"""What a model does as more and more of a task vector is taken from its weights."""

import pandas as pd
import plotly.graph_objects as go

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, layout, track

LOOKS = {
    "asr": ("ASR", POISONED, "solid", "circle"),
    "ca": ("CA", CLEAN, "dash", "diamond"),
    "ra": ("RA", MODELS["purified"], "dot", "square"),
    "target_recall": ("target recall", UNKNOWN, "dashdot", "triangle-up"),
}
"""Label, colour, dash and symbol of each measure."""


def lines(frame: pd.DataFrame, at: float, chosen: float, height: int = 340) -> go.Figure:
    """Measures in percent over alpha, the alpha in view and the one that clean pairs chose marked.

    Args:
        frame: `alpha` and the measures, see `ubt.evaluation.judge.along`.
    """
    figure = go.Figure()
    for name, (label, colour, dash, symbol) in LOOKS.items():
        figure.add_scatter(**track(frame["alpha"], frame[name], label, (colour, dash, symbol)))
    layout(figure, height=height, x="alpha", y="percent").update_yaxes(range=[-4, 104])
    figure.update_traces(hovertemplate="%{y:.1f} %")
    figure.add_vline(chosen, line={"width": 1, "dash": "dot", "color": UNKNOWN})
    figure.add_annotation(x=chosen, y=104, text="chosen", showarrow=False, xanchor="left", xshift=4, yanchor="top")
    return figure.add_vline(at, line={"width": 1.5, "dash": "dash", "color": UNKNOWN})
