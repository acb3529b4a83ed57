"""What a mask keeps of captions and images, as pictures to save (Figs. 5 and 8)."""

import contextlib
import functools
import io
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ubt.figures.attribution import WORD, enlarged, overlay
from ubt.figures.export import page

FORMATS = {"PNG": "image/png", "SVG": "image/svg+xml", "HTML": "text/html"}
LEFT, RIGHT = (0.02, 0.63), (0.68, 0.98)
"""The two columns of `words_figure`, as shares of its width."""
WIDTH, STEP, FONT = 7.5, 0.27, 10
"""Width of `words_figure` and height of a line in inches, size of its letters in points."""
CELL, GAP, SMALL = 0.95, 0.06, 8.5
"""Side of an image of `heat_figure` and what is between two, in inches; size of the letters beside them in points."""


@dataclass(frozen=True)
class Explained:
    """A pair as the figures need it: uint8 `image` (H, W, 3), its `heat` and its `mask` at that size, `words`, their
    `scores`, which are `kept`, which are `cut` by the context.
    """

    image: np.ndarray
    heat: np.ndarray
    mask: np.ndarray
    words: Sequence[str]
    scores: np.ndarray
    kept: np.ndarray
    cut: np.ndarray


@dataclass(frozen=True)
class Block:
    """Pairs of one case as one model reads them: which case, which model, and what to say where there are none."""

    rows: Sequence[Explained]
    title: str = ""
    reading: str = ""
    note: str = ""


def explanations(
    images: np.ndarray, attributed: pd.DataFrame, words: pd.DataFrame, maps: np.ndarray, threshold: float
) -> list[Explained]:
    """Attributed pairs as the figures need them.

    Args:
        images: theirs (n, H, W, 3). attributed, words: pairs and their words as `ubt.defenses.token_unlearning.mask`
            gives them. maps: relevance of each pair of `attributed` (n, rows, columns). threshold: of the image masks.
    """
    from ubt.clip.attribution import above, upsample

    by_id, heat = dict(tuple(words.groupby("id", sort=False))), upsample(maps, *images.shape[1:3])
    masks, out = above(heat, threshold), []
    for n, pair in enumerate(attributed["id"]):
        own = by_id.get(pair, words.head(0))
        columns = own["word"].tolist(), own["score"].to_numpy(), own["kept"].to_numpy(bool), own["cut"].to_numpy(bool)
        out.append(Explained(np.asarray(images[n]), heat[n], masks[n], *columns))
    return out


def words_figure(blocks: Sequence[Block], threshold: float) -> Figure:
    """Captions with the words coloured by score, and what the mask keeps of each (as Fig. 5); words beyond the context
    are left out.
    """
    width, bold, pale = _Width(), {"weight": "bold"}, {"color": "#5B6672"}
    lines: list[tuple[float, list[tuple[float, str, dict]]]]
    lines = [(1.2, [(LEFT[0], "Word importance", bold), (RIGHT[0], f"Token mask (kept above {threshold:g})", bold)])]
    for block in blocks:
        heading = ", ".join(filter(None, (block.title, block.reading)))
        lines += [(1.2, [(LEFT[0], heading, {"style": "italic"})])] if heading else []
        lines += [(1.4, [(LEFT[0], block.note, pale)])] if block.note else []
        for row in block.rows:
            read = [(w, s, k) for w, s, k, cut in zip(row.words, row.scores, row.kept, row.cut, strict=True) if not cut]
            left, right = width.lines([w for w, *_ in read], LEFT), width.lines([w for w, _, k in read if k], RIGHT)
            shades = iter([s for _, s, _ in read])
            for said, kept in zip_longest(left, right, fillvalue=()):
                lines.append(
                    (1, [(x, w, {"bbox": _shade(next(shades))}) for x, w in said] + [(x, w, {}) for x, w in kept])
                )
            lines.append((0.4, []))
    legend = width.lines(["share of the caption's relevance:", "0", "0.25", "0.5", "1"], (LEFT[0], 1))[0]
    lines.append((1.2, [(x, w, pale if n == 0 else {"bbox": _shade(float(w))}) for n, (x, w) in enumerate(legend)]))
    height = STEP * (sum(h for h, _ in lines) + 0.4)
    figure, y = Figure(figsize=(WIDTH, height)), 1 - 0.8 * STEP / height
    for needed, cells in lines:
        for x, text, style in cells:
            _write(figure, x, y, text, **style)
        y -= needed * STEP / height
    return figure


def heat_figure(blocks: Sequence[Block], threshold: float, columns: int = 8) -> Figure:
    """Images, their heat over the image in grey, and what the mask keeps (as Fig. 8). Images that the block above shows
    are not repeated.
    """
    bands: list[tuple[float, str, Sequence[np.ndarray], bool]] = []
    for before, block in zip((None, *blocks), blocks, strict=False):
        if block.title and (before is None or before.title != block.title):
            bands.append((0.34, block.title, (), True))
        if block.note:
            bands.append((0.3, ", ".join(filter(None, (block.reading, block.note))), (), False))
        for start in range(0, len(block.rows), columns):
            rows = block.rows[start : start + columns]
            shown = () if before is None else before.rows[start : start + columns]
            if len(shown) != len(rows) or any(
                not np.array_equal(a.image, b.image) for a, b in zip(shown, rows, strict=True)
            ):
                bands.append((CELL, "image", [enlarged(r.image) for r in rows], False))
            reading = f"\n{block.reading}" if block.reading else ""
            bands.append(
                (CELL, f"relevance{reading}", [overlay(_grey(r.image), r.heat, None, 0.85) for r in rows], False)
            )
            hidden = [enlarged(np.where(r.mask[..., None], r.image, np.uint8(255))) for r in rows]
            bands.append((CELL, f"kept above {threshold:g}{reading}", hidden, False))
    across = max([1, *(len(images) for _, _, images, _ in bands)])
    measured = _Width()
    margin = (
        max([0, *(measured(line) for _, text, images, _ in bands if images for line in text.split("\n"))])
        * WIDTH
        * SMALL
        / FONT
        + 0.2
    )
    width, height = max(3, margin + across * (CELL + GAP) + GAP), sum(h + GAP for h, *_ in bands) + 2 * GAP
    figure, y = Figure(figsize=(width, height)), height - GAP
    for needed, text, images, title in bands:
        y -= needed
        _write(
            figure,
            0.02 if not images else (margin - 0.1) / width,
            (y + needed / 2) / height,
            text,
            ha="right" if images else "left",
            size=FONT if title else SMALL,
            weight="bold" if title else "normal",
        )
        if images:
            strip = _strip(images)
            box = margin / width, y / height, CELL * strip.shape[1] / strip.shape[0] / width, CELL / height
            figure.add_axes(box).imshow(strip, aspect="auto").axes.set_axis_off()
        y -= GAP
    return figure


def saved(figure: Figure, kind: str, title: str = "Token attribution", source: str = "") -> bytes:
    """A figure as PNG (200 dpi), as SVG with its text as text, or as an HTML page around that SVG. In a PNG a sign that
    no installed font has, or only one of coloured pictures (emoji), is a box; the others leave such signs to the
    reader's fonts.
    """
    out = io.BytesIO()
    with _QUIET, warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(out, format="png" if kind == "PNG" else "svg", dpi=200, facecolor="white")
    if kind != "HTML":
        return out.getvalue()
    svg = out.getvalue().decode()
    return page(svg[svg.index("<svg") :], title, source).encode()


_QUIET = threading.Lock()
"""Whoever changes matplotlib's or Python's global settings for a moment, one at a time."""
_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot hold."""


_DEFAULT = "DejaVu Sans"
_ODD = ("Last Resort", "STIXNonUnicode", "STIXSize", "cm")
"""Fonts of matplotlib's own that draw other signs than those asked for."""


def _shade(score: float) -> dict:
    return {
        "boxstyle": "round,pad=0.15",
        "fc": (*matplotlib.colors.to_rgb(WORD), float(np.clip(score, 0, 1))),
        "ec": "none",
    }


def _strip(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images side by side, framed, with what is between two."""
    framed = [np.pad(image[1:-1, 1:-1], ((1, 1), (1, 1), (0, 0)), constant_values=150) for image in images]
    gap = np.full((framed[0].shape[0], round(framed[0].shape[0] * GAP / CELL), 3), 255, np.uint8)
    return np.concatenate([part for image in framed for part in (gap, image)][1:], axis=1)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None].repeat(3, -1)


@functools.lru_cache(maxsize=4096)
def font_with(sign: str) -> str:
    """An installed font that has a sign; empty if none has."""
    first = font_manager.FontProperties(family=_DEFAULT)
    plain = [
        (f.name, f.fname)
        for f in font_manager.fontManager.ttflist
        if f.style == "normal" and not f.name.startswith(_ODD)
    ]
    for name, file in [(_DEFAULT, font_manager.findfont(first)), *sorted(plain)]:
        with contextlib.suppress(RuntimeError, OSError):
            if font_manager.get_font(file).get_char_index(ord(sign)):
                return name
    return ""


def _write(figure: Figure, x: float, y: float, text: str, **style) -> Text:
    text = _ILLEGAL.sub("\ufffd", text)
    family = [_DEFAULT, *sorted({font_with(sign) for sign in text} - {_DEFAULT, ""})]
    return figure.text(x, y, text, **{"va": "center", "parse_math": False, "size": FONT, "family": family} | style)


class _Width:
    """Measures words, and lays them out in lines."""

    def __init__(self):
        self.figure = Figure(figsize=(WIDTH, 1))
        self.renderer, self.known = FigureCanvasAgg(self.figure).get_renderer(), {}

    def __call__(self, word: str) -> float:
        if word not in self.known:
            with _QUIET, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                self.known[word] = (
                    _write(self.figure, 0, 0, word).get_window_extent(self.renderer).width / self.figure.bbox.width
                )
        return self.known[word]

    def lines(
        self, words: Sequence[str], column: tuple[float, float], gap: float = 0.012
    ) -> list[list[tuple[float, str]]]:
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
