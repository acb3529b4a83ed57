"""Every chart can be heard, read without colour, and read in both themes."""

import ast
import functools
import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from ubt.evaluation.model_roles import MEASURED
from ubt.figures import (
    CLEAN,
    INK,
    MODELS,
    POISONED,
    UNKNOWN,
    label_history,
    measures,
    neighbours,
    patches,
    similarity,
    training,
    verdict,
)
from ubt.figures import roc as curves
from ubt.figures.alt_text import described
from ubt.figures.attribution import survivors
from ubt.figures.projection import NAMED, PALETTE, SYMBOLS
from ubt.figures.projection import scatter as projected
from ubt.figures.tradeoff import LOOKS
from ubt.ui import components, web

ROOT = Path(__file__).parents[2]
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
FADED = 0.6
"""How much of the text's colour Streamlit gives captions and the titles of axes."""


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """WCAG 2.2's contrast ratio."""
    shares = [
        np.where(c / 255 <= 0.04045, c / 255 / 12.92, ((c / 255 + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        for c in (one, other)
    ]
    return (max(shares) + 0.05) / (min(shares) + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_and_marks_stand_out_from_every_background(name):
    theme = THEME[name]
    text, backgrounds = (
        rgb(theme["textColor"]),
        [
            rgb(c)
            for c in (theme["backgroundColor"], theme["secondaryBackgroundColor"], theme["sidebar"]["backgroundColor"])
        ],
    )
    faintest = min(float(v) for v in re.findall(r"opacity: ?(0?\.\d+)", web.text("components.css")))
    hot = 0.01 * components.HOT * rgb("#1C9A78") + (1 - 0.01 * components.HOT) * backgrounds[0]
    assert contrast(text, hot) >= 4.5
    assert contrast(rgb("#FFFFFF"), rgb(theme["primaryColor"])) >= 4.5
    for background in backgrounds:
        for share in (1.0, FADED, faintest):
            assert contrast(share * text + (1 - share) * background, background) >= 4.5, share
        for colour in {
            theme["primaryColor"],
            CLEAN,
            POISONED,
            UNKNOWN,
            *MODELS.values(),
            *PALETTE,
            *(c for c, *_ in LOOKS.values()),
        }:
            assert contrast(rgb(colour), background) >= 3, colour
    assert all(contrast(rgb(INK), rgb(c)) >= 4.5 for c in (CLEAN, UNKNOWN))


def looks(figure: go.Figure) -> dict[str, tuple]:
    """Of each trace what is left of it without colour: symbol, dash, pattern, width."""
    found = {}
    for t in figure.data:
        if t.type not in ("heatmap", "image") and t.showlegend is not False and t.name:
            pattern = (
                t.marker.pattern.shape if t.type == "bar" else (t.type == "scatter" and t.fillpattern.shape) or None
            )
            dash = t.line.dash if "lines" in (getattr(t, "mode", "") or "") else None
            width = None if t.type != "bar" or t.width is None or np.ndim(t.width) else t.width
            found[t.name] = (None if t.type == "bar" else t.marker.symbol, dash, pattern, width)
    return found


@functools.cache
def figures() -> dict[str, go.Figure]:
    r = np.random.default_rng(0)
    score, poisoned = r.random(300), np.arange(300) < 30
    xy, found = (
        r.random((300, 2)),
        {"score": 0.7, "displaced": 0.4, "threshold": 0.5, "least_displaced": 0.15, "poisoned": True},
    )
    other = pd.DataFrame({"case": ["a", "b"], "score": [0.1, 0.7], "displaced": [0.1, 0.6], "poisoned": [False, True]})
    measured = {
        k: {m: 50.0 for m in measures.MEASURES} | {"intervals": {m: (40, 60) for m in measures.MEASURES}}
        for k in MODELS
    }
    located = pd.DataFrame(
        {"id": [f"p{i}" for i in range(40)], "rank": range(1, 41), "flips": r.random(40), "drop": r.random(40)}
    )
    roc = {"x": np.linspace(0, 1, 50), "y": np.linspace(0, 1, 50) ** 0.5, "at": np.zeros(50)}
    said = pd.DataFrame({"id": ["a", "a", "b"], "word": ["banana", "red", "banana"], "kept": [True, False, True]})
    return {
        "histogram": similarity.histogram(score, poisoned, (0.4, "flagged", "left")),
        "verdict": verdict.one(found, other),
        "measures": measures.bars(measured),
        "curves": curves.curve("roc", {name: {"roc": roc} for name in curves.LINES}),
        "training": training.curves(
            pd.DataFrame({"step": range(20), "ca": 90.0, "asr": 5.0, "similarity": 0.1, "restored": 0.5, "kept": 0.9}),
            20,
        ),
        "nearest": neighbours.nearest(score[:20], score[:20] > 0.5, poisoned[::-1][:20] | (np.arange(20) % 3 == 0)),
        "map": projected(xy, poisoned, "poisoned", np.arange(300)),
        "ranked": patches.ranked(located, 5, np.arange(40) < 4),
        "classifier": patches.decisions(score, poisoned, 0.5, "left out"),
        "activation": patches.activation(
            np.zeros((8, 8, 3), np.uint8), score[:64].reshape(8, 8), (1, 1, 3, 3), (4, 4, 3, 3)
        ),
        "compared": patches.compared({name: located for name in patches.STRATEGIES}, 5),
        "decided": label_history.along(pd.Series(["backdoor", "clean", "unsure", None] * 20, dtype=object)),
        "words": survivors(said, ["banana"]),
    }


@pytest.mark.parametrize("name", figures())
def test_a_figure_is_told_in_words_and_apart_without_colour(name):
    figure = figures()[name]
    said, told_apart = described(figure), looks(figure)
    for trace in told_apart:
        assert re.sub(r"<[^>]*>", "", trace) in said, said
    same = [(a, b) for a, b in itertools.combinations(told_apart, 2) if told_apart[a] == told_apart[b]]
    assert all({"undecided"} & {n.split(" (")[0] for n in pair} for pair in same), same
    assert not re.search(r"\bnan\b|<|&[a-z]+;|%\{", said)


def test_the_words_are_the_figures_counts():
    r = np.random.default_rng(1)
    score, poisoned = np.round(r.normal(0.3, 0.05, 1000), 3), np.zeros(1000, bool)
    score[:50], poisoned[:50] = 0.905, True
    said = described(similarity.histogram(score, poisoned, (0.7, "flagged", "left")))
    assert "clean (950): from" in said
    assert "poisoned (50): from 0.91 to 0.91, highest 100 at 0.91" in said
    assert "flagged at 0.7" in said
    bars = described(go.Figure(go.Bar(x=["<i>CA</i>", "a&amp;b"], y=[np.float64(98.25), None], name="ours")))
    assert bars == "ours: CA 98.25."
    assert described(go.Figure()) == "Nothing is drawn."


def test_what_differs_in_colour_differs_in_more():
    patterns = [role.pattern for role in MEASURED.values()]
    assert len(set(patterns)) == len(patterns) == 4
    assert len({(symbol, dash) for _, symbol, dash in LOOKS.values()}) == len(LOOKS)
    assert len(set(SYMBOLS)) == len(PALETTE) == len(SYMBOLS)
    for parts in NAMED.values():
        assert len({symbol for _, _, symbol in parts.values()}) == len(parts)


def test_charts_are_drawn_in_one_place_and_images_have_alternatives():
    """Whoever draws a chart elsewhere leaves it without its counts in words."""
    for path in [*ROOT.glob("pages/*.py"), *ROOT.glob("ubt/ui/*.py")]:
        calls = [
            n
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
        ]
        drawn = [
            n
            for n in calls
            if n.func.attr in ("plotly_chart", "line_chart", "bar_chart", "scatter_chart", "altair_chart", "pyplot")
        ]
        assert not drawn or path.name == "charts.py", f"{path.name}: draw with ubt.ui.charts.draw"
    assert not re.search(r"<img(?![^>]*\balt=)", (ROOT / "ubt" / "ui" / "components.py").read_text())
