"""Small multiples of the similarity histogram, a panel a case (Figs. 3, 4, 6, 7)."""

import html
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import layout
from ubt.figures.similarity import histogram


def small_multiples(rows: int, columns: int, titles: list[str] | None, gap: float) -> go.Figure:
    """Panels that share their axes, each under its title; `gap`: what lies between the rows, as a share of one row."""
    apart = {"horizontal_spacing": 0.03, "vertical_spacing": gap / rows}
    figure = make_subplots(rows, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=titles, **apart)
    return figure.update_annotations(font={"size": 12})


def panels(frame: pd.DataFrame, columns: int, height: int = 265) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, on axes that all panels share, from the
    lowest similarity there is; a panel that is not computed yet is empty and says so.

    Args:
        frame: `ubt.reports.paper.separation_figures.Separation.measured`. columns: panels in a row. height: of a row,
            in pixels.
    """
    rows, several = math.ceil(len(frame) / columns), frame["row"].nunique() > 1
    figure = small_multiples(rows, columns, [_title(line, several) for _, line in frame.iterrows()], 0.34)
    known = np.concatenate([[], *frame["similarity"][frame["state"] == ""]])
    low = float(np.clip(np.floor(4 * known[np.isfinite(known)].min(initial=1)) / 4, -1, 0.5)) if len(known) else -1
    named: set[str] = set()
    top = 1.0
    for n, (_, line) in enumerate(frame.iterrows()):
        at = {"row": n // columns + 1, "col": n % columns + 1}
        if line["state"]:
            why = "" if line["state"] == "to do" else f"<br>({line['state']})"
            figure.add_annotation(
                x=(low + 1) / 2, y=0.5, yref="y domain", text=f"not computed yet{why}", showarrow=False, **at
            )
            continue
        for trace in histogram(line["similarity"], line["poisoned"]).data:
            kind = trace.name.split()[0]
            figure.add_trace(trace.update(legendgroup=kind, showlegend=False), **at)
            if kind not in named:
                key = go.Scatter(
                    x=[None], y=[None], name=kind, mode="lines", fill="tozeroy", legendgroup=kind, hoverinfo="skip"
                )
                figure.add_trace(
                    key.update(line=trace.line, fillpattern=trace.fillpattern, fillcolor=trace.fillcolor), **at
                )
                named.add(kind)
            top = max(top, *trace.y)
    layout(figure, height=rows * height + 105)
    figure.update_layout(margin={"t": 112}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    figure.update_xaxes(range=[low, 1], dtick=0.25 if columns < 4 else 0.5, hoverformat=".2f").update_yaxes(
        range=[0, 1.1 * top]
    )
    figure.update_xaxes(title={"text": "cosine similarity"}, row=rows)
    return figure.update_yaxes(title={"text": "share of its pairs (%)"}, col=1)


def _title(line: pd.Series, several: bool) -> str:
    label = f"<b>{html.escape(line['row'] + ', ' if several else '')}{html.escape(line['panel'])}</b>"
    if line["state"]:
        return label
    scores = [
        f"{line[name]:.3f} {where}"
        for name, where in (("AUROC in D_susp", "in D_susp"), ("AUROC over D", "over D"))
        if pd.notna(line[name])
    ]
    counts = f"{(~line['poisoned']).sum():,} clean, {line['poisoned'].sum():,} poisoned"
    return "<br>".join([label, *([f"AUROC {',<br>'.join(scores)}"] if scores else []), counts])
