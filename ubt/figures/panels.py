"""Small multiples of the similarity histogram, a panel a case (Figs. 3, 4, 6, 7)."""

import html
import math

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import UNKNOWN, layout
from ubt.figures.similarity import histogram


def panels(frame: pd.DataFrame, columns: int, height: int = 250) -> go.Figure:
    """Each population's share a bin of 0.02, in percent of that population, on axes that all panels share; a panel that is not computed
    yet is empty and says so.

    Args:
        frame: `ubt.tables.figure.Figure.measured`. columns: panels in a row. height: of a row, in pixels.
    """
    rows = math.ceil(len(frame) / columns)
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=[_title(line) for _, line in frame.iterrows()],
        horizontal_spacing=0.03, vertical_spacing=0.28 / rows,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    named: set[str] = set()
    top = 1.0
    for n, (_, line) in enumerate(frame.iterrows()):
        at = {"row": n // columns + 1, "col": n % columns + 1}
        if line["state"]:
            why = "" if line["state"] == "to do" else f"<br>({line['state']})"
            figure.add_annotation(x=0, y=0.5, yref="y domain", text=f"not computed yet{why}", showarrow=False, font={"color": UNKNOWN}, **at)
            continue
        for trace in histogram(line["similarity"], line["poisoned"]).data:
            kind = trace.name.split()[0]
            figure.add_trace(trace.update(legendgroup=kind, showlegend=False), **at)
            if kind not in named:
                key = go.Scatter(x=[None], y=[None], name=kind, mode="lines", fill="tozeroy", legendgroup=kind, hoverinfo="skip")
                figure.add_trace(key.update(line=trace.line, fillpattern=trace.fillpattern, fillcolor=trace.fillcolor), **at)
                named.add(kind)
            top = max(top, *trace.y)
    layout(figure, height=rows * height + 90)
    figure.update_layout(margin={"t": 100}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    figure.update_xaxes(range=[-1, 1], dtick=0.5, hoverformat=".2f").update_yaxes(range=[0, 1.1 * top])
    figure.update_xaxes(title={"text": "cosine similarity"}, row=rows)
    return figure.update_yaxes(title={"text": "share of its pairs (%)"}, col=1)


def _title(line: pd.Series) -> str:
    label = f"<b>{html.escape(line['panel'])}</b>"
    if line["state"]:
        return label
    scores = [f"{line[name]:.3f} {where}" for name, where in (("AUROC in D_susp", "in D_susp"), ("AUROC over D", "over D")) if pd.notna(line[name])]
    counts = f"{(~line['poisoned']).sum():,} clean, {line['poisoned'].sum():,} poisoned"
    return "<br>".join([label, *([f"AUROC {', '.join(scores)}"] if scores else []), counts])


def page(figure: go.Figure, title: str, source: str) -> str:
    """A figure as a page of HTML that needs nothing beside it."""
    chart = figure.to_html(full_html=False, include_plotlyjs=True)
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
    return f'{head}\n<body style="font-family:sans-serif">\n<h1>{html.escape(title)}</h1>\n<p>{html.escape(source)}</p>\n{chart}\n</body></html>\n'
