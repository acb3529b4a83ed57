"""Where a patch works, and how large and how strong it has to be."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ubt.evaluation.trigger_places import OPACITY, PLACE, SIZE
from ubt.figures import CLEAN, POISONED, layout, track
from ubt.figures.patches import HEAT
from ubt.figures.small_multiples import small_multiples

LOOKS = {"suspect": (POISONED, "solid", "circle"), "reference": (CLEAN, "dash", "diamond")}
TITLES = {SIZE: ("longer side of the patch (px)", "side", 1.0), OPACITY: ("opacity (percent)", "opacity", 100.0)}


def by_place(rates: pd.DataFrame, labels: Mapping[str, str], at: tuple[int, int], height: int = 340) -> go.Figure:
    """The ASR by where the patch's top left corner lies, a map a model; a ring where it lay.

    Args:
        rates: as `ubt.workflows.trigger_places.make` puts them. labels: what models are called. at: top, left.
    """
    some = rates[rates["by"] == PLACE]
    models = list(dict.fromkeys(some["model"]))
    figure = small_multiples(1, len(models), [labels[m] for m in models], 0.12)
    for n, model in enumerate(models, 1):
        grid = some[some["model"] == model].pivot(index="top", columns="left", values="asr")
        figure.add_heatmap(
            z=grid.to_numpy(),
            x=grid.columns,
            y=grid.index,
            zmin=0,
            zmax=100,
            colorscale=HEAT,
            showscale=n == len(models),
            colorbar={"title": {"text": "ASR (percent)", "side": "right"}, "thickness": 12},
            hovertemplate="left %{x} px, top %{y} px: ASR %{z:.0f} %<extra></extra>",
            row=1,
            col=n,
        )
        figure.update_yaxes(scaleanchor=f"x{n}" if n > 1 else "x", constrain="domain", row=1, col=n)
        ring = {"color": "rgba(0,0,0,0)", "size": 15, "line": {"color": "#FFFFFF", "width": 3}}
        figure.add_scatter(
            x=[at[1]], y=[at[0]], mode="markers", marker=ring, showlegend=False, row=1, col=n, hoverinfo="skip"
        )
    layout(figure, height=height).update_layout(hovermode="closest")
    figure.update_xaxes(title={"text": "left edge (px)"}, constrain="domain", matches=None, showgrid=False)
    figure.update_yaxes(autorange="reversed", matches=None, showticklabels=True, showgrid=False, zeroline=False)
    return figure.update_yaxes(title={"text": "top edge (px)"}, col=1)


def curve(rates: pd.DataFrame, by: str, labels: Mapping[str, str], height: int = 280) -> go.Figure:
    """The ASR by size or opacity, a line a model with its 95 % interval.

    Args:
        by: `SIZE` or `OPACITY`, of `ubt.evaluation.trigger_places`.
    """
    said, column, times = TITLES[by]
    figure = go.Figure()
    for model, part in rates[rates["by"] == by].groupby("model", sort=False):
        colour, dash, symbol = LOOKS[str(model)]
        x, error = times * part[column].to_numpy(np.float64), (part["high"] - part["asr"], part["asr"] - part["low"])
        drawn = track(x, part["asr"].to_numpy(), labels[str(model)], (colour, dash, symbol), hovertemplate="%{y:.0f} %")
        figure.add_scatter(**drawn, error_y={"array": error[0], "arrayminus": error[1], "thickness": 1, "width": 3})
    layout(figure, height=height, x=said, y="ASR (percent, 95 % interval)")
    return figure.update_yaxes(range=[-3, 104])
