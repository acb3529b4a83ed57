"""CA, ASR, RA and recall of the target class before and after, the verdict, and what each class lost."""

import pandas as pd
import plotly.graph_objects as go

from ubt.figures import CLEAN, LABELS, POISONED, UNKNOWN, fill, layout, mark

MEASURES = {"ca": "CA", "asr": "ASR", "ra": "RA", "target_recall": "target recall"}


def bars(measured: dict[str, dict], height: int = 320) -> go.Figure:
    """Every model's measures side by side, with 95 % intervals.

    Args:
        measured: model name to `ubt.evaluation.backdoor.measure`'s result. The clean reference's ASR is the natural ASR.
    """
    figure = go.Figure()
    for model, m in measured.items():
        values = [m[k] for k in MEASURES]
        spans = [m["intervals"][k] for k in MEASURES]
        figure.add_bar(
            x=list(MEASURES.values()), y=values, name=LABELS[model], marker=fill(model), customdata=spans,
            error_y={"type": "data", "symmetric": False, "array": [s[1] - v for s, v in zip(spans, values, strict=True)],
                     "arrayminus": [v - s[0] for s, v in zip(spans, values, strict=True)], "thickness": 1.4, "width": 4, "color": UNKNOWN},
            hovertemplate="%{y:.2f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}]",
        )  # fmt: skip
    layout(figure, height=height, y="percent, with 95 % interval")
    figure.update_yaxes(range=[0, 104], tickvals=[0, 25, 50, 75, 100])
    return figure.update_layout(barmode="group", bargap=0.25)


def table(measured: dict[str, dict]) -> pd.DataFrame:
    """The same as a frame: a row a model, percent."""
    columns = {**MEASURES, "asr_all": "ASR, all"}
    return pd.DataFrame({"model": [LABELS[m] for m in measured], **{label: [v[k] for v in measured.values()] for k, label in columns.items()}})


KINDS = (("clean", CLEAN, "circle"), ("poisoned", POISONED, "diamond"))
"""The two kinds of models that are judged: colour and symbol."""


def _scale(threshold: float, height: int) -> go.Figure:
    """The verdict's scale, parted by the threshold."""
    figure, top = go.Figure(), 1 - 15 / (height - 80)
    for low, high, colour in ((-0.2, threshold, CLEAN), (threshold, 1, POISONED)):
        figure.add_shape(type="rect", x0=low, x1=high, y0=0, y1=top, yref="y domain", fillcolor=colour, opacity=0.14, line_width=0, layer="below")
    mark(figure, threshold, f"threshold {threshold:.2f}")
    for x, text in ((-0.19, "not poisoned"), (0.99, "poisoned")):
        side = "left" if x < 0 else "right"
        figure.add_annotation(x=x, y=0, yref="y domain", text=text, showarrow=False, xanchor=side, yanchor="bottom", font={"size": 11})
    layout(figure, height=height, x="verdict score")
    return figure.update_xaxes(range=[-0.2, 1.0]).update_layout(hovermode="closest")


def verdict(score: float, threshold: float, others: pd.DataFrame | None = None, height: int = 190) -> go.Figure:
    """The verdict's score on its scale, beside the threshold.

    Args:
        others: other cases to see it among: `case`, `score`, and whether its model is `poisoned`.
    """
    figure = _scale(threshold, height)
    for (kind, colour, _), side in zip(KINDS, (False, True), strict=True):
        part = others[others["poisoned"] == side] if others is not None else []
        if len(part):
            figure.add_scatter(
                x=part["score"].tolist(), y=[-0.2 if side else 0.05] * len(part), mode="markers", text=part["case"],
                name=f"other cases, {kind} ({len(part)})",
                marker={"size": 11, "symbol": "line-ns-open" if side else "circle-open", "color": colour, "line": {"width": 1.5}},
                hovertemplate=f"%{{text}}, {kind}: %{{x:.3f}}<extra></extra>",
            )  # fmt: skip
    figure.add_scatter(
        x=[score], y=[0.45], mode="markers+text", text=[f"<b>{score:.2f}</b>"], textposition="top center", showlegend=False,
        marker={"size": 15, "symbol": "diamond", "color": POISONED if score > threshold else CLEAN, "line": {"width": 1, "color": UNKNOWN}},
        hovertemplate="score %{x:.3f}<extra></extra>",
    )  # fmt: skip
    return figure.update_yaxes(visible=False, range=[-1, 1.4])


def verdicts(frame: pd.DataFrame, height: int = 420) -> go.Figure:
    """Every model's score, a point a seed, a row an attack; those on the wrong side of the threshold are crossed.

    Args:
        frame: `ubt.tables.judging.Verdicts.measured`.
    """
    done = frame[frame["state"] == "done"]
    figure = _scale(float(done["threshold"].iloc[0]) if len(done) else 0.5, height)
    for (kind, colour, symbol), side in zip(KINDS, (False, True), strict=True):
        part = done[(done["poisons"] > 0) == side]
        figure.add_scatter(
            x=part["score"], y=part["model"], mode="markers", name=f"{kind} ({len(part)})", customdata=part[["case", "seed"]],
            marker={"size": 11, "symbol": symbol, "color": colour, "opacity": 0.75, "line": {"width": 1, "color": UNKNOWN}},
            hovertemplate="%{customdata[0]}, seed %{customdata[1]}: %{x:.3f}<extra></extra>",
        )  # fmt: skip
    wrong = done[~done["right"].astype(bool)]
    if len(wrong):
        cross = {"size": 17, "symbol": "x-thin", "line": {"width": 2, "color": UNKNOWN}}
        figure.add_scatter(x=wrong["score"], y=wrong["model"], mode="markers", name=f"misjudged ({len(wrong)})", marker=cross, hoverinfo="skip")
    if not len(done):
        figure.add_annotation(x=0.4, y=0.5, yref="y domain", text="nothing judged yet", showarrow=False, font={"color": UNKNOWN})
    rows = list(dict.fromkeys(frame["model"]))
    figure.update_yaxes(title={"text": "model trained on"}, categoryorder="array", categoryarray=rows[::-1], range=[-0.9, len(rows) - 0.3])
    return figure


def recalls(predictions: dict[str, pd.DataFrame], classes: list[str], before: str = "poisoned") -> pd.DataFrame:
    """Recall of every class on clean images, in percent, and its change against `before`, in points.

    Args:
        predictions: model name to a frame with `label` and `clean` (predicted) class indices.
    """
    recall = {m: (f["clean"] == f["label"]).groupby(f["label"]).mean().reindex(range(len(classes))) * 100 for m, f in predictions.items()}
    frame = pd.DataFrame({"class": classes, **{m: r.to_numpy() for m, r in recall.items()}})
    for m in predictions:
        if m != before:
            frame[f"{m} change"] = frame[m] - frame[before]
    return frame


def class_changes(frame: pd.DataFrame, models: tuple[str, ...], target: str, height: int = 380) -> go.Figure:
    """What every class gained or lost by unlearning, as `recalls` gives it; the target class is marked."""
    figure = go.Figure()
    names = [f"<b>{c} (target)</b>" if c == target else c for c in frame["class"]]
    for m in models:
        figure.add_bar(
            x=names, y=frame[f"{m} change"], name=LABELS[m], customdata=frame[["poisoned", m]],
            marker=fill(m),
            hovertemplate="%{y:+.1f} points (%{customdata[0]:.1f} → %{customdata[1]:.1f} %)",
        )  # fmt: skip
    layout(figure, height=height, y="change of recall (points)")
    return figure.update_xaxes(tickangle=-50).update_layout(barmode="group", bargap=0.2)
