"""Where a patch works, and how large and how strong it has to be: a job on the page *Image*, and what it found."""

import streamlit as st

from ubt.clip.cost import SCORED
from ubt.evaluation.trigger_places import OPACITY, SIZE, PlacesSettings
from ubt.figures import trigger_places as figures
from ubt.ui import charts, costs, ingest_form
from ubt.ui.errors import plain
from ubt.ui.job_panel import follow
from ubt.ui.lens import Patch
from ubt.ui.view import View, read, store
from ubt.workflows import jobs, made_here, trigger_places
from ubt.workflows.gate import Gate

PLACE = "places"
SAID = "Measured", "It could not be measured", "It was cancelled; nothing was kept."


def section(view: View | None, key: str, gate: Gate, found: Patch, size: tuple[int, int]) -> None:
    """The ASR of a patch that is under the lens, on images of this size, by place, size and opacity.

    Args:
        key: of the gate's calibration in the store.
    """
    names = list(gate.watched.names)
    with st.expander("Where it works, how large, how strong", icon=":material/grid_on:", expanded=PLACE in _wanted()):
        if len(names) < 2:
            st.caption("Name classes above: the ASR is the share of images that a model takes for one of them.")
            return
        target = st.selectbox("Target", names, index=_likely(view, names), key="places-target", format_func=plain)
        pixels, top, left = found.seen(*size)
        about = dict(read(key, "about")["watch"]) | {"classes": names}
        s, reference = PlacesSettings(), " and the reference" if about["reference"] else ""
        st.caption(
            f"The ASR of the model{reference} on {s.images} of the gate's images: the patch at {s.grid} x {s.grid}"
            f" places, then at {s.steps} sizes and {s.steps} opacities where it lies now."
        )
        asked = trigger_places.Asked(
            about["model"], about["reference"], about["images"], tuple(names), target or names[0], "", top, left
        )
        _measured(about, asked, pixels)


def _wanted() -> set[str]:
    return {PLACE} if f"importing-{PLACE}" in st.session_state or "places-shown" in st.session_state else set()


def _likely(view: View | None, names: list[str]) -> int:
    """The target of the case in view where that is known, else the first class."""
    known = [] if view is None or view.audits else [p.attack.target for p in view.settings.attacks]
    return next((names.index(target) for target in known if target in names), 0)


def _measured(about: dict, asked: trigger_places.Asked, pixels) -> None:
    under = ingest_form.under_way(PLACE, lambda other: other.kind == "places")
    for lock in sorted(under):
        follow(lock, "measuring", PLACE)
    ingest_form.ended(PLACE, under, SAID)
    shown = st.session_state.get(f"imported-{PLACE}")
    if shown is not None and store().find(shown) is not None:
        st.session_state["places-shown"] = True
        _drawn(shown)
    if under:
        return
    cost = SCORED * asked.settings.images * (asked.settings.grid**2 + 2 * asked.settings.steps) * 2
    said = "Measure it again, as it is now" if shown else "Measure it"
    if costs.button(said, costs.of_seconds(cost), "places-start", icon=":material/grid_on:"):
        patch = trigger_places.keep(store(), pixels)
        wanted = made_here.places_of(about, asked.target, patch, (asked.top, asked.left))
        st.session_state.pop(f"imported-{PLACE}", None)
        if there := jobs.imported(store(), jobs.import_lock(wanted)):
            st.session_state[f"imported-{PLACE}"] = there
        else:
            ingest_form.begin(PLACE, wanted)
        st.rerun(scope="app")


def _drawn(key: str) -> None:
    rates, about = read(key, "rates"), read(key, "about")
    labels = {"suspect": "this model", "reference": "the reference"}
    natural = ", ".join(f"{labels[side]} {rate:.1f} %" for side, rate in about["natural"].items())
    target = plain(about["target"])
    charts.draw(figures.by_place(rates, labels, tuple(about["at"])), "places-map", "ASR by the place of the patch")
    left, right = st.columns(2, gap="large")
    for column, by in ((left, SIZE), (right, OPACITY)):
        charts.draw(figures.curve(rates, by, labels), f"places-{by}", f"ASR by {by} of the patch", column)
    st.caption(
        f"Target {target}; {about['images']:,} images, those left out that a model takes for it without the patch"
        f" ({natural}). The ring is where the patch lay."
    )
