"""What settings do to measures: a heat-map a measure over two settings, lines over one."""

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.figures import CLEAN, INK, MODELS, POISONED, UNKNOWN, error_bars, layout, mark, track

SCALE = [[0, "#F9D9B0"], [0.5, "#B3C6D0"], [1, "#4C97CC"]]
"""Worse to better: lighter to darker and orange to blue; each stands out from light and dark pages, and dark text from
each.
"""
LEAST = {"percent": 5.0, "cosine": 0.05}
"""What a scale or an axis spans at least, so that noise does not look like a cliff, by unit."""
DASHES = {"default": "solid", "paper": "dot"}
INSET = {"default": 0.47, "paper": 0.4}
LINES = ((POISONED, "solid", "circle"), (CLEAN, "dash", "diamond"), (MODELS["purified"], "dot", "square"))
"""Colour, dash and symbol of a panel's lines."""


def heat(
    frame: pd.DataFrame, y: str, x: str, measures: Mapping[str, bool], marks: Mapping[str, str], height: int = 300
) -> go.Figure:
    """A heat-map an attack and measure, the number written in each cell, coloured from worse to better; a cell that is
    not measured is empty and says why, and the marked ones are framed.

    Args:
        frame: `ubt.reports.paper.sweep.Sweep.measured`, a row a cell, of two settings, whose values the columns `y` and
            `x` hold. measures: column, in percent, to whether more of it is better. marks: column of yes and no to what
            its cells are. height: of a row of panels, in pixels.
    """
    attacks = list(dict.fromkeys(frame["attack"]))
    panels = [(attack, measure) for attack in attacks for measure in measures]
    columns = 3 if len(measures) == 3 else 2
    rows = -(-len(panels) // columns)
    titles = [
        f"<b>{html.escape(f'{a}: ' * (len(attacks) > 1) + m)}</b> (%), {'more' if measures[m] else 'less'} is better"
        for a, m in panels
    ]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.09, vertical_spacing=0.38 / rows)
    figure.update_annotations(font={"size": 12})
    places = {axis: {value: i for i, value in enumerate(sorted(frame[axis].unique()))} for axis in (x, y)}
    for n, (attack, measure) in enumerate(panels):
        at = {"row": n // columns + 1, "col": n % columns + 1}
        cells = frame[frame["attack"] == attack]
        figure.add_trace(_cells(cells, y, x, measure, measures[measure], places, frame[measure]), **at)
        for _, line in cells[cells[measure].isna()].iterrows():
            centre = {"x": places[x][line[x]], "y": places[y][line[y]]}
            figure.add_annotation(
                **centre, text=_why(line["state"]).replace(", ", ",<br>"), showarrow=False, font={"size": 10}, **at
            )
        for name, label in marks.items():
            for _, line in cells[cells[name]].iterrows():
                _frame(figure, places[x][line[x]], places[y][line[y]], name, label, at)
    key = {"x": [None], "y": [None], "hoverinfo": "skip"}
    for (_, colour), label in zip(SCALE[::2], ("worse", "better"), strict=True):
        square = {"color": colour, "size": 14, "symbol": "square"}
        figure.add_scatter(**key, mode="markers", name=label, marker=square)
    for name, label in marks.items():
        if frame[name].any():
            line = {"color": UNKNOWN, "width": 3, "dash": DASHES[name]}
            figure.add_scatter(**key, mode="lines", name=label, line=line)
    layout(figure, height=rows * height + 60)
    for axis, update in ((x, figure.update_xaxes), (y, figure.update_yaxes)):
        ticks = places[axis]
        update(
            title={"text": html.escape(axis)},
            tickvals=list(ticks.values()),
            ticktext=[f"{v:g}" for v in ticks],
            range=[-0.5, len(ticks) - 0.5],
            showgrid=False,
            zeroline=False,
        )
    figure.update_layout(margin={"t": 80}, legend={"y": 1, "yref": "container", "yanchor": "top"}, hovermode="closest")
    return figure


def _cells(
    cells: pd.DataFrame, y: str, x: str, measure: str, rising: bool, places: Mapping, everywhere: pd.Series
) -> go.Heatmap:
    size = len(places[y]), len(places[x])
    z, text, seeds = np.full(size, np.nan), np.full(size, "", object), np.full(size, "", object)
    for _, line in cells.iterrows():
        at = places[y][line[y]], places[x][line[x]]
        z[at], text[at] = line[measure], _said(line[measure], line[f"{measure} spread"], line["state"])
        seeds[at] = f"seeds: {line['seeds']}" + (f" ({html.escape(line['state'])})" if line["state"] else "")
    low, high = everywhere.min(), everywhere.max()
    margin = max(0.0, LEAST["percent"] - (high - low)) / 2
    return go.Heatmap(
        x=list(places[x].values()),
        y=list(places[y].values()),
        z=z,
        text=text,
        customdata=seeds,
        texttemplate="%{text}",
        textfont={"color": INK},
        hovertemplate="%{z:.2f} %, %{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=SCALE,
        reversescale=not rising,
        showscale=False,
        zmin=low - margin,
        zmax=high + margin,
        xgap=3,
        ygap=3,
    )


def _why(state: str) -> str:
    """Why there is no number."""
    return {"to do": "to do", "partial": "to do", "": "undefined"}.get(state, html.escape(state))


def _said(mean: float, spread: float, state: str) -> str:
    """What a cell says."""
    if pd.isna(mean):
        return ""
    said = f"{mean:.2f}" + ("" if pd.isna(spread) else f"<br>± {spread:.2f}")
    return said + (f"<br>({html.escape(state)})" if state else "")


def _frame(figure: go.Figure, x: int, y: int, name: str, label: str, at: dict) -> None:
    """A frame around a cell, dark on light, so that it stands out from any cell and any page."""
    reach = INSET[name]
    box = {"type": "rect", "x0": x - reach, "x1": x + reach, "y0": y - reach, "y1": y + reach}
    for colour, width, dash in (("#FFFFFF", 4, "solid"), (INK, 2, DASHES[name])):
        line = {"color": colour, "width": width, "dash": dash}
        figure.add_shape(**box, fillcolor="rgba(0,0,0,0)", line=line, name=label, **at)


def lines(
    frame: pd.DataFrame,
    x: str,
    panels: Mapping[str, Mapping[str, str]],
    units: Mapping[str, str],
    marks: Mapping[str, str],
    height: int = 300,
) -> go.Figure:
    """A panel an attack and measure with a line for each model, the setting's values evenly spaced, the spread over
    seeds as bars; what is not measured is said at its place.

    Args:
        frame: `ubt.reports.paper.sweep.Sweep.measured`, a row a value of the one setting, which the column `x` holds.
            panels: of each measure, a model to its column. units: of each measure. marks: column of yes and no to what
            its values are. height: of a row of panels, in pixels.
    """
    attacks = list(dict.fromkeys(frame["attack"]))
    places = {value: i for i, value in enumerate(sorted(frame[x].unique()))}
    shown = [(attack, what) for attack in attacks for what in panels]
    rows = -(-len(shown) // 2)
    titles = [f"<b>{html.escape(f'{a}: ' * (len(attacks) > 1) + what)}</b>" for a, what in shown]
    figure = make_subplots(rows, 2, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.38 / rows)
    figure.update_annotations(font={"size": 12})
    layout(figure, height=rows * height + 60, x=html.escape(x))
    for n, (attack, what) in enumerate(shown):
        at = {"row": n // 2 + 1, "col": n % 2 + 1}
        cells = frame[frame["attack"] == attack].sort_values(x)
        place = cells[x].map(places)
        for (model, column), look in zip(panels[what].items(), LINES, strict=False):
            spread = cells[f"{column} spread"].astype(float)
            key = {"legendgroup": model, "showlegend": n == 0, "connectgaps": False, "customdata": cells["seeds"]}
            figure.add_scatter(
                **track(place, cells[column].astype(float), model, look, 9, **key),
                error_y=error_bars(spread, colour=None) | {"visible": bool(spread.notna().any())},
                hovertemplate="%{y:.3f}, seeds: %{customdata}",
                **at,
            )
        for _, line in cells[cells["seeds"] == 0].iterrows():
            note = {"text": _why(line["state"]), "textangle": -90, "showarrow": False, "font": {"size": 10}}
            figure.add_annotation(x=places[line[x]], xshift=9, y=0.03, yref="y domain", yanchor="bottom", **note, **at)
        for value, label in _marked(cells, x, marks).items():
            mark(figure, places[value], label, "right", **at)
        figure.update_yaxes(
            title={"text": units[what]}, range=_span(frame, list(panels[what].values()), LEAST[units[what]]), **at
        )
    figure.update_xaxes(
        tickvals=list(places.values()), ticktext=[f"{v:g}" for v in places], range=[-0.3, len(places) - 0.7]
    )
    return figure.update_layout(margin={"t": 80}, legend={"y": 1, "yref": "container", "yanchor": "top"})


def _span(frame: pd.DataFrame, columns: list[str], least: float) -> tuple[float, float] | None:
    """The range of an axis that holds these columns with their spreads, and some room; None if they are empty."""
    values, spreads = frame[columns].to_numpy(float), frame[[f"{c} spread" for c in columns]].fillna(0).to_numpy(float)
    if np.isnan(values).all():
        return None
    low, high = np.nanmin(values - spreads), np.nanmax(values + spreads)
    room = max(least - (high - low), 0.2 * (high - low)) / 2
    return float(low - room), float(high + room)


def _marked(cells: pd.DataFrame, x: str, marks: Mapping[str, str]) -> dict[float, str]:
    """The marked values, and what each of them is."""
    found: dict[float, list[str]] = {}
    for name, label in marks.items():
        for value in cells.loc[cells[name], x]:
            found.setdefault(value, []).append(label)
    return {value: ", ".join(labels) for value, labels in found.items()}
