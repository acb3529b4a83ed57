"""The form that scans a model: which model, what it is compared with, on which images and classes, and its job."""

import streamlit as st

from ubt.clip.cost import SCORED
from ubt.data import scenes
from ubt.data.labelled import parse_classes
from ubt.data.scenes import SIZE
from ubt.ui import costs, ingest_form, ingested
from ubt.ui.ingest_form import Slot
from ubt.ui.job_panel import follow
from ubt.ui.view import View, read
from ubt.workflows import jobs, made_here, scan
from ubt.workflows.reference_health import SHIPPED

PLACE = "scan"
SLOT = Slot("scanned", "model", "suspect", mine=True)
SLOWER = 1.4
"""How much longer a step of inversion takes than reading an image: forth and back."""
MOST = 20_000
"""Characters of classes' names: they travel to the job on its command line."""
SAID = "Scanned", "It could not be scanned", "The scan was cancelled; run it again to go on."


def draw(view: View | None) -> None:
    """Choose what to scan, start the job and follow it."""
    left, right = st.columns(2, gap="large")
    with left:
        model = _model(view)
        reference = _reference(model)
    with right:
        images, classes = _images()
    with st.expander("Bring another model", icon=":material/upload:", expanded=not model):
        if ingest_form.form(SLOT):
            st.rerun(scope="app")
    if model:
        _offer(model, reference, images, classes)


def _model(view: View | None) -> str:
    """The model to scan: an imported one, or one of the case in view; empty while there is none."""
    of_case, suspect = {}, ""
    if view is not None:
        suspect = view.settings.own.suspect
        stages = {"poison": "the poisoned model", "unlearn": "the purified model"}
        of_case = {
            f"{scan.OF_CASE}{view.name}/{stage}": f"{said} of the case in view"
            for stage, said in stages.items()
            if view.has(stage)
        }
    new = st.session_state.pop(f"imported-{SLOT.name}", None)
    options = [*of_case, *sorted(ingested.keys("model"), key=lambda key: key != suspect)]
    if new in options:
        st.session_state["scan-model"] = new
    if not options:
        st.info("No model is here yet. Bring one below.")
        return ""
    return (
        st.selectbox(
            "Model",
            _there("scan-model", options),
            key="scan-model",
            format_func=lambda o: of_case.get(o) or ingested.label(o),
            persist_state="session",
        )
        or ""
    )


def _there(key: str, options: list[str]) -> list[str]:
    """The options of a list; what was chosen and is gone (another case is in view, a model was deleted) gives way to
    the first.
    """
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[0]
    return options


def _larger(model: str) -> float:
    """How much longer a model's step takes than the shipped one's."""
    return max(1.0, read(model, "card")["parameters"] / SHIPPED) if model.startswith("model-") else 1.0


def _of_scenes(model: str) -> bool:
    """Whether a model looks as if it knew scenes: a case's does, and one that takes images of their size."""
    return not model.startswith("model-") or read(model, "card")["preprocessing"].get("size") in (SIZE, [SIZE, SIZE])


def _reference(model: str) -> str:
    own = {scan.SHIPPED: "the reference that comes with this app (scenes, 48 px)", "": "none"}
    others = [key for key in ingested.keys("model") if key != model and read(key, "card")["state"] == "clean"]
    return (
        st.selectbox(
            "Clean model to compare with",
            _there("scan-reference", [scan.SHIPPED, *others, ""] if _of_scenes(model) else [*others, "", scan.SHIPPED]),
            key="scan-reference",
            format_func=lambda o: own.get(o) or ingested.label(o),
            persist_state="session",
            help="With one, the verdict rests on what a clean model would need for the same class; without, on the"
            " other classes alone",
        )
        or ""
    )


def _images() -> tuple[str, list[str]]:
    """What triggers are looked for on, and the names of classes; none: the images' own."""
    labelled, pairs = ingested.keys("labelled"), ingested.keys("pairs")
    images = st.selectbox(
        "Clean images",
        _there("scan-images", [scan.SCENES, *labelled, *pairs]),
        key="scan-images",
        format_func=lambda o: "scenes, drawn here" if o == scan.SCENES else ingested.label(o),
        persist_state="session",
        help="A few hundred that the model can tell apart, without labels; import them on the page Data",
    )
    text = st.text_area(
        "Names of classes, one a line",
        key="scan-classes",
        height=100,
        placeholder="empty: those of the images",
        persist_state="session",
        max_chars=MOST,
    )
    return images or scan.SCENES, parse_classes(text.encode(), "Names of classes") if text.strip() else []


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
        count = len(scenes.CLASSES if images == scan.SCENES else read(images, "classes"))
    steps = sum(getattr(s, name).steps * getattr(s, name).batch for name in s.methods)
    cost = SLOWER * SCORED * steps * count * sum(_larger(name) for name in (model, reference) if name)
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button("Scan", costs.of_seconds(cost), "scan-start", type="primary", icon=":material/radar:"):
            ingest_form.begin(PLACE, wanted)
            st.rerun(scope="app")
