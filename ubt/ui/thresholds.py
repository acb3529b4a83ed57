"""The thresholds over the histograms: sliders, lines that can be dragged, and what they catch.

Drawn large on *Separation* and as a part of *Inspect*.
"""

from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from ubt.core import text
from ubt.evaluation import detection
from ubt.evaluation.label_free import Mixture, estimated
from ubt.evaluation.model_roles import SCORED, SUSPECT, ModelRole
from ubt.figures import similarity
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import charts, components, controls, pairs, selection, tuning, web
from ubt.ui.errors import safe
from ubt.ui.job_panel import missing
from ubt.ui.tuning import Tuned
from ubt.ui.view import View

Shares = dict[str, list[dict[str, Any]]]
"""A histogram's key to the `ubt.figures.similarity.shares` of what is selected."""
SMALL, LARGE = 168, 320
"""Heights of a histogram in pixels: as a part of *Inspect*, and on *Separation*."""


def switches(view: View) -> tuple[bool, bool]:
    """The switches of the histograms: whether they show D_susp alone, and whether on the papers' axis."""
    with st.container(horizontal=True):
        if view.has("attack"):
            selection.truth_toggle()
        inside = controls.toggle(
            "D_susp only", False, "inside", "Histograms of the suspicious pairs alone", bind="query-params"
        )
        about = "From -1 to 1, as in the papers' figures; else as far as the data reaches"
        return inside, controls.toggle("The papers' axis", False, "whole-axis", about, bind="query-params")


def shares(view: View, table: PairTable, selected: np.ndarray | None, among: np.ndarray | None = None) -> Shares:
    """What the histograms show of the selected pairs (n,), by their keys; nothing while nothing is selected. `among`:
    as of `histograms`.
    """
    if selected is None:
        return {}
    bins = pairs.prepared(view, table).bins
    return {f"chart-{name}": similarity.shares(b, table.poisoned, selected, among) for name, b in bins.items()}


def _title(view: View, role: ModelRole) -> str:
    return f"The {SUSPECT}" if role.name == "poisoned" and view.audits else role.heading


def histograms(
    view: View,
    table: PairTable,
    caught: detection.Caught,
    threshold: float,
    *,
    among: np.ndarray | None,
    selected: Shares,
    whole: bool,
    small: bool = False,
) -> None:
    """A histogram a model, side by side, with the thresholds as lines that can be dragged.

    Args:
        among: which pairs are shown (n,), None: all. selected: what `shares` says of the selection. whole: draw the
            papers' axis. small: as a part of *Inspect*.
    """
    prepared = pairs.prepared(view, table)
    span = similarity.WHOLE if whole else prepared.span
    for column, role in zip(st.columns(3), SCORED, strict=True):
        name = role.similarity
        with column:
            if not small or name not in table:
                st.markdown(f"**{_title(view, role)}**")
            if name not in table:
                first = next(n for n in SIMILARITIES if n not in table)
                missing(view, role.scored, "Not scored yet.", offer=name == first)
                continue
            part = similarity.Part(_title(view, role), legend=role is SCORED[0]) if small else None
            bins, height = prepared.bins[name], SMALL if small else LARGE
            make = partial(similarity.histogram, bins, table.poisoned, height=height, among=among, span=span, part=part)
            about = f"Similarity histogram, {role.heading}"
            if among is None:
                of = (*pairs.keys(view), name, table.poisoned is None, height, span, part)
                charts.draw_kept(of, make, f"chart-{name}", about)
            else:
                charts.draw(make(), f"chart-{name}", about)
            if not small and (parts := selected.get(f"chart-{name}")):
                st.caption(f"Selected: {', '.join(part['said'] for part in parts)}")
            if unscored := int((bins == 255).sum()):
                st.caption(f"{unscored:,} pairs have no score and are not shown.")
    _draggable(view, table, {"fraction": caught.cut, "threshold": threshold}, span)


def _draggable(view: View, table: PairTable, lines: dict[str, float], span: tuple[float, float]) -> None:
    """Let the lines be dragged; the sliders follow."""
    about = {
        "fraction": ("similarity_reference", "D_susp", "Cut of D_susp, similarity under the clean reference", 0.001),
        "threshold": (
            "similarity_overfit",
            "threshold",
            "Threshold on the overfitted similarity",
            tuning.THRESHOLD_STEP,
        ),
    }
    drawn = [
        {"name": name, "chart": f"chart-{column}", "title": title, "label": label, "step": step}
        | {"value": float(lines[name])}
        | dict(zip(("low", "high"), span, strict=True))
        for name, (column, title, label, step) in about.items()
        if column in table and np.isfinite(lines[name])
    ]

    @safe
    def moved() -> None:
        event = st.session_state["lines"].get("moved") or {}
        if (name := event.get("name")) in about and isinstance(event.get("value"), int | float):
            tuning.move(view, table, name, float(event["value"]))

    component = st.components.v2.component("ubt_lines", js=web.text("threshold_lines.js"))
    component(key="lines", data={"lines": drawn}, on_moved_change=moved)


def counts(
    view: View,
    table: PairTable,
    caught: detection.Caught,
    mixture: Mixture | None,
    chosen: Tuned,
    grouped: bool,
    selected: np.ndarray | None,
) -> None:
    """A table of D_susp, the flagged and D_topk: pairs, estimated precision and, where it may be shown, the truth."""
    confirmed = view.settings.select.confirmed.count("\n") + 1 if view.settings.select.confirmed else 0
    first = f"first {chosen.k}" + (" of each group" if grouped else "")
    titles = {
        "D_susp": f"D_susp: lowest {chosen.percent:g} %",
        "flagged": f"in D_susp, {chosen.threshold:.2f} and more",
        "D_topk": f"D_topk: {f'{confirmed} confirmed' if confirmed else first}",
    }
    sets, columns = caught.chosen, ["", "pairs"]
    rows = [[titles[name], f"{int(mask.sum()):,}"] for name, mask in sets.items()]
    if selected is not None:
        columns.append("selected")
        for row, mask in zip(rows, sets.values(), strict=True):
            row.append(f"{int((mask & selected).sum()):,}")
    if mixture:
        columns.append("estimated precision, without labels")
        for row, mask in zip(rows, sets.values(), strict=True):
            row.append(estimated(mixture, table, mask))
    if table.poisoned is not None:
        columns += ["poisoned", "precision", "recall of all poisons"]
        for row, c in zip(rows, caught.counts(table.poisoned).values(), strict=True):
            row += [f"{c['poisoned']:,}", text.percent(c["precision"]), text.percent(c["recall"])]
    components.table(columns, rows)


def counted(table: PairTable, caught: detection.Caught, mixture: Mixture | None, columns: list) -> None:
    """The same in a line beneath each slider: pairs, the estimated share of poisons among them, the true one."""
    judged = {} if table.poisoned is None else caught.counts(table.poisoned)
    titles = {"flagged": "above it"}
    for column, (name, mask) in zip(columns, caught.chosen.items(), strict=False):
        share = estimated(mixture, table, mask) if mixture else ""
        remarks = [f"est. {share} poisoned" if share.endswith("%") else share] if share else []
        remarks += [f"truth {text.percent(judged[name]['precision'])}"] if name in judged else []
        about = f"({', '.join(remarks)})" if remarks else "pairs"
        column.caption(f"**{titles.get(name, name)}**: {int(mask.sum()):,} {about}")
