"""The ASR of a hypothesis, model by model, beside what happens without its trigger."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from ubt.figures import CLEAN, LABELS, POISONED, UNKNOWN, error_bars, hatch, layout

RATES = {
    "natural": ("no trigger", UNKNOWN, ""),
    "control": ("control", CLEAN, "."),
    "asr": ("the suspected trigger", POISONED, "/"),
}


def rates(
    measures: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str] | None = None, height: int = 320
) -> go.Figure:
    """Every model's natural rate, control and hypothesised ASR side by side, with 95 % intervals.

    Args:
        measures: model name to `ubt.evaluation.trigger_hypothesis.measure`'s result; a rate of None is left out.
            labels: what models are called, if not `LABELS`.
    """
    figure, names = go.Figure(), LABELS | dict(labels or {})
    for rate, (title, colour, shape) in RATES.items():
        there = {
            names[model]: (m[rate], *m["intervals"][rate], m["images"][rate])
            for model, m in measures.items()
            if m[rate] is not None
        }
        figure.add_bar(
            x=list(there),
            y=[v for v, *_ in there.values()],
            name=title,
            customdata=[rest for _, *rest in there.values()],
            marker={"color": colour, "pattern": hatch(shape)},
            error_y=error_bars(
                [high - v for v, _, high, _ in there.values()], [v - low for v, low, *_ in there.values()]
            ),
            hovertemplate="%{y:.2f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}] of %{customdata[2]:,}",
        )
    layout(figure, height=height, y="taken for the target (percent, 95 % interval)")
    figure.update_yaxes(range=[0, 104], tickvals=[0, 25, 50, 75, 100])
    return figure.update_layout(barmode="group", bargap=0.3)
