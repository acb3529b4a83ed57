"""Two cases side by side: the settings and figures in which they differ, and their curves laid over each other."""

from collections.abc import Sequence

import streamlit as st

from ubt.evaluation.model_roles import SCORED
from ubt.figures import two_cases as figures
from ubt.reports import two_cases
from ubt.ui import case_records, charts, components, controls, selection, training_curves
from ubt.ui.case_picker import label
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import View, import_name, opened

TRAINED = {"poison": "M_bd", "unlearn": "ours", "unlearn_published": "published"}
"""Stages whose curves are shown, and the models that they train, in a word."""
UNDER = {"reference": "reference", "poisoned": "M_bd", "overfit": "overfitted"}
"""Models that score pairs, in a word."""


def draw(names: Sequence[str]) -> None:
    """Everything in which two cases differ; `names`: A and B."""
    titles = dict(zip("AB", map(label, names), strict=True))
    st.subheader("Compared")
    st.markdown("  \n".join(f"**{letter}**: {plain(title)}" for letter, title in titles.items()))
    if unreadable := [name for name in names if not case_records.one(name).record.readable]:
        for name in unreadable:
            st.error(plain(case_records.one(name).record.error), icon=":material/broken_image:")
        return
    views = [opened(name) for name in names]
    _settings(names)
    left, right = st.columns(2, gap="medium")
    with left:
        _histograms(views)
        _curves(views)
    with right:
        _figures(names)
    lab = [view.name for view in views if not view.audits]
    if len(lab) == len(views):
        st.page_link(
            PAGES["compare"],
            label="Compare the defences on both",
            icon=":material/arrow_forward:",
            query_params={"compared": ",".join(lab)},
        )


def _settings(names: Sequence[str]) -> None:
    rows = two_cases.settings(*(case_records.one(name).settings for name in names), import_name)
    st.markdown(f"**Settings that differ: {len(rows)}**")
    if rows:
        with st.container(height=440 if len(rows) > 14 else "content", border=False):
            components.table(["setting", "A", "B"], rows)
    else:
        st.caption("None. They differ in the device or the app version that computed them.")


def _figures(names: Sequence[str]) -> None:
    rows = two_cases.figures(*(case_records.figures(case_records.one(name).record) for name in names))
    st.markdown("**Figures**")
    if rows:
        components.table(["", "A", "B", "change"], rows)
    else:
        st.caption("Neither has come to a verdict yet.")


def _histograms(views: Sequence[View]) -> None:
    st.markdown("**Similarity of images and captions**")
    scored = {r.name: UNDER[r.name] for r in SCORED if all(view.has(r.scored) for view in views)}
    if not scored:
        st.caption("They have no model in common that has scored their pairs.")
        return
    start = "overfit" if "overfit" in scored else next(iter(scored))
    model = controls.choice("Under", scored, "two-model", default=start, label_visibility="collapsed")
    tables = [selection.pairs_shown(view) for view in views]
    shown = tuple((table[f"similarity_{model}"], table.poisoned) for table in tables)
    charts.draw(figures.histograms(shown), "two-histograms", "Similarity histograms of two cases")


def _curves(views: Sequence[View]) -> None:
    st.markdown("**CA and ASR while a model trains**")
    found = {stage: {x: training_curves.rows(v, stage) for x, v in zip("AB", views, strict=True)} for stage in TRAINED}
    found = {s: {x: f for x, f in each.items() if {"ca", "asr"} & {*f}} for s, each in found.items()}
    offered = {stage: title for stage, title in TRAINED.items() if found[stage]}
    if not offered:
        st.caption("Neither was measured while it trained.")
        return
    stage = controls.choice("Of", offered, "two-stage", default=next(iter(offered)), label_visibility="collapsed")
    charts.draw(figures.curves(found[stage]), "two-curves", f"CA and ASR of two cases, {offered[stage]}")
    if missing := {"A", "B"} - {*found[stage]}:
        st.caption(f"{missing.pop()} has none.")
