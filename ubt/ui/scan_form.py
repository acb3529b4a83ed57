"""The form that scans a model: which model, what it is compared with, on which images and classes, and its job."""

import streamlit as st

from ubt.clip.cost import SCORED
from ubt.data import scenes
from ubt.ui import costs, ingest_form, model_choice
from ubt.ui.ingest_form import Slot
from ubt.ui.job_panel import follow
from ubt.ui.view import View, read
from ubt.workflows import jobs, made_here, scan, sources

PLACE = "scan"
SLOT = Slot("scanned", "model", "suspect", mine=True)
SLOWER = 1.4
"""How much longer a step of inversion takes than reading an image: forth and back."""
SAID = "Scanned", "It could not be scanned", "The scan was cancelled; run it again to go on."


def draw(view: View | None) -> None:
    """Choose what to scan, start the job and follow it."""
    left, right = st.columns(2, gap="large")
    with left:
        model = model_choice.model(view, PLACE, SLOT)
        reference = model_choice.reference(model, PLACE)
    with right:
        images, classes = model_choice.images(PLACE)
    with st.expander("Bring another model", icon=":material/upload:", expanded=not model):
        if ingest_form.form(SLOT):
            st.rerun(scope="app")
    if model:
        _offer(model, reference, images, classes)


def _offer(model: str, reference: str, images: str, classes: list[str]) -> None:
    """What it takes, and the button."""
    if images.startswith("pairs-") and not classes:
        st.info("Pairs say no names of classes: type those that the model knows.")
        return
    wanted = made_here.scan_of(model, reference, images, classes)
    under = ingest_form.under_way(PLACE, lambda other: other.kind == "scan")
    for lock in sorted(under):
        follow(lock, "scan", PLACE)
    ingest_form.ended(PLACE, under, SAID)
    if jobs.import_lock(wanted) in under:
        return
    s, count = scan.ScanSettings(), len(classes)
    if not count:
        count = len(scenes.CLASSES if images == sources.SCENES else read(images, "classes"))
    steps = sum(getattr(s, name).steps * getattr(s, name).batch for name in s.methods)
    cost = SLOWER * SCORED * steps * count * sum(model_choice.larger(name) for name in (model, reference) if name)
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button("Scan", costs.of_seconds(cost), "scan-start", type="primary", icon=":material/radar:"):
            ingest_form.begin(PLACE, wanted)
            st.rerun(scope="app")
