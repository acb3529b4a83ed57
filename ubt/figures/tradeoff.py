"""Defences side by side: CA against ASR with the Pareto front, both over steps, and where the time goes."""

import html
import math
import zlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.defenses import DEFENSES
from ubt.figures import CLEAN, INK, POISONED, UNKNOWN, hatch, layout, track
from ubt.figures.projection import PALETTE, SYMBOLS
from ubt.figures.small_multiples import small_multiples

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
LOOKS = {"clean": (UNKNOWN, "star", "dot"), "poisoned": (POISONED, "diamond", "longdashdot")}
"""Colour, mark and dash of the two models that have no defence."""
TICKS = (0, 1, 5, 10, 25, 50, 75, 100)
COLUMNS = 3
BESIDE = {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top"}
"""A legend to the right of the panels."""


def look(method: str) -> tuple[str, str, str]:
    """Colour, mark and dash of a method, the same wherever it is drawn: a defence's own, or one taken from its name."""
    if method in LOOKS:
        return LOOKS[method]
    at = zlib.crc32(method.encode())
    derived = PALETTE[at % len(PALETTE)], SYMBOLS[at // 16 % len(SYMBOLS)], DASHES[at // 256 % len(DASHES)]
    return (DEFENSES[method].look if method in DEFENSES else None) or derived


def front(asr: np.ndarray, ca: np.ndarray) -> np.ndarray:
    """The places (m,) of what nothing beats among ASR and CA (n,), lowest ASR first: no other has a lower ASR at the
    same CA or a higher, or a higher CA at the same ASR or a lower.

    >>> front(np.array([0.0, 5.0, 90.0, 1.0]), np.array([95.0, 94.0, 98.0, 97.0])).tolist()
    [0, 3, 2]
    """
    kept, best = [], -math.inf
    for place in np.lexsort((-np.asarray(ca), np.asarray(asr))):
        if ca[place] > best:
            kept.append(place)
            best = ca[place]
    return np.array(kept, int)


def scatter(frame: pd.DataFrame, titles: Mapping[str, str], stretched: bool = True, height: int = 480) -> go.Figure:
    """CA against ASR, a panel a case, a mark a defence. What a defender cannot have is hollow and no part of the front.

    Args:
        frame: `ubt.reports.paper.compare.cells`. titles: what each case is called, in the order of the panels;
        something of each is measured.
        stretched: ASR on a square-root scale, on which low ones are told apart. height: of a single panel, in pixels.
    """
    columns = min(COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    names = [html.escape(t) for t in titles.values()] if len(titles) > 1 else None
    figure = small_multiples(rows, columns, names, 0.2)
    x = np.sqrt if stretched else np.asarray
    measured, end = frame.dropna(subset=["CA", "ASR"]), x(np.array([0.0, 100.0]))[1]
    keyed, rank = set(), {method: 1001 + n for n, method in enumerate(frame["method"].unique())}
    for n, case in enumerate(titles):
        at, part = {"row": n // columns + 1, "col": n % columns + 1}, measured[measured["case"] == case]
        if pd.notna(natural := part["natural ASR"].iloc[0]):
            _add_natural(figure, natural, float(x(natural)), at)
        attainable = part[part["possible"]]
        best = attainable.iloc[front(attainable["ASR"].to_numpy(), attainable["CA"].to_numpy())]
        if len(best):
            _add_front(figure, best, np.append(x(best["ASR"].to_numpy()), end), "front" not in keyed, at)
            keyed.add("front")
        for _, cell in part.iterrows():
            mark = _mark(cell, titles[case], float(x(cell["ASR"])))
            figure.add_trace(mark.update(showlegend=cell["method"] not in keyed, legendrank=rank[cell["method"]]), **at)
            keyed.add(cell["method"])
    layout(figure, height=height if rows == 1 else 90 + 300 * rows)
    figure.update_layout(hovermode="closest", dragmode="zoom", margin={"t": 40}, legend=BESIDE)
    pad = 0.02 * end
    figure.update_xaxes(
        range=[-1.5 * pad, end + pad], tickvals=x(np.array(TICKS)), ticktext=[str(t) for t in TICKS], zeroline=False
    )
    for n in range(max(0, len(titles) - columns), len(titles)):
        title = {"text": "ASR (%)" + (", square-root scale" if stretched else "")}
        figure.update_xaxes(title=title, showticklabels=True, row=n // columns + 1, col=n % columns + 1)
    low = measured["CA"].min()
    return figure.update_yaxes(range=[low - 0.12 * (100 - low) - 0.3, 100 + 0.04 * (100 - low) + 0.1]).update_yaxes(
        title={"text": "CA (%)"}, col=1
    )


def _add_natural(figure: go.Figure, natural: float, x: float, at: Mapping[str, int]) -> None:
    """A line at the ASR that a model without a backdoor has, in the panel `at`."""
    label = {"text": f" natural {natural:.2f} % ", "hovertext": f"natural ASR {natural:.2f} %", "font": {"size": 11}}
    figure.add_vline(
        x=x,
        line={"width": 1.3, "dash": "dot", "color": UNKNOWN},
        annotation=label,
        annotation_position="bottom right",
        exclude_empty_subplots=False,
        **at,
    )


def _add_front(figure: go.Figure, best: pd.DataFrame, x: np.ndarray, in_legend: bool, at: Mapping[str, int]) -> None:
    """The Pareto front in the panel `at`, drawn on to the highest ASR; `x`: places of its cells, and that."""
    figure.add_scatter(
        x=x,
        y=np.append(best["CA"], best["CA"].iloc[-1]),
        mode="lines",
        line={"shape": "hv", "color": UNKNOWN, "width": 1.6},
        name="Pareto front",
        legendgroup="front",
        meta=", ".join(best["defence"]),
        showlegend=in_legend,
        hoverinfo="skip",
        **at,
    )


def _mark(cell: pd.Series, case: str, x: float) -> go.Scatter:
    colour, symbol, _ = look(cell["method"])
    hollow = not cell["possible"]
    figures = "<br>".join(f"{k} {cell[k]:.2f} %" for k in ("CA", "ASR", "RA", "target recall"))
    figures += f"<br>KL {cell['KL']:.3f}" if pd.notna(cell["KL"]) else ""
    note = f"<br><i>{html.escape(cell['state'])}</i>" if cell["state"] else ""
    return go.Scatter(
        x=[x],
        y=[cell["CA"]],
        mode="markers",
        name=cell["defence"],
        legendgroup=cell["method"],
        cliponaxis=False,
        meta=figures.replace("<br>", ", "),
        customdata=[[cell["case"], cell["method"]]],
        hovertemplate=f"<b>{html.escape(cell['defence'])}</b><br>{html.escape(case)}<br>{figures}{note}<extra></extra>",
        marker={
            "symbol": f"{symbol}-open" if hollow else symbol,
            "color": colour,
            "size": 12,
            "line": {"width": 2 if hollow else 0, "color": colour},
        },
    )


def curves(frame: pd.DataFrame, height: int = 380) -> go.Figure:
    """CA and ASR while each method's model trains, over the share of its steps.

    Args:
        frame: `ubt.reports.paper.compare.observed`.
    """
    figure = make_subplots(1, 2, subplot_titles=("CA", "ASR"), horizontal_spacing=0.07)
    for method, part in frame.groupby("method", sort=False):
        colour, symbol, dash = look(method)
        steps = np.column_stack([part["step"], np.full(len(part), part["step"].max())])
        for col, measure in enumerate(("ca", "asr"), 1):
            name, key = part["defence"].iloc[0], {"legendgroup": method, "showlegend": col == 1, "customdata": steps}
            said = "%{y:.1f} %, step %{customdata[0]} of %{customdata[1]}"
            drawn = track(part["share"], part[measure], name, (colour, dash, symbol), hovertemplate=said, **key)
            figure.add_scatter(**drawn, row=1, col=col)
    layout(figure, height=height, x="share of the steps (%)")
    figure.update_layout(legend=BESIDE, hovermode="closest")
    figure.update_yaxes(title={"text": "percent, sample"}, col=1).update_yaxes(range=[-3, 103], col=2)
    return figure.update_xaxes(range=[-2, 102])


def times(frame: pd.DataFrame) -> go.Figure:
    """Seconds of every stage, a bar a method: training of M_bd or in its place, hatched, then the defence.

    Args:
        frame: `ubt.reports.paper.compare.stages`.
    """
    figure, shades = go.Figure(), {"training": (UNKNOWN,), "defence": (CLEAN, "#4791C6")}
    rows = list(frame["defence"].unique())[::-1]
    place: dict[tuple[str, str], int] = {}
    keyed: set[str] = set()
    for _, line in frame.sort_values("part", ascending=False, kind="stable").iterrows():
        nth = place[line["defence"], line["part"]] = place.get((line["defence"], line["part"]), -1) + 1
        part = line["part"]
        figure.add_bar(
            x=[line["seconds"]],
            y=[line["defence"]],
            orientation="h",
            name="training of the model" if part == "training" else "defence",
            legendgroup=part,
            showlegend=part not in keyed,
            text=line["stage"],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertemplate=f"{html.escape(line['stage'])}: %{{x:.1f}} s<extra></extra>",
            meta=f"{line['defence']}, {line['stage']} {line['seconds']:.1f} s",
            textfont={"color": INK, "size": 11},
            marker={
                "color": shades[part][nth % len(shades[part])],
                "line": {"width": 0.6, "color": "white"},
                "pattern": hatch("/" if part == "training" else "", 0.35, 0.2),
            },
        )
        keyed.add(part)
    for name, whole in frame.groupby("defence", sort=False)["seconds"].sum().items():
        said = {"text": f" {whole:.0f} s", "hovertext": f"{name} {whole:.0f} s together", "font": {"size": 11}}
        figure.add_annotation(x=whole, y=name, showarrow=False, xanchor="left", **said)
    layout(figure, height=110 + 30 * max(2, len(rows)), x="seconds")
    figure.update_xaxes(range=[0, 1.08 * _longest(frame)])
    return figure.update_yaxes(categoryorder="array", categoryarray=rows).update_layout(
        barmode="stack", bargap=0.25, hovermode="closest", uniformtext={"minsize": 10, "mode": "hide"}
    )


def _longest(frame: pd.DataFrame) -> float:
    return max(1.0, float(frame.groupby("defence")["seconds"].sum().max()))
