"""What carries a pair's similarity, drawn: heat over images, words that survive a mask, and the figures to save (Figs. 5 and 8)."""

import io
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from plotly.subplots import make_subplots

from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, layout

SHOWN = 192
"""Pixels that a small image is drawn at, at least."""
WORD = MODELS["purified"]
FORMATS = {"PNG": "image/png", "SVG": "image/svg+xml", "HTML": "text/html"}


@dataclass(frozen=True)
class Explained:
    """A pair as the figures need it: uint8 `image` (H, W, 3), its `heat` and its `mask` at that size, `words`, their `scores`, which are
    `kept`, which are `cut` by the context."""

    image: np.ndarray
    heat: np.ndarray
    mask: np.ndarray
    words: Sequence[str]
    scores: np.ndarray
    kept: np.ndarray
    cut: np.ndarray


def enlarged(image: np.ndarray) -> np.ndarray:
    """An image, pixels repeated so that its shorter side has at least `SHOWN`."""
    times = max(1, -(-SHOWN // min(image.shape[:2])))
    return image.repeat(times, 0).repeat(times, 1)


def overlay(image: np.ndarray, heat: np.ndarray, mask: np.ndarray | None, opacity: float) -> np.ndarray:
    """Heat (H, W) in [0, 1] laid over an image (H, W, 3), the more opaque the hotter, and the outline of a mask, enlarged."""
    hot = enlarged(heat)
    share = opacity * hot[..., None]
    out = np.rint((1 - share) * enlarged(image) + share * 255 * matplotlib.colormaps["inferno"](0.35 + 0.65 * hot)[..., :3]).astype(np.uint8)
    if mask is not None:
        big = np.pad(enlarged(mask), 2, mode="edge")
        inner = big[2:-2, 2:-2]
        around = np.stack([big[y : y + inner.shape[0], x : x + inner.shape[1]] for y, x in ((0, 2), (4, 2), (2, 0), (2, 4))])
        out[inner & ~around.all(0)] = 255
        out[~inner & around.any(0)] = 0
    return out


def survivors(words: pd.DataFrame, target: Sequence[str] = (), most: int = 12) -> go.Figure:
    """How many captions say each word, and how many keep it, the most kept first.

    Args:
        words: id, word and whether it is `kept`. target: words of the target, where the truth may be shown.
    """
    total = words["id"].nunique()
    counts = pd.DataFrame({"said": words.groupby("word")["id"].nunique(), "kept": words[words["kept"].astype(bool)].groupby("word")["id"].nunique()})
    counts = counts.fillna(0).astype(int).sort_values(["kept", "said"], ascending=False, kind="stable").head(most)[::-1]
    names = [escape(w if len(w) <= 24 else f"{w[:23]}…") for w in counts.index]
    colours = [POISONED if w in target else CLEAN for w in counts.index]
    hatch, shapes = {"fgcolor": "rgba(255,255,255,0.7)", "fillmode": "overlay"}, ["/" if w in target else "" for w in counts.index]
    figure = go.Figure()
    for what, name in (("said", "say it"), ("kept", "keep it")):
        solid = what == "kept"
        figure.add_bar(
            x=100 * counts[what] / max(1, total), y=list(range(len(names))), orientation="h", name=name, width=0.7, showlegend=False, cliponaxis=False,
            text=[f"{n} of {m}" for n, m in zip(counts["kept"], counts["said"], strict=True)] if not solid else None, textposition="outside",
            marker={"color": colours if solid else "rgba(127,140,154,0.22)", "pattern": hatch | {"shape": shapes if solid else ""}},
            customdata=counts[what], hovertemplate=f"%{{customdata}} captions {name}<extra></extra>",
        )  # fmt: skip
    layout(figure, height=90 + 26 * max(3, len(counts)), x=f"captions (% of {total}): grey say the word, coloured keep it")
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names)
    return figure.update_xaxes(range=[0, 115], tickvals=[0, 25, 50, 75, 100]).update_layout(barmode="overlay", hovermode="closest")


def strategies(frame: pd.DataFrame, groups: Sequence[str], measure: str, height: int = 330) -> go.Figure:
    """One measure of Table IV by strategy, a part an attack: mean over seeds with spread, and what the paper reports.

    Args:
        frame: `ubt.tables.table.Table.measured`.
    """
    attacks = list(frame["attack"].unique())
    figure = make_subplots(rows=1, cols=len(attacks), shared_yaxes=True, subplot_titles=attacks, horizontal_spacing=0.05)
    looks = {"reported": (UNKNOWN, "diamond-open"), groups[0]: (MODELS["published"], "x-thin-open"), groups[1]: (MODELS["purified"], "circle")}
    for col, attack in enumerate(attacks, 1):
        part = frame[frame["attack"] == attack][::-1]
        for group, (colour, symbol) in looks.items():
            if f"{group} {measure}" not in part:
                continue
            spread = part.get(f"{group} {measure} spread")
            figure.add_scatter(
                y=part["method"], x=part[f"{group} {measure}"], name=group, legendgroup=group, showlegend=col == 1, mode="markers", row=1, col=col,
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2, "color": colour}},
                error_x=None if spread is None else {"type": "data", "array": spread, "thickness": 1.4, "width": 4, "color": colour},
                hovertemplate="%{x:.2f} %",
            )  # fmt: skip
    layout(figure, height=height, x=f"{measure} (%)")
    if measure == "ASR":
        figure.update_xaxes(range=[-4, 104])
    return figure.update_layout(hovermode="closest", legend={"y": -0.22, "yanchor": "top"})


LEFT, RIGHT = (0.02, 0.64), (0.68, 0.98)
"""The two columns of `words_figure`, as shares of its width."""


def words_figure(rows: Sequence[Explained], threshold: float) -> Figure:
    """Captions with the words coloured by score, and what the mask keeps of each (as Fig. 5); words beyond the context are left out."""
    width = _Width()
    laid = []
    for row in rows:
        read = [(w, s, k) for w, s, k, cut in zip(row.words, row.scores, row.kept, row.cut, strict=True) if not cut]
        laid.append((width.lines([w for w, *_ in read], LEFT), [s for _, s, _ in read], width.lines([w for w, _, k in read if k], RIGHT)))
    needed = [max(1, len(left), len(right)) + 0.4 for left, _, right in laid]
    height = STEP * (sum(needed) + 1.6)
    figure = Figure(figsize=(10, height))
    y = 1 - 0.8 * STEP / height
    for (x, _), title in ((LEFT, "Word importance"), (RIGHT, f"Token mask (kept above {threshold:g})")):
        _write(figure, x, y, title, weight="bold")
    y -= 1.2 * STEP / height
    for (left, scores, right), lines in zip(laid, needed, strict=True):
        shades = iter(scores)
        for column, coloured in ((left, True), (right, False)):
            for n, line in enumerate(column):
                for x, word in line:
                    shade = (*matplotlib.colors.to_rgb(WORD), float(np.clip(next(shades), 0, 1))) if coloured else "none"
                    _write(figure, x, y - n * STEP / height, word, bbox={"boxstyle": "round,pad=0.15", "fc": shade, "ec": "none"})
        y -= lines * STEP / height
    return figure


def heat_figure(rows: Sequence[Explained], threshold: float, columns: int = 4) -> Figure:
    """Images, their heat, and what the mask keeps (as Fig. 8)."""
    columns = min(columns, max(1, len(rows)))
    blocks = max(1, -(-len(rows) // columns))
    figure = Figure(figsize=(2.2 * columns, 6.8 * blocks), layout="constrained")
    for n, row in enumerate(rows):
        hidden = np.where(row.mask[..., None], row.image, np.uint8(255))
        for k, (title, image) in enumerate((("image", enlarged(row.image)), ("relevance", overlay(row.image, row.heat, None, 0.6)),
                                            (f"kept above {threshold:g}", enlarged(hidden)))):  # fmt: skip
            axes = figure.add_subplot(3 * blocks, columns, (3 * (n // columns) + k) * columns + n % columns + 1)
            axes.imshow(image)
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
    return figure


def saved(figure: Figure, kind: str) -> bytes:
    """A figure as PNG (200 dpi), as SVG with its text as text, or as an HTML page around that SVG. A PNG shows signs that its font lacks
    (Chinese, emoji) as boxes; the others leave them to the reader's fonts."""
    out = io.BytesIO()
    with _QUIET, warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(out, format="png" if kind == "PNG" else "svg", dpi=200, facecolor="white")
    if kind != "HTML":
        return out.getvalue()
    svg = out.getvalue().decode()
    return f'<!doctype html><meta charset="utf-8"><title>Token attribution</title><body style="margin:1rem">{svg[svg.index("<svg") :]}</body>'.encode()


STEP, FONT = 0.27, 10
"""Height of a line in inches, size of its letters in points."""
_QUIET = threading.Lock()
"""Whoever changes matplotlib's or Python's global settings for a moment, one at a time."""
_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold."""


def _write(figure: Figure, x: float, y: float, text: str, **style) -> Text:
    return figure.text(x, y, _ILLEGAL.sub("\ufffd", text), va="center", parse_math=False, fontsize=FONT, **style)


class _Width:
    """Measures words, and lays them out in lines."""

    def __init__(self):
        self.figure = Figure(figsize=(10, 1))
        self.renderer, self.known = FigureCanvasAgg(self.figure).get_renderer(), {}

    def __call__(self, word: str) -> float:
        if word not in self.known:
            with _QUIET, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                self.known[word] = _write(self.figure, 0, 0, word).get_window_extent(self.renderer).width / self.figure.bbox.width
        return self.known[word]

    def lines(self, words: Sequence[str], column: tuple[float, float], gap: float = 0.012) -> list[list[tuple[float, str]]]:
        """Lines of words with the place where each begins; one too wide for the column is cut."""
        left, right = column
        lines, x = [[]], left
        for whole in words:
            word = whole
            while left + self(word) > right and len(word) > 1:
                word = f"{word[: max(1, int(len(word) * (right - left) / self(word)) - 2)]}…"
            if x > left and x + self(word) > right:
                lines, x = [*lines, []], left
            lines[-1].append((x, word))
            x += self(word) + gap
        return lines
