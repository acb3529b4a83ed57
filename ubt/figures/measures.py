"""CA, ASR, RA and recall of the target class before and after, and what each class lost."""

import pandas as pd
import plotly.graph_objects as go

from ubt.figures import LABELS, error_bars, fill, layout

MEASURES = {"ca": "CA", "asr": "ASR", "ra": "RA", "target_recall": "target recall"}


def bars(measured: dict[str, dict], height: int = 320) -> go.Figure:
    """Every model's measures side by side, with 95 % intervals.

    Args:
        measured: model name to `ubt.evaluation.backdoor.measure`'s result. The clean reference's ASR is the natural
            ASR.
    """
    figure = go.Figure()
    for model, m in measured.items():
        values = [m[k] for k in MEASURES]
        spans = [m["intervals"][k] for k in MEASURES]
        figure.add_bar(
            x=list(MEASURES.values()),
            y=values,
            name=LABELS[model],
            marker=fill(model),
            customdata=spans,
            error_y=error_bars(*zip(*((s[1] - v, v - s[0]) for s, v in zip(spans, values, strict=True)), strict=True)),
            hovertemplate="%{y:.2f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}]",
        )
    layout(figure, height=height, y="percent, with 95 % interval")
    figure.update_yaxes(range=[0, 104], tickvals=[0, 25, 50, 75, 100])
    return figure.update_layout(barmode="group", bargap=0.25)


def table(measured: dict[str, dict]) -> pd.DataFrame:
    """The same as a frame: a row a model, percent."""
    columns = {**MEASURES, "asr_all": "ASR, all"}
    figures = {label: [v[k] for v in measured.values()] for k, label in columns.items()}
    return pd.DataFrame({"model": [LABELS[m] for m in measured], **figures})


def recalls(predictions: dict[str, pd.DataFrame], classes: list[str], before: str = "poisoned") -> pd.DataFrame:
    """Recall of every class on clean images, in percent, and its change against `before`, in points.

    Args:
        predictions: model name to a frame with `label` and `clean` (predicted) class indices.
    """
    recall = {
        m: (f["clean"] == f["label"]).groupby(f["label"]).mean().reindex(range(len(classes))) * 100
        for m, f in predictions.items()
    }
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
            x=names,
            y=frame[f"{m} change"],
            name=LABELS[m],
            customdata=frame[["poisoned", m]],
            marker=fill(m),
            hovertemplate="%{y:+.1f} points (%{customdata[0]:.1f} → %{customdata[1]:.1f} %)",
        )
    layout(figure, height=height, y="change of recall (points)")
    return figure.update_xaxes(tickangle=-50).update_layout(barmode="group", bargap=0.2)
