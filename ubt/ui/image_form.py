"""What a gate for one image rests on: which model, which clean one beside it, on which clean images; its job."""

import streamlit as st

from ubt.clip.cost import SCORED
from ubt.ui import costs, ingest_form, model_choice
from ubt.ui.ingest_form import Slot
from ubt.ui.job_panel import follow
from ubt.ui.view import View, compute, store
from ubt.workflows import jobs, made_here
from ubt.workflows.gate import VERSION, GateSettings
from ubt.workflows.sources import OF_CASE

PLACE = "image"
SLOT = Slot("watched", "model", "suspect", mine=True)
PASSES = 220
"""How often all detectors together read an image."""
SAID = "Ready", "The gate could not be made", "It was cancelled; nothing was kept."


def gate(view: View | None) -> str:
    """Choose what the gate rests on; the name of what it was calibrated with in the store, empty until it is."""
    ready = ""
    with st.expander("Model, and the clean images that it is compared on", icon=":material/tune:", expanded=True):
        left, right = st.columns(2, gap="large")
        with left:
            model = model_choice.model(view, PLACE, SLOT)
            reference = model_choice.reference(model, PLACE)
        with right:
            images, classes = model_choice.images(PLACE, pairs=False)
        if model:
            ready = _ready(model, reference, images, classes, _of(view, model))
    with st.expander("Bring another model", icon=":material/upload:", expanded=not model):
        if ingest_form.form(SLOT):
            st.rerun(scope="app")
    return ready


def _of(view: View | None, model: str) -> str:
    """What tells a gate from others of the same name: which result the case's model is now, how it is computed."""
    stage = model.rpartition("/")[2]
    key = view.key(stage) if view is not None and model.startswith(OF_CASE) else model
    return f"{VERSION} {key} {compute()}"


def _ready(model: str, reference: str, images: str, classes: list[str], of: str) -> str:
    wanted = made_here.gate_of(model, reference, images, classes, of)
    lock = jobs.import_lock(wanted)
    under = ingest_form.under_way(PLACE, lambda other: other == wanted)
    for other in sorted(under):
        follow(other, "gate", PLACE)
    ingest_form.ended(PLACE, under, SAID)
    if lock in under:
        return ""
    made = jobs.imported(store(), lock)
    if made and all(store().find(name) is not None for name in store().imported(made).manifest["of"]):
        return made
    s, sides = GateSettings(), [name for name in (model, reference) if name]
    cost = SCORED * PASSES * s.held * model_choice.larger(model) + SCORED * s.clean * len(sides)
    st.caption(
        f"The detectors are prepared on {s.clean:,} clean images, and {s.held:,} others say how rare a score is. Then"
        " every image is judged at once."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button(
            "Make the gate", costs.of_seconds(cost), "image-start", type="primary", icon=":material/shield:"
        ):
            ingest_form.begin(PLACE, wanted)
            st.rerun(scope="app")
    return ""
