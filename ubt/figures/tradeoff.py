"""Defences side by side: CA against ASR with the Pareto front, both over steps, and where the time goes."""

import html
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.defenses import DEFENSES
from ubt.figures import CLEAN, INK, POISONED, UNKNOWN, hatch, layout, track
from ubt.figures.alt_text import LABEL
from ubt.figures.labels import LETTER, LINE, MARK, Box, Label, apart, beside
from ubt.figures.projection import PALETTE, SYMBOLS
from ubt.figures.small_multiples import small_multiples

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
LOOKS = {"clean": (UNKNOWN, "star", "dot"), "poisoned": (POISONED, "diamond", "longdashdot")}
"""Colour, mark and dash of the two models that have no defence."""
TICKS = (0, 1, 5, 10, 25, 50, 75, 100)
COLUMNS = 2
FRONT, NAMED_AT = "Pareto front", 0.62
"""What the front is called, and at which share of the axis that is said."""
LEAST_WIDTH = 640
"""Pixels that all panels beside each other are drawn at, at least."""
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


@dataclass(frozen=True)
class _Panel:
    """A panel as it is planned: the ranges of its axes, ASR as it is drawn, and its least size in pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float
    height: float

    def pixels(self, x: Any, y: Any) -> np.ndarray:
        """Places (n, 2) from the left and from the top."""
        (left, right), (low, high) = self.x, self.y
        across, up = (np.asarray(x) - left) / (right - left), (np.asarray(y) - low) / (high - low)
        return np.stack([self.width * across, self.height * (1 - up)], axis=1)

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """What lies at places (n, 2), as ASR is drawn and CA."""
        (left, right), (low, high) = self.x, self.y
        share = pixels / (self.width, self.height)
        return np.stack([left + (right - left) * share[:, 0], high - (high - low) * share[:, 1]], axis=1)

    def covered(self, x: Any, y: Any) -> list[Box]:
        """What a line of horizontal and vertical parts through points (n,) covers."""
        at = self.pixels(x, y)
        return [Box(*np.minimum(a, b) - 1, *np.maximum(a, b) + 1) for a, b in pairwise(at)]


def scatter(
    frame: pd.DataFrame, titles: Mapping[str, str], stretched: bool = True, height: int = 480, size: float = 11
) -> go.Figure:
    """CA against ASR, a panel a case, a mark a defence, labelled where it is; marks that would lie on one another are
    moved sideways, each with a line to its place. What a defender cannot have is hollow and no part of the front.

    Args:
        frame: `ubt.reports.paper.compare.cells`. titles: what each case is called, in the order of the panels;
        something of each is measured.
        stretched: ASR on a square-root scale, on which low ones are told apart. height: of a single panel, size: of
        the labels, in pixels.
    """
    columns = min(COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    names = [html.escape(t) for t in titles.values()] if len(titles) > 1 else None
    figure = small_multiples(rows, columns, names, 0.2)
    x = np.sqrt if stretched else np.asarray
    measured, end = frame.dropna(subset=["CA", "ASR"]), float(x(np.array([0.0, 100.0]))[1])
    panel = _planned(measured["CA"].min(), end, rows, columns, height)
    for n, case in enumerate(titles):
        at = {"row": n // columns + 1, "col": n % columns + 1}
        _draw_panel(figure, measured[measured["case"] == case], titles[case], x, panel, size, at)
    layout(figure, height=height if rows == 1 else 90 + 340 * rows)
    figure.update_layout(hovermode="closest", dragmode="zoom", margin={"t": 40}, showlegend=False)
    figure.update_xaxes(range=panel.x, tickvals=x(np.array(TICKS)), ticktext=[str(t) for t in TICKS], zeroline=False)
    for n in range(max(0, len(titles) - columns), len(titles)):
        title = {"text": "ASR (%)" + (", square-root scale" if stretched else "")}
        figure.update_xaxes(title=title, showticklabels=True, row=n // columns + 1, col=n % columns + 1)
    return figure.update_yaxes(range=panel.y).update_yaxes(title={"text": "CA (%)"}, col=1)


def _planned(low: float, end: float, rows: int, columns: int, height: int) -> _Panel:
    """Every panel of a figure whose lowest CA is `low` and whose ASR ends at `end`."""
    y = low - 0.12 * (100 - low) - 0.3, 100 + 0.04 * (100 - low) + 0.1
    high = height - 100 if rows == 1 else 265
    return _Panel((-0.03 * end, 1.02 * end), y, LEAST_WIDTH / columns - 20, high)


def _draw_panel(
    figure: go.Figure, part: pd.DataFrame, title: str, x: Any, panel: _Panel, size: float, at: Mapping[str, int]
) -> None:
    """One case's marks with their labels, its front and its natural ASR; `x`: how ASR is drawn."""
    taken, lines = [], []
    if pd.notna(natural := part["natural ASR"].iloc[0]):
        _add_natural(figure, natural, place := float(x(natural)), at)
        lines += panel.covered([place] * 2, panel.y)
        left, foot = panel.pixels([place], panel.y[:1])[0]
        taken.append(Box(left, foot - 20, left + 100, foot))
    attainable = part[part["possible"]]
    best = attainable.iloc[front(attainable["ASR"].to_numpy(), attainable["CA"].to_numpy())]
    if len(best):
        along = np.append(x(best["ASR"].to_numpy()), panel.x[1] / 1.02)
        taken.append(_add_front(figure, best, along, panel, size, at))
        levels = np.append(best["CA"], best["CA"].iloc[-1])
        lines += panel.covered(np.repeat(along, 2)[1:], np.repeat(levels, 2)[:-1])
    true = np.stack([x(part["ASR"].to_numpy(float)), part["CA"]], axis=1)
    places, whole = panel.pixels(*true.T), Box(0, 0, panel.width, panel.height)
    moved = apart(places, whole)
    shown = np.where((moved == places).all(axis=1)[:, None], true, panel.drawn(moved))
    labels = beside(moved, list(part["defence"]), whole, taken, lines, size)
    for (_, cell), place, drawn, label in zip(part.iterrows(), true, shown, labels, strict=True):
        if (drawn != place).any():
            _add_lead(figure, cell, place, drawn, at)
        figure.add_trace(_mark(cell, title, drawn), **at)
        if label:
            _add_label(figure, cell, label, drawn, size, at)


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


def _add_front(
    figure: go.Figure, best: pd.DataFrame, x: np.ndarray, panel: _Panel, size: float, at: Mapping[str, int]
) -> Box:
    """The Pareto front in the panel `at`, drawn on to the highest ASR, and its name, whose box this returns; `x`:
    places of its cells, and that.
    """
    last = best["CA"].iloc[-1]
    figure.add_scatter(
        x=x,
        y=np.append(best["CA"], last),
        mode="lines",
        line={"shape": "hv", "color": UNKNOWN, "width": 1.6},
        name=FRONT,
        meta=", ".join(best["defence"]),
        hoverinfo="skip",
        **at,
    )
    middle = NAMED_AT * panel.x[1]
    level = best["CA"].to_numpy()[x[:-1] <= middle][-1:].sum() or last
    across, down = panel.pixels([middle], [level])[0]
    half, high = (LETTER * size * len(FRONT) + 4) / 2, LINE * size + 4
    above = down > high
    figure.add_annotation(
        x=middle,
        y=level,
        text=FRONT,
        name=LABEL,
        font={"size": size},
        showarrow=False,
        yanchor="bottom" if above else "top",
        **at,
    )
    top = down - high if above else down
    return Box(across - half, top, across + half, top + high)


def _add_lead(figure: go.Figure, cell: pd.Series, place: np.ndarray, drawn: np.ndarray, at: Mapping[str, int]) -> None:
    """A thin line from the place of a mark to where it was moved."""
    line = {"color": look(cell["method"])[0], "width": 1}
    (x, drawn_x), (y, drawn_y) = zip(place, drawn, strict=True)
    figure.add_scatter(
        x=[x, drawn_x], y=[y, drawn_y], mode="lines", line=line, showlegend=False, hoverinfo="skip", **at
    )


def _add_label(
    figure: go.Figure, cell: pd.Series, label: Label, drawn: np.ndarray, size: float, at: Mapping[str, int]
) -> None:
    """What a mark is, beside it."""
    where: dict[str, Any] = {"showarrow": False, "xshift": label.right, "yshift": -label.down}
    if label.far:
        where = {"ax": label.right, "ay": label.down, "arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": UNKNOWN}
        where |= {"standoff": MARK / 2}
    figure.add_annotation(
        x=drawn[0],
        y=drawn[1],
        text=html.escape(cell["defence"]),
        name=LABEL,
        font={"size": size},
        xanchor=label.anchor,
        yanchor="middle",
        borderpad=0,
        **where,
        **at,
    )


def _mark(cell: pd.Series, case: str, drawn: np.ndarray) -> go.Scatter:
    colour, symbol, _ = look(cell["method"])
    hollow = not cell["possible"]
    figures = "<br>".join(f"{k} {cell[k]:.2f} %" for k in ("CA", "ASR", "RA", "target recall"))
    figures += f"<br>KL {cell['KL']:.3f}" if pd.notna(cell["KL"]) else ""
    note = f"<br><i>{html.escape(cell['state'])}</i>" if cell["state"] else ""
    return go.Scatter(
        x=drawn[:1],
        y=drawn[1:],
        mode="markers",
        name=cell["defence"],
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
