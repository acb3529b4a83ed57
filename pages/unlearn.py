"""Unlearn: purify the model with one button, watch it happen, and see what it costs, ours beside the published form.

D_topk's images and captions, whole and masked, are pushed apart (Eqs. 6, 7). Ours moves flagged images back to where
the clean reference would put them without the trigger and keeps the others where they are; the published form is Eq. 7
alone. Neither uses the ground truth or class labels.
"""

import streamlit as st

from ubt.figures import LABELS, measures
from ubt.ui import charts, controls, costs, estimates, python_code, task_vector
from ubt.ui.case_form import edit, settings_of
from ubt.ui.case_picker import make
from ubt.ui.errors import guard
from ubt.ui.job_panel import missing, no_case, run
from ubt.ui.navigation import current, heading
from ubt.ui.training_curves import curves
from ubt.ui.view import store
from ubt.workflows.export_model import STAGES, opening_line, zipped

view = current()
heading("unlearn")
if view is None:
    no_case()
    st.stop()
settings, status = view.settings, view.status
judged = ("estimate",) if view.audits else tuple(f"evaluate_{model}" for model in LABELS)

with st.expander("Settings of unlearning", expanded=False):
    changes = edit(
        {n: s for n, s in settings_of(settings).items() if s.group in ("unlearn", "published", "mask", "retain")},
        f"unlearn-{view.name}",
    )
    if changes:
        with guard():
            changed = settings.with_values(changes)
            if costs.button("Unlearn with these, as a new case", costs.of_settings(changed), "unlearn-changed"):
                make(changed, run=True)
                st.rerun()
finished = view.has("unlearn", "unlearn_published", *judged)
if not finished and not status.running and not view.imported:
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button("Unlearn", costs.of_case(view.name), "unlearn", type="primary", icon=":material/healing:"):
            run(view.name)


for column, (which, stage, group) in zip(
    st.columns(2), (("purified", "unlearn", "unlearn"), ("published", "unlearn_published", "published")), strict=True
):
    with column:
        st.subheader(LABELS[which].capitalize())
        curves(view, stage, getattr(settings, group).steps, "D_unlearn", f"Figures over steps, {LABELS[which]}")
if not finished:
    missing(view, judged[-1], "Figures before and after come when every model has been measured.", offer=False)
    if view.has(task_vector.ALONG):
        task_vector.section(view)
    st.stop()


def lab() -> None:
    """Before and after, where the truth is known."""
    measured = view.measured()
    left, right = st.columns([3, 2], gap="large")
    charts.draw(measures.bars(measured), "unlearn-bars", "CA, ASR, RA and target recall of every model", left)
    with right:
        for which in STAGES:
            before, after = measured["poisoned"], measured[which]
            st.markdown(f"**{LABELS[which].capitalize()}**")
            with st.container(horizontal=True):
                st.metric(
                    "ASR, %", f"{after['asr']:.2f}", f"{after['asr'] - before['asr']:+.2f}", delta_color="inverse"
                )
                st.metric("CA, %", f"{after['ca']:.2f}", f"{after['ca'] - before['ca']:+.2f}")
                st.metric(
                    "target recall, %",
                    f"{after['target_recall']:.1f}",
                    f"{after['target_recall'] - before['target_recall']:+.1f}",
                )
        st.caption(
            f"Natural ASR of the clean reference: {measured['clean']['asr']:.2f} %. Changes are against the poisoned"
            " model, in points."
        )

    st.subheader("What each class gained or lost")
    frame = measures.recalls(
        {m: view.read(f"evaluate_{m}", "predictions") for m in measured}, view.read("test", "classes")
    )
    shown = [f"{m} change" for m in STAGES]
    only = st.toggle("Only classes that changed", True, key="changed", persist_state="session")
    part = frame[frame[shown].abs().max(axis=1) > 0] if only else frame
    figure = measures.class_changes(part.sort_values("purified change"), tuple(STAGES), settings.attack.target)
    charts.draw(figure, "class-changes", "Change of recall of every class")
    st.caption(
        f"{len(part)} of {len(frame)} classes; {settings.test.per_class} test images each, so one image is"
        f" {100 / settings.test.per_class:.1f} points."
    )


with st.container(horizontal=True, vertical_alignment="center"):
    st.subheader("Before and after")
    purified = ['purified = case.model("purified")'] if view.holds("unlearn", "model") else []
    python_code.offer(python_code.of_results(view, *purified))
if view.audits:
    estimates.before_and_after(view)
else:
    lab()
    task_vector.section(view)

st.subheader("Take the purified model with you")
if not view.holds("unlearn", "model"):
    missing(view, "unlearn", "The purified model is missing.")
    st.stop()
with st.container(horizontal=True):
    for which in STAGES:
        controls.download(
            f"{LABELS[which].capitalize()} (zip)",
            lambda w=which: zipped(store(), view.name, w),
            f"{view.name}-{which}.zip",
            "application/zip",
            f"download-{which}",
            type="primary" if which == "purified" else "secondary",
        )
st.caption("Weights, configuration and a card with settings, digests and measures. Unpacked, plain open_clip opens it:")
st.code(opening_line(f"{view.name}-purified"), language="python")
