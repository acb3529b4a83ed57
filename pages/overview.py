"""Overview: what the case is, its stages, its verdict, and what every model measures.

A case is a set of image-caption pairs and a CLIP model trained on them. In a lab case the app itself plants a backdoor
in some pairs, then finds, judges and unlearns it without looking at what it planted, and measures the model before and
after. In an audit pairs and model are yours, and the truth is unknown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from ubt.defenses.token_unlearning.verdict import answer, health, judged_poisoned
from ubt.evaluation.backdoor import by_attack
from ubt.figures import measures
from ubt.figures import verdict as verdict_figures
from ubt.reports.case_report.finished_case import ABOUT, HEALTH, conclusion, evidence, health_rows, what_to_do
from ubt.ui import (
    at_a_glance,
    charts,
    components,
    costs,
    estimates,
    pair_export,
    python_code,
    report_download,
    roles,
    verdict_answers,
)
from ubt.ui.case_form import draft, new, settings_of
from ubt.ui.case_picker import label, remove
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import missing, run
from ubt.ui.navigation import current, heading
from ubt.ui.training_curves import curves
from ubt.ui.view import store
from ubt.workflows import assumed, jobs

view = current()


@st.dialog("Delete this case?")
def delete(name: str) -> None:
    mine = store().size(store().record(name))
    st.write(f"{plain(label(name))}: {mine / 1e6:.0f} MB. What other cases share with it is kept.")
    if roles.button("Delete", type="primary", icon=":material/delete:", key="really-delete"):
        with guard():
            st.toast(f"Freed {remove(name) / 1e6:.0f} MB.")
            st.rerun()


@st.dialog("Report")
def report(name: str) -> None:
    report_download.over(name)


at_glance = at_a_glance.possible(view)
if at_glance and view.built_in:
    at_a_glance.introduction()
else:
    heading("overview")

if view is None:
    if not st.session_state.get("gone"):
        st.subheader("Start here")
        st.write(
            "Press Run: 10,000 pairs with drawn images, 2 % of them poisoned; the first histogram comes within half"
            " a minute."
        )
        draft(None, "first")
        st.page_link("pages/check.py", label="Or check a model of your own", icon=":material/arrow_forward:")
    st.stop()

with st.container(horizontal=True, vertical_alignment="center", key="case-title"):
    aims = ", ".join(at_a_glance.targets(view))
    st.subheader(plain(label(view.name)) + (f" → {plain(aims)}" if aims else ""))
    if roles.button("New case", key="new", icon=":material/add:"):
        new()
    if roles.button(
        "Duplicate…",
        key="duplicate",
        icon=":material/content_copy:",
        help="A new case with some of these settings changed",
    ):
        new(view.settings)
    if not view.built_in and roles.button(
        "Delete…", key="delete", icon=":material/delete:", disabled=view.status.running
    ):
        delete(view.name)
if at_glance:
    at_a_glance.draw(view)
    if view.built_in:
        at_a_glance.next_steps(view)


@st.fragment(run_every=1.0 if view.status.running else None)
def pipeline() -> None:
    components.lanes(view.stages, jobs.status(store(), view.name).steps)


def stages() -> None:
    """Every stage with its state, and the one to run next."""
    with folded("Stages, and what each took", ":material/account_tree:"):
        if view.audits:
            st.subheader("Stages")
        pipeline()
    if not view.status.running and view.status.state != "done" and not view.imported:
        wanted = st.selectbox(
            "Run one stage, and what it needs",
            [s.name for s in view.stages if not view.has(s.name)],
            key="stage",
            format_func=lambda n: f"{n}: {next(s.about for s in view.stages if s.name == n)}",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            if costs.button("Run this stage", costs.of_case(view.name, wanted), "run-stage"):
                run(view.name, wanted)


def verdict() -> None:
    """What the model is judged to be, and by what."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Verdict")
        if st.button(
            "Report…",
            key="report",
            icon=":material/description:",
            help="What was found, as one file for somebody who will never open the app",
        ):
            report(view.name)
        if view.has("flag") and not view.audits:
            pair_export.flagged(view)
        python_code.offer(python_code.of_results(view))
    found = view.read("verdict", "verdict") if view.has("verdict") else None
    if view.audits:
        verdict_answers.draw(view, found)
    elif found:
        said, tone = conclusion(found)
        if judged_poisoned(found) and view.has("evaluate_purified"):
            said = f"Before unlearning, {said[0].lower()}{said[1:]}"
        show, icon = verdict_answers.CARDS[tone]
        show(said.replace(answer(found), f"**{answer(found)}**", 1), icon=icon)
        for why in what_to_do(found):
            st.warning(plain(why))
        if not judged_poisoned(found):
            verdict_answers.about_pairs(view)
    if found is None:
        missing(view, "verdict", "No verdict yet.", offer=False)
        return
    failed = sum(not check["passed"] for check in health(found))
    checks = f"Health checks: {failed} failed" if failed else "Health checks: all passed"
    with st.expander(f"What it rests on. {checks}", icon=":material/balance:", expanded=not at_glance or failed > 0):
        _evidence(found)


def _evidence(found: dict[str, Any]) -> None:
    text, chart, side = st.columns([3, 4, 3], gap="medium")
    with text:
        st.caption(ABOUT)
        st.caption(
            "The score is the mean similarity of D_topk's images with each other's captions under the overfitted"
            " model: poisons share one shortcut, so any of their captions fits any of their images; clean pairs fit"
            " their own only. A backdoor also moves its images away from where the clean reference would put them"
            " (displaced), all alike (separated: as many are moved far as half-way, or these much farther than what"
            " else fits badly); of pairs that a model only learned by heart, fewer are moved far than half-way."
        )
    figure = verdict_figures.one(found, view.other_verdicts())
    alt = "Score and displacement of D_topk beside their thresholds and among those of other cases"
    charts.draw(figure, "verdict-chart", alt, chart)
    with side:
        components.table(["evidence", ""], evidence(view, store()))
    for what, said in assumed.lines(store(), view.settings.own):
        st.caption(f"**{what[0].upper()}{what[1:]}**: {plain(said)}.")
    components.table(HEALTH, health_rows(found), labels=len(HEALTH))


@contextmanager
def folded(title: str, icon: str) -> Iterator[None]:
    """A part of the page that opens at a click, where the essential of it is said above; else it lies open."""
    with st.expander(title, icon=icon) if at_glance else st.container():
        yield


def before_and_after() -> None:
    """What every model measures, or in an audit its estimates."""
    if at_glance:
        with folded("Every measure, before and after", ":material/bar_chart:"):
            _measures(view.measured())
        return
    st.subheader("Before and after")
    if view.audits:
        if view.has("estimate"):
            estimates.before_and_after(view)
            estimates.files(view)
        else:
            missing(view, "estimate", "Nothing has been estimated yet.", offer=False)
    elif measured := view.measured():
        _measures(measured)
    else:
        missing(view, "evaluate_published", "Nothing has been measured yet.", offer=False)


def _measures(measured: dict[str, dict]) -> None:
    chart, figures = st.columns([5, 4], gap="medium")
    charts.draw(measures.bars(measured), "measures-chart", "CA, ASR, RA and target recall of every model", chart)
    frame, attacks = measures.table(measured), by_attack(measured)
    with figures:
        components.table(
            list(frame.columns), [[r[0], *(f"{v:.2f}" for v in r[1:])] for r in frame.itertuples(index=False)]
        )
        st.caption(
            "The clean reference's ASR is the natural ASR: what the trigger does to a model that never saw it. RA:"
            " triggered images still classified correctly."
        )
    if attacks:
        components.table(
            ["by attack and key", *frame["model"]],
            [[name, *(f"{v:.2f}" for v in values)] for name, values in attacks.items()],
        )


verdict_first = at_glance or view.audits
for part in (verdict, before_and_after, stages) if verdict_first else (stages, verdict, before_and_after):
    part()
if view.has("diagnose"):
    for finding in view.read("diagnose", "findings"):
        st.warning(
            plain(f"The attack did not work well. {finding['what']}; {finding['change']}."), icon=":material/warning:"
        )
    with st.expander("Did the attack work? What it needed", icon=":material/stethoscope:"):
        checks = view.read("diagnose", "checks")
        components.table(
            ["check", "", "found"],
            [[f"{c['attack']}: {c['check']}", "✓" if c["fine"] else "low", c["value"]] for c in checks],
        )

learned = (
    None
    if view.audits
    else st.expander(
        "How the backdoor was learned", on_change="rerun", key="learned", expanded=view.status.current == "poison"
    )
)
if learned and learned.open:
    steps = view.settings.poison.epochs * max(1, view.settings.data.pairs // view.settings.poison.batch)
    steps = next((p.trigger.steps for p in view.settings.model_attacks), steps)
    with learned:
        curves(view, "poison", steps, "D", "CA, ASR and similarity while M_bd trains")
        st.caption("CA and ASR on a small sample of the test images; no training ever sees them.")
settings = st.expander("Settings of this case", on_change="rerun", key="settings")
if settings.open:
    rows = [(s.name, str(s.value), s.help) for s in settings_of(view.settings).values()]
    settings.dataframe(
        pd.DataFrame(rows, columns=["setting", "value", "meaning"]), hide_index=True, alt="Settings of this case"
    )
