"""Which model, which clean one beside it, and which clean images: what the pages *Scan* and *Image* ask for alike."""

import streamlit as st

from ubt.data.labelled import parse_classes
from ubt.data.scenes import SIZE
from ubt.ui import ingested
from ubt.ui.ingest_form import Slot
from ubt.ui.view import View, read
from ubt.workflows.reference_health import SHIPPED as PARAMETERS
from ubt.workflows.sources import OF_CASE, SCENES, SHIPPED

HELP = {
    "scan": (
        "With one, the verdict rests on what a clean model would need for the same class; without, on the other classes"
        " alone",
        "A few hundred that the model can tell apart, without labels; import them on the page Data",
    ),
    "image": (
        "With one, an image is asked whether the model moves it away from where a clean one puts it; without, nothing"
        " can be cleared",
        "About 1,500 of the kind that the model will see; import them on the page Data as labelled images",
    ),
}
"""By page: what a reference is for, and which images are wanted."""
MOST = 20_000
"""Characters of classes' names: they travel to the job on its command line."""


def model(view: View | None, place: str, slot: Slot) -> str:
    """The model to look at: an imported one, or one of the case in view; empty while there is none."""
    of_case, suspect = {}, ""
    if view is not None:
        suspect = view.settings.own.suspect
        stages = {"poison": "the poisoned model", "unlearn": "the purified model"}
        of_case = {
            f"{OF_CASE}{view.name}/{stage}": f"{said} of the case in view"
            for stage, said in stages.items()
            if view.has(stage)
        }
    new = st.session_state.pop(f"imported-{slot.name}", None)
    options = [*of_case, *sorted(ingested.keys("model"), key=lambda key: key != suspect)]
    if new in options:
        st.session_state[f"{place}-model"] = new
    if not options:
        st.info("No model is here yet. Bring one below.")
        return ""
    return (
        st.selectbox(
            "Model",
            _there(f"{place}-model", options),
            key=f"{place}-model",
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


def larger(model: str) -> float:
    """How much longer a model's step takes than the shipped one's."""
    return max(1.0, read(model, "card")["parameters"] / PARAMETERS) if model.startswith("model-") else 1.0


def _of_scenes(model: str) -> bool:
    """Whether a model looks as if it knew scenes: a case's does, and one that takes images of their size."""
    return not model.startswith("model-") or read(model, "card")["preprocessing"].get("size") in (SIZE, [SIZE, SIZE])


def reference(model: str, place: str) -> str:
    """A clean model to compare with, by its name in the store, or the shipped one; empty: none."""
    own = {SHIPPED: "the reference that comes with this app (scenes, 48 px)", "": "none"}
    others = [key for key in ingested.keys("model") if key != model and read(key, "card")["state"] == "clean"]
    return (
        st.selectbox(
            "Clean model to compare with",
            _there(f"{place}-reference", [SHIPPED, *others, ""] if _of_scenes(model) else [*others, "", SHIPPED]),
            key=f"{place}-reference",
            format_func=lambda o: own.get(o) or ingested.label(o),
            persist_state="session",
            help=HELP[place][0],
        )
        or ""
    )


def images(place: str, pairs: bool = True) -> tuple[str, list[str]]:
    """Clean images, and the names of classes; none: the images' own. `pairs`: whether pairs, which may hold poisons,
    are offered too.
    """
    labelled, others = ingested.keys("labelled"), ingested.keys("pairs") if pairs else []
    chosen = st.selectbox(
        "Clean images",
        _there(f"{place}-images", [SCENES, *labelled, *others]),
        key=f"{place}-images",
        format_func=lambda o: "scenes, drawn here" if o == SCENES else ingested.label(o),
        persist_state="session",
        help=HELP[place][1],
    )
    text = st.text_area(
        "Names of classes, one a line",
        key=f"{place}-classes",
        height=100,
        placeholder="empty: those of the images",
        persist_state="session",
        max_chars=MOST,
    )
    return chosen or SCENES, parse_classes(text.encode(), "Names of classes") if text.strip() else []
