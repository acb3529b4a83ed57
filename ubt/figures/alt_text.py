"""A chart in words, for those who do not see it: what its axes are, and of every trace how many, from where to where,
and where it is highest.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ubt.core.text import visible

LABEL = "label"
"""The name of a remark that says of a mark what its trace says."""
LISTED = 8
"""Values up to which a trace is told value by value; of longer ones the ends and the extremes are."""


def described(figure: go.Figure) -> str:
    """What a plotly figure of `ubt.figures` shows, in sentences: its axes, and panel by panel each trace with its
    counts, and the lines drawn.

    >>> described(go.Figure(go.Bar(x=["CA", "ASR"], y=[98.0, 0.5], name="ours")).update_yaxes(title_text="percent"))
    'percent. ours: CA 98, ASR 0.5.'
    """
    panels: dict[tuple[str, str], list[str]] = {}
    for trace in figure.data:
        if text := _trace(trace, figure):
            panels.setdefault((trace["xaxis"] or "x", trace["yaxis"] or "y"), []).append(text)
    for axes, text in _marks(figure):
        panels.setdefault(axes, []).append(text)
    titles, axes = {at: _panel(figure, *at) for at in panels}, {at: _axes(figure, *at) for at in panels}
    texts = []
    for at, sentences in panels.items():
        head = ": ".join(
            filter(None, (titles[at], axes[at] if len(set(axes.values())) > 1 or at == next(iter(panels)) else ""))
        )
        texts += [f"{head}." if head else "", *(f"{s}." for s in dict.fromkeys(sentences))]
    return " ".join(filter(None, texts)) or "Nothing is drawn."


def plain(text: Any) -> str:
    """A title or name without plotly's markup.

    >>> plain("<b>a</b><br>R&amp;D")
    'a R&D'
    """
    return " ".join(visible(html.unescape(re.sub(r"</?[a-z][^<>]*>", " ", str(text or "")))).split())


def number(value: Any) -> str:
    """
    >>> number(98.0449), number(1e-5), number("ship"), number(1234567)
    ('98.04', '0.00001', 'ship', '1,234,567')
    """
    if isinstance(value, (str, bytes)) or value is None:
        return plain(value)
    if not np.isfinite(value):
        return "none"
    digits = 0 if float(value).is_integer() else 2 if abs(value) >= 10 else 3 if abs(value) >= 1e-3 else 5
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


def _values(some: Any) -> list:
    return [] if some is None else [v.item() if isinstance(v, np.generic) else v for v in some]


def _paired(first: Any, second: Any) -> list[tuple]:
    a, b = _values(first), _values(second)
    known = [(x, y) for x, y in zip(a, b, strict=False) if y is not None and not (isinstance(y, float) and np.isnan(y))]
    return [(x, y) for x, y in known if x is not None and not (isinstance(x, float) and np.isnan(x))]


def _trace(trace: Any, figure: go.Figure) -> str:
    name, kind = plain(trace.name), trace.type
    if (
        kind not in ("heatmap", "image")
        and trace.hoverinfo == "skip"
        and (trace.showlegend is False or not _paired(trace.x, trace.y))
    ):
        return ""
    if isinstance(trace.meta, str):
        return _of(name, plain(trace.meta))
    if kind == "heatmap":
        return _heatmap(trace, figure)
    if kind == "image":
        return "an image"
    if kind == "bar":
        along = trace.orientation == "h"
        pairs = _paired(*((trace.y, trace.x) if along else (trace.x, trace.y)))
        return _of(name, _bars([(_named(figure, trace, key, along), value) for key, value in pairs]))
    if kind in ("scatter", "scattergl"):
        if kind == "scattergl":
            return _of(
                name,
                f"{len(trace.x):,} points"
                + ("" if trace.selectedpoints is None else f", {len(trace.selectedpoints):,} of them selected"),
            )
        pairs = _paired(trace.x, trace.y)
        if "lines" not in (trace.mode or "lines"):
            return _of(name, _points(pairs, trace, figure))
        return _of(name, _filled(pairs) if trace.fill else _line([(_named(figure, trace, x), y) for x, y in pairs]))
    return _of(name, "")


def _of(name: str, text: str) -> str:
    return ": ".join(filter(None, (name, text)))


def _named(figure: go.Figure, trace: Any, key: Any, along: bool = False) -> Any:
    """A place on an axis of a trace as its tick calls it."""
    return _tick(_axis(figure, (trace["yaxis"] or "y") if along else (trace["xaxis"] or "x")), key)


def _tick(axis: Any, key: Any) -> Any:
    ticks, texts = _values(axis.tickvals), _values(axis.ticktext)
    return texts[ticks.index(key)] if texts and key in ticks else key


def _bars(pairs: Sequence[tuple]) -> str:
    if not pairs:
        return "nothing"
    if len(pairs) <= 2 * LISTED:
        return ", ".join(f"{number(key)} {number(value)}" for key, value in pairs)
    ordered, several = sorted(pairs, key=lambda p: p[1]), sum(value for _, value in pairs)
    ends = (
        f"least {number(ordered[0][1])} at {number(ordered[0][0])}, most {number(ordered[-1][1])} at"
        f" {number(ordered[-1][0])}"
    )
    return f"{len(pairs)} bars, together {number(several)}, {ends}"


def _points(pairs: Sequence[tuple], trace: Any, figure: go.Figure) -> str:
    if not pairs:
        return "no point"
    if len(pairs) == 1:
        label = (
            plain(trace.text[0])
            if trace.text is not None and not isinstance(trace.text, str) and len(trace.text)
            else ""
        )
        return _of(label, f"at {_named(figure, trace, number(pairs[0][0]))}, {number(pairs[0][1])}")
    if len(pairs) <= LISTED:
        return "; ".join(f"{number(_named(figure, trace, x))}, {number(y)}" for x, y in pairs)
    spans = [f"{axis} {_span([p[i] for p in pairs])}" for i, axis in ((0, "x"), (1, "y"))]
    return f"{len(pairs):,} points, {', '.join(spans)}"


def _span(values: Iterable) -> str:
    some = list(values)
    if any(isinstance(v, str) for v in some):
        return f"{len(set(some))} names"
    return f"from {number(min(some))} to {number(max(some))}"


def _filled(pairs: Sequence[tuple]) -> str:
    """A histogram: where it is not empty, and where it is highest."""
    there = [(x, y) for x, y in pairs if y > 0]
    if not there:
        return "none"
    x, y = max(there, key=lambda p: p[1])
    return f"from {number(there[0][0])} to {number(there[-1][0])}, highest {number(y)} at {number(x)}"


def _line(pairs: Sequence[tuple]) -> str:
    if not pairs:
        return "nothing measured"
    if len(pairs) <= LISTED:
        return ", ".join(f"{number(y)} at {number(x)}" for x, y in pairs)
    low, high = min(pairs, key=lambda p: p[1]), max(pairs, key=lambda p: p[1])
    ends = f"from {number(pairs[0][1])} at {number(pairs[0][0])} to {number(pairs[-1][1])} at {number(pairs[-1][0])}"
    return f"{ends}, lowest {number(low[1])} at {number(low[0])}, highest {number(high[1])} at {number(high[0])}"


def _heatmap(trace: Any, figure: go.Figure) -> str:
    z = [_values(row) for row in _values(trace.z)]
    ys, xs = _values(trace.y) or range(len(z)), _values(trace.x) or range(len(z[0]) if z else 0)
    cells = [
        (_named(figure, trace, y, along=True), _named(figure, trace, x), v)
        for y, row in zip(ys, z, strict=True)
        for x, v in zip(xs, row, strict=True)
    ]
    known = [(y, x, float(v)) for y, x, v in cells if v is not None and np.isfinite(float(v))]
    if not known:
        return f"{len(cells)} cells, none with a number"
    listed = known if len(known) <= 3 * LISTED else [min(known, key=lambda c: c[2]), max(known, key=lambda c: c[2])]
    values = "; ".join(f"{number(y)} by {number(x)}: {number(v)}" for y, x, v in listed)
    return f"{len(cells)} cells, {len(known)} with a number: {values}"


def _axis(figure: go.Figure, name: str) -> Any:
    return figure.layout[f"{name[0]}axis{name[1:]}"]


def _axes(figure: go.Figure, x: str, y: str) -> str:
    return " by ".join(filter(None, (plain(_axis(figure, name).title.text) for name in (y, x))))


def _marks(figure: go.Figure) -> Iterator[tuple[tuple[str, str], str]]:
    """Lines and remarks that are drawn at a place of an axis, by the panel they are in."""
    for box in figure.layout.shapes:
        if box.name and box.type == "rect":
            at = box.xref or "x", box.yref or "y"
            centre = [
                number(_tick(_axis(figure, axis), (a + b) / 2))
                for axis, a, b in zip(at, (box.x0, box.y0), (box.x1, box.y1), strict=True)
            ]
            yield at, f"{plain(box.name)} at {', '.join(centre)}"
    for remark in figure.layout.annotations:
        if remark.name == LABEL:
            continue
        if remark.xref != "paper" and remark.hovertext:
            yield (
                (
                    remark.xref or "x",
                    (remark.yref or "y").split(" ")[0].replace("paper", (remark.xref or "x").replace("x", "y")),
                ),
                plain(remark.hovertext),
            )
        elif remark.xref != "paper" and (text := plain(remark.text)):
            x = remark.xref or "x"
            y = (remark.yref or "y").split(" ")[0]
            upright = (remark.yref or "").endswith("domain")
            yield (x, y if y != "paper" else x.replace("x", "y")), f"{text} at {number(remark.x)}" if upright else text


def _panel(figure: go.Figure, x: str, y: str) -> str:
    """The title over a panel: the remark at the middle of its top."""
    across, up = _axis(figure, x).domain or (0, 1), _axis(figure, y).domain or (0, 1)
    for remark in figure.layout.annotations:
        if remark.xref == "paper" and abs(remark.x - sum(across) / 2) < 1e-6 and abs(remark.y - up[1]) < 1e-6:
            return plain(remark.text)
    return ""
