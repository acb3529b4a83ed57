"""A plotly figure of this package as SVG, drawn without a browser: for pages that no script may run on.

It takes the figure as it is, traces, ranges, ticks, lines and remarks, and draws it with matplotlib. Of plotly it knows
what the figures in reports use: lines, filled steps, markers, bars (side by side, stacked, over each other, upright or
lying), error bars, rectangles and lines.
"""

import html
import re
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ubt.core.errors import UbtError
from ubt.core.text import visible
from ubt.figures.alt_text import described
from ubt.figures.mask_pictures import saved

INK, FAINT = "#010203", "#040506"
"""What text and grid are drawn in, to become the page's own colour."""
PX = 1 / 96
DASHES = {
    None: "-",
    "solid": "-",
    "dot": ":",
    "dash": "--",
    "dashdot": "-.",
    "longdash": (0, (8, 3)),
    "longdashdot": (0, (8, 2, 1.5, 2)),
}
MARKERS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "star": "*",
    "x": "X",
    "cross": "P",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "hexagon": "h",
    "x-thin": "x",
}
HATCHES = {"/": "////", "x": "xxx", "-": "---", ".": "...", "": None, None: None}
STEPS = {"hvh": "steps-mid", "hv": "steps-post", "vh": "steps-pre"}


def svg(figure: go.Figure, width: int = 640, name: str = "figure") -> str:
    """A figure as an SVG element: text stays text in the page's colour, and its alternative is
    `ubt.figures.alt_text.described`.

    Args:
        width: in pixels; the height is the figure's. name: what the ids inside begin with, another one for each figure
            of a page.

    Raises:
        UbtError: the figure has a kind of trace that is not known here.
    """
    drawn = Drawn(figure, width)
    text = saved(drawn.canvas, "SVG").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor").replace(FAINT, "currentColor")
    description = html.escape(described(figure))
    box = re.search(r'viewBox="[^"]+"', text).group()
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box} role="img"'
        f' aria-label="{description}" '
    )
    return root + f'style="max-width:{width}px;stroke-linejoin:round">' + text[text.index(">") + 1 :].strip()


class Drawn:
    """One figure on its way to matplotlib."""

    def __init__(self, figure: go.Figure, width: int):
        self.figure, self.layout = figure, figure.layout
        self.keys: dict[str, Any] = {}
        self.bars: dict[tuple, list] = {}
        self.tops: dict[tuple, np.ndarray] = {}
        self.names: dict[str, list[str]] = {}
        shown = [t for t in figure.data if t.name and t.showlegend is not False]
        per = max(1, width // max([90, *(7 * len(_text(t.name)) + 46 for t in shown)]))
        lines = -(-len({_text(t.name) for t in shown}) // per)
        titled = any(a.xref == "paper" for a in self.layout.annotations)
        height = max(120, self.layout.height or 320) + 8
        self.canvas = Figure(figsize=(width * PX, height * PX))
        self.canvas.patch.set_visible(False)
        top = 14 + 19 * lines + 20 * titled
        self.area = (66, 54, width - 66 - 14, height - 54 - top)
        self.width, self.height = width, height
        self.axes: dict[tuple[str, str], Axes] = {}
        with matplotlib.rc_context({"font.size": 8.5, "hatch.linewidth": 0.7, "axes.unicode_minus": False}):
            for trace in figure.data:
                self._trace(trace)
            for pair, traces in self.bars.items():
                self._bars(pair, traces)
            for shape in self.layout.shapes:
                self._shape(shape)
            for remark in self.layout.annotations:
                self._remark(remark)
            for pair, ax in self.axes.items():
                self._finish(ax, *pair)
            if self.keys:
                key = self.canvas.legend(
                    list(self.keys.values()),
                    list(self.keys),
                    loc="upper left",
                    bbox_to_anchor=(56 / width, 1),
                    ncols=per,
                    frameon=False,
                    handlelength=2.2,
                    columnspacing=1.4,
                    borderaxespad=0.4,
                )
                for entry in key.get_texts():
                    entry.set(color=INK, parse_math=False)

    def _on(self, thing: Any) -> Axes:
        """The axes that a trace, shape or remark is on."""
        x, y = (
            (getattr(thing, k, None) or k[0])
            for k in (("xaxis", "yaxis") if hasattr(thing, "xaxis") else ("xref", "yref"))
        )
        pair = x.split(" ")[0], y.split(" ")[0]
        if pair not in self.axes:
            across, up = self._axis(pair[0]).domain or (0, 1), self._axis(pair[1]).domain or (0, 1)
            left, bottom, wide, tall = self.area
            box = left + wide * across[0], bottom + tall * up[0], wide * (across[1] - across[0]), tall * (up[1] - up[0])
            self.axes[pair] = self.canvas.add_axes(np.array(box) / (self.width, self.height, self.width, self.height))
            self.axes[pair].patch.set_visible(False)
        return self.axes[pair]

    def _axis(self, name: str) -> Any:
        return self.layout[f"{name[0]}axis{name[1:]}"]

    def _places(self, axis: str, values: Any) -> np.ndarray:
        """Places on an axis: numbers as they are, names by their order."""
        items = [] if values is None else list(values)
        if not any(isinstance(v, str) for v in items):
            return np.array([np.nan if v is None else v for v in items], float)
        known = self.names.setdefault(axis, [str(v) for v in self._axis(axis).categoryarray or ()])
        known += [v for v in dict.fromkeys(items) if v not in known]
        return np.array([known.index(v) for v in items], float)

    def _key(self, trace: Any, handle: Any) -> None:
        if trace.name and trace.showlegend is not False:
            self.keys.setdefault(_text(trace.name), handle)

    def _trace(self, trace: Any) -> None:
        if trace.type not in ("scatter", "bar"):
            raise UbtError(f"expected lines, markers or bars, got a trace of type {trace.type}")
        ax = self._on(trace)
        if trace.type == "bar":
            self.bars.setdefault((trace.xaxis or "x", trace.yaxis or "y"), []).append(trace)
            return
        x, y = self._places(trace.xaxis or "x", trace.x), self._places(trace.yaxis or "y", trace.y)
        mode = trace.mode or "lines"
        look: dict[str, Any] = {"alpha": trace.opacity, "linestyle": "none", "clip_on": trace.cliponaxis is not False}
        if "lines" in mode:
            look |= _line(trace)
        if "markers" in mode:
            look |= _markers(trace, look)
        handle = _fill(ax, trace, x, y, look) if trace.fill == "tozeroy" and len(x) else None
        bars = trace.error_y
        if bars.array is not None and bars.visible is not False:
            colour = _colour(bars.color) or look["color"]
            ax.errorbar(x, y, yerr=_spread(bars), fmt="none", ecolor=colour, elinewidth=1, capsize=3)
        (line,) = ax.plot(x, y, **look)
        self._key(trace, handle or line)
        if "text" in mode and trace.text is not None:
            for at, where, text in zip(x, y, trace.text, strict=False):
                bold = {"weight": "bold"} if "<b>" in str(text) else {}
                beside = trace.textposition == "middle left"
                place = {"ha": "right", "va": "center"} if beside else {"ha": "center"}
                _note(ax, text, (at, where), (-8, 0) if beside else (0, 8), **place, **bold)

    def _bars(self, pair: tuple[str, str], traces: list) -> None:
        ax, mode = self._on(traces[0]), self.layout.barmode or "group"
        gap = 0.2 if self.layout.bargap is None else self.layout.bargap
        for n, trace in enumerate(traces):
            lying = trace.orientation == "h"
            keys, values = (trace.y, trace.x) if lying else (trace.x, trace.y)
            at, size = self._places(pair[1] if lying else pair[0], keys), np.nan_to_num(self._places("", values))
            wide = np.broadcast_to(np.asarray(1 - gap if trace.width is None else trace.width, float), len(at))
            if mode == "group" and trace.width is None:
                wide = wide / len(traces)
                at = at + (n - (len(traces) - 1) / 2) * wide
            base = np.zeros(len(at))
            if mode == "stack":
                sums = self.tops.setdefault(pair, {})
                base = np.array([sums.get(p, 0.0) for p in at])
                sums |= {p: b + s for p, b, s in zip(at, base, size, strict=True)}
            pattern, opacity = trace.marker.pattern, trace.marker.opacity if trace.opacity is None else trace.opacity
            colour, shape = _each(trace.marker.color, len(at)), _each(pattern.shape, len(at))
            drawn, look = ax.barh if lying else ax.bar, {"linewidth": 0, "alpha": opacity, "zorder": 2}
            made: BarContainer = drawn(at, size, wide, base, color=[_colour(c) for c in colour], **look)
            for patch, kind in zip(made, shape, strict=True):
                if HATCHES[kind]:
                    patch.set(hatch=HATCHES[kind], edgecolor=_colour(pattern.fgcolor) or "white")
            if trace.error_y.array is not None:
                ax.errorbar(
                    at, size, yerr=_spread(trace.error_y), fmt="none", ecolor=INK, elinewidth=1, capsize=2.5, zorder=3
                )
            for place, value, text in zip(at, size, trace.text if trace.text is not None else (), strict=False):
                _note(ax, text, (value, place), (4, 0), va="center", annotation_clip=False)
            self._key(trace, made)

    def _shape(self, shape: Any) -> None:
        ax = self._on(shape)
        colour, width = _colour(shape.line.color), 0.75 * (shape.line.width or 0)
        if shape.type == "rect":
            box = (shape.x0, shape.y0), shape.x1 - shape.x0, shape.y1 - shape.y0
            look = {"facecolor": _colour(shape.fillcolor), "alpha": shape.opacity, "zorder": 0}
            ax.add_patch(Rectangle(*box, linewidth=width, edgecolor=colour, **look))
        elif shape.type == "line":
            transform = ax.get_xaxis_transform() if str(shape.yref).endswith("domain") else ax.transData
            look = {"color": colour, "linewidth": width, "linestyle": DASHES[shape.line.dash], "zorder": 1}
            ax.plot([shape.x0, shape.x1], [shape.y0, shape.y1], transform=transform, **look)

    def _remark(self, remark: Any) -> None:
        if remark.xref == "paper":
            left, bottom, wide, tall = self.area
            at = (left + wide * remark.x) / self.width, (bottom + tall * remark.y + 5) / self.height
            style = {"ha": "center", "va": "bottom", "weight": "bold", "color": INK, "parse_math": False}
            self.canvas.text(*at, _text(remark.text), **style)
            return
        ax, domain = self._on(remark), str(remark.yref).endswith("domain")
        places = {"left": "left", "right": "right", "center": "center", None: "center", "auto": "center"}
        ups = {"top": "top", "bottom": "bottom", "middle": "center", None: "center", "auto": "center"}
        axes = remark.xref or "x", "" if domain else remark.yref or "y"
        where = tuple(self._places(axis, [at])[0] for axis, at in zip(axes, (remark.x, remark.y), strict=True))
        transform = ax.get_xaxis_transform() if domain else ax.transData
        across, up = places[remark.xanchor], ups[remark.yanchor]
        shift = {"left": 4, "right": -4}.get(across, 0), {"bottom": 3, "top": -2}.get(up, 0)
        style = {"ha": across, "va": up, "fontsize": 7.5, "clip_on": False, "annotation_clip": False}
        _note(ax, remark.text, where, shift, xycoords=transform, **style)

    def _finish(self, ax: Axes, x: str, y: str) -> None:
        """Ranges, ticks, titles, and the grid."""
        for name, axis, title, limits in (
            (x, ax.xaxis, ax.set_xlabel, ax.set_xlim),
            (y, ax.yaxis, ax.set_ylabel, ax.set_ylim),
        ):
            plan = self._axis(name)
            if plan.type == "log":
                (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            if plan.range is not None:
                limits(*(10.0 ** np.array(plan.range) if plan.type == "log" else plan.range))
            elif name in self.names:
                limits(-0.6, len(self.names[name]) - 0.4)
            if plan.tickvals is not None:
                named = [f"{v:g}" for v in plan.tickvals] if plan.ticktext is None else map(_text, plan.ticktext)
                axis.set_ticks(np.array(plan.tickvals, float), list(named))
            elif name in self.names:
                axis.set_ticks(range(len(self.names[name])), [_text(v) for v in self.names[name]])
            elif plan.dtick:
                low, high = ax.get_xlim() if axis is ax.xaxis else ax.get_ylim()
                ticks = np.arange(np.ceil(low / plan.dtick) * plan.dtick, high + 1e-9, plan.dtick)
                axis.set_ticks(ticks, [f"{t:g}" for t in ticks])
            if plan.title.text:
                title(_text(plan.title.text), color=INK, parse_math=False)
            turned = {"rotation": -plan.tickangle, "ha": "right", "rotation_mode": "anchor"} if plan.tickangle else {}
            for label in axis.get_ticklabels():
                label.set(color=INK, parse_math=False, **turned)
            axis.set_tick_params(length=0)
        ax.grid(axis="y", color=FAINT, alpha=0.14, linewidth=0.7)
        ax.set_axisbelow(True)
        for side, spine in ax.spines.items():
            spine.set(color=FAINT, alpha=0.4, visible=side in ("bottom", "left"), linewidth=0.7)


def _note(ax: Axes, text: Any, at: tuple, shift: tuple[int, int], **style: Any) -> None:
    """Text beside a place, moved by points."""
    ax.annotate(_text(text), at, shift, textcoords="offset points", color=INK, parse_math=False, **style)


def _line(trace: Any) -> dict[str, Any]:
    return {
        "color": _colour(trace.line.color),
        "linestyle": DASHES[trace.line.dash],
        "linewidth": 0.75 * (trace.line.width or 2),
        "drawstyle": STEPS.get(trace.line.shape, "default"),
    }


def _markers(trace: Any, line: dict[str, Any]) -> dict[str, Any]:
    """How a trace's markers look, in the colour of its `line` if they have none of their own."""
    symbol, colour = str(trace.marker.symbol or "circle"), trace.marker.color
    colour = line.get("color") if colour is None else _colour(colour if isinstance(colour, str) else colour[0])
    return {
        "marker": MARKERS[symbol.removesuffix("-open")],
        "markersize": 0.75 * float(trace.marker.size or 6),
        "markeredgecolor": colour,
        "markerfacecolor": "none" if symbol.endswith("-open") else colour,
        "color": line.get("color", colour),
        "markeredgewidth": 1.1,
    }


def _fill(ax: Axes, trace: Any, x: np.ndarray, y: np.ndarray, look: dict[str, Any]) -> Patch:
    """Fill below a line; returns what stands for it in the legend."""
    step = {"steps-mid": "mid", "steps-post": "post"}.get(look["drawstyle"])
    hatch = HATCHES[trace.fillpattern.shape or ""]
    filled = (
        {"hatch": hatch, "edgecolor": look["color"], "facecolor": "none"}
        if hatch
        else {"facecolor": _colour(trace.fillcolor), "edgecolor": "none"}
    )
    ax.fill_between(x, y, step=step, linewidth=0, **filled)
    return Patch(linewidth=1.2, linestyle=look["linestyle"], **(filled | {"edgecolor": look["color"]}))


def _text(some: Any) -> str:
    """A title or name without plotly's markup, its breaks as such."""
    broken = re.sub(r"<br\s*/?>", "\n", str(some if some is not None else ""))
    unmarked = html.unescape(re.sub(r"</?(?:b|i|sub|sup|span)\b[^<>]*>", "", broken))
    return "\n".join(visible(line) for line in unmarked.split("\n")).strip()


def _each(some: Any, count: int) -> list:
    return [some] * count if isinstance(some, str) or not isinstance(some, Iterable) else list(some)


def _spread(bars: Any) -> np.ndarray:
    up = np.nan_to_num(np.asarray(bars.array, float))
    return np.array([up if bars.arrayminus is None else np.asarray(bars.arrayminus, float), up])


def _colour(some: Any) -> Any:
    """
    >>> _colour("rgba(255,0,0,0.5)"), _colour("#2E86C1")
    ((1.0, 0.0, 0.0, 0.5), '#2E86C1')
    """
    if isinstance(some, str) and (parts := re.fullmatch(r"rgba?\(([^)]*)\)", some)):
        values = [float(v) for v in parts[1].split(",")]
        return (*(v / 255 for v in values[:3]), values[3] if len(values) > 3 else 1.0)
    return some
