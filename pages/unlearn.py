"""Unlearn: purify the model with one button, watch it happen, and see what it costs, ours beside the published form."""

import streamlit as st

from ubt.figures import LABELS, measures
from ubt.ui import charts, estimates
from ubt.ui.case_form import edit, settings_of
from ubt.ui.case_picker import make
from ubt.ui.job_panel import missing, no_case, run
from ubt.ui.navigation import current
from ubt.ui.training_curves import curves
from ubt.ui.view import store
from ubt.workflows.export_model import STAGES, opening_line, zipped

view = current()
st.title("Unlearn")
st.caption(
    "D_topk's images and captions, whole and masked, are pushed apart (Eqs. 6, 7). Ours moves flagged images back to"
    " where the clean reference would put them and keeps the others where they are; the published form is Eq. 7 alone."
    " Neither uses ground truth or labels."
)


def unlearn() -> None:
    if view is None:
        no_case()
        return
    judged = ("estimate",) if view.audits else tuple(f"evaluate_{model}" for model in LABELS)
    finished = view.has("unlearn", "unlearn_published", *judged)
    changed_settings()
    can_run = not (finished or view.status.running or view.imported)
    if can_run and st.button("Unlearn", key="unlearn", type="primary", icon=":material/healing:"):
        run(view.name)
    steps()
    if not finished:
        missing(view, judged[-1], "Figures before and after come when every model has been measured.", offer=False)
        return
    st.subheader("Before and after")
    if view.audits:
        estimates.before_and_after(view)
    else:
        before_and_after(view.measured())
    downloads()


def changed_settings() -> None:
    """The settings of unlearning, and a new case with changed ones."""
    with st.expander("Settings of unlearning", expanded=False):
        groups = ("unlearn", "published", "mask", "retain")
        offered = {n: s for n, s in settings_of(view.settings).items() if s.group in groups}
        changes = edit(offered, f"unlearn-{view.name}")
        if changes and st.button(
            "Unlearn with these, as a new case", key="unlearn-changed", icon=":material/play_arrow:"
        ):
            make(view.settings.with_values(changes), run=True)
            st.rerun()


def steps() -> None:
    """Both forms of unlearning over their steps, side by side."""
    forms = (("purified", "unlearn", "unlearn"), ("published", "unlearn_published", "published"))
    for column, (model, stage, group) in zip(st.columns(2), forms, strict=True):
        with column:
            st.subheader(LABELS[model].capitalize())
            total = getattr(view.settings, group).steps
            curves(view, stage, total, f"Figures over steps, {LABELS[model]}")


def before_and_after(measured: dict[str, dict]) -> None:
    """The figures before and after, where the truth is known."""
    left, right = st.columns([3, 2], gap="large")
    charts.draw(measures.bars(measured), "unlearn-bars", "CA, ASR, RA and target recall of every model", left)
    with right:
        for model in STAGES:
            st.markdown(f"**{LABELS[model].capitalize()}**")
            changes(measured["poisoned"], measured[model])
        st.caption(
            f"Natural ASR of the clean reference: {measured['clean']['asr']:.2f} %. Changes are against the poisoned"
            " model, in points."
        )
    st.subheader("What each class gained or lost")
    recalls(list(measured))


def changes(before: dict, after: dict) -> None:
    with st.container(horizontal=True):
        for title, name, digits, colour in (
            ("ASR, %", "asr", 2, "inverse"),
            ("CA, %", "ca", 2, "normal"),
            ("target recall, %", "target_recall", 1, "normal"),
        ):
            change = f"{after[name] - before[name]:+.{digits}f}"
            st.metric(title, f"{after[name]:.{digits}f}", change, delta_color=colour)


def recalls(models: list[str]) -> None:
    predictions = {m: view.read(f"evaluate_{m}", "predictions") for m in models}
    frame = measures.recalls(predictions, view.read("test", "classes"))
    only = st.toggle("Only classes that changed", True, key="changed", persist_state="session")
    part = frame[frame[[f"{m} change" for m in STAGES]].abs().max(axis=1) > 0] if only else frame
    target, images = view.settings.attack.target, view.settings.test.per_class
    figure = measures.class_changes(part.sort_values("purified change"), tuple(STAGES), target)
    charts.draw(figure, "class-changes", "Change of recall of every class")
    st.caption(
        f"{len(part)} of {len(frame)} classes; {images} test images each, so one image is {100 / images:.1f} points."
    )


def downloads() -> None:
    st.subheader("Take the purified model with you")
    if not view.holds("unlearn", "model"):
        missing(view, "unlearn", "The purified model is missing.")
        return
    with st.container(horizontal=True):
        for model in STAGES:
            st.download_button(
                f"{LABELS[model].capitalize()} (zip)",
                lambda model=model: zipped(store(), view.name, model),
                file_name=f"{view.name}-{model}.zip",
                mime="application/zip",
                key=f"download-{model}",
                icon=":material/download:",
                type="primary" if model == "purified" else "secondary",
                on_click="ignore",
            )
    st.caption(
        "Weights, configuration and a card with settings, digests and measures. Unpacked, plain open_clip opens it:"
    )
    st.code(opening_line(f"{view.name}-purified"), language="python")


unlearn()
