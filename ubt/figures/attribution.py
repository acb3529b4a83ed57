"""What carries a pair's similarity, drawn: heat over images, words that survive a mask, strategies of unlearning."""

from collections.abc import Sequence
from html import escape

import matplotlib
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ubt.core.text import visible
from ubt.figures import CLEAN, MODELS, POISONED, UNKNOWN, error_bars, layout

SHOWN = 192
"""Pixels that a small image is drawn at, at least."""
WORD = MODELS["purified"]


def enlarged(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3), or a map (H, W), pixels repeated so that its shorter side has at least `SHOWN`."""
    times = max(1, -(-SHOWN // min(image.shape[:2])))
    return image.repeat(times, 0).repeat(times, 1)


def overlay(image: np.ndarray, heat: np.ndarray, mask: np.ndarray | None, opacity: float) -> np.ndarray:
    """Heat (H, W) in [0, 1] laid over an image (H, W, 3), the more opaque the hotter, and the outline of a mask,
    enlarged.
    """
    hot = enlarged(heat)
    share = opacity * hot[..., None]
    out = np.rint(
        (1 - share) * enlarged(image) + share * 255 * matplotlib.colormaps["inferno"](0.35 + 0.65 * hot)[..., :3]
    ).astype(np.uint8)
    if mask is not None:
        big = np.pad(enlarged(mask), 2, mode="edge")
        inner = big[2:-2, 2:-2]
        around = np.stack(
            [big[y : y + inner.shape[0], x : x + inner.shape[1]] for y, x in ((0, 2), (4, 2), (2, 0), (2, 4))]
        )
        out[inner & ~around.all(0)] = 255
        out[~inner & around.any(0)] = 0
    return out


def survivors(words: pd.DataFrame, target: Sequence[str] = (), most: int = 12) -> go.Figure:
    """How many captions say each word, and how many keep it, the most kept first.

    Args:
        words: id, word and whether it is `kept`. target: words of the target, where the truth may be shown.
    """
    total = words["id"].nunique()
    counts = pd.DataFrame(
        {
            "said": words.groupby("word")["id"].nunique(),
            "kept": words[words["kept"].astype(bool)].groupby("word")["id"].nunique(),
        }
    )
    counts = counts.fillna(0).astype(int).sort_values(["kept", "said"], ascending=False, kind="stable").head(most)[::-1]
    names = [escape(visible(w if len(w) <= 24 else f"{w[:23]}…")) for w in counts.index]
    colours = [POISONED if w in target else CLEAN for w in counts.index]
    hatch, shapes = (
        {"fgcolor": "rgba(255,255,255,0.7)", "fillmode": "overlay"},
        ["/" if w in target else "" for w in counts.index],
    )
    figure = go.Figure()
    for what, name in (("said", "say it"), ("kept", "keep it")):
        solid = what == "kept"
        figure.add_bar(
            x=100 * counts[what] / max(1, total),
            y=list(range(len(names))),
            orientation="h",
            name=name,
            width=0.7,
            showlegend=False,
            cliponaxis=False,
            text=[f"{n} of {m}" for n, m in zip(counts["kept"], counts["said"], strict=True)] if not solid else None,
            textposition="outside",
            marker={
                "color": colours if solid else "rgba(127,140,154,0.22)",
                "pattern": hatch | {"shape": shapes if solid else ""},
            },
            customdata=counts[what],
            hovertemplate=f"%{{customdata}} captions {name}<extra></extra>",
        )
    layout(
        figure, height=90 + 26 * max(3, len(counts)), x=f"captions (% of {total}): grey say the word, coloured keep it"
    )
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names)
    return figure.update_xaxes(range=[0, 115], tickvals=[0, 25, 50, 75, 100]).update_layout(
        barmode="overlay", hovermode="closest"
    )


def strategies(frame: pd.DataFrame, groups: Sequence[str], measure: str, height: int = 330) -> go.Figure:
    """One measure of Table IV by strategy, a part an attack: mean over seeds with spread, and what the paper reports.

    Args:
        frame: `ubt.reports.paper.table.Table.measured`.
    """
    attacks = list(frame["attack"].unique())
    figure = make_subplots(
        rows=1, cols=len(attacks), shared_yaxes=True, subplot_titles=attacks, horizontal_spacing=0.05
    )
    looks = {
        "reported": (UNKNOWN, "diamond-open"),
        groups[0]: (MODELS["published"], "x-thin-open"),
        groups[1]: (MODELS["purified"], "circle"),
    }
    for col, attack in enumerate(attacks, 1):
        part = frame[frame["attack"] == attack][::-1]
        for group, (colour, symbol) in looks.items():
            if f"{group} {measure}" not in part:
                continue
            spread = part.get(f"{group} {measure} spread")
            figure.add_scatter(
                y=part["method"],
                x=part[f"{group} {measure}"],
                name=group,
                legendgroup=group,
                showlegend=col == 1,
                mode="markers",
                row=1,
                col=col,
                marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2, "color": colour}},
                error_x=None if spread is None else error_bars(spread, colour=colour),
                hovertemplate="%{x:.2f} %",
            )
    layout(figure, height=height, x=f"{measure} (%)")
    if measure == "ASR":
        figure.update_xaxes(range=[-4, 104])
    return figure.update_layout(hovermode="closest", legend={"y": -0.22, "yanchor": "top"})
