"""Where a patch works, and how large and how strong it has to be: a job on the page *Image*, and what it found."""

import numpy as np
import streamlit as st

from ubt.clip.cost import SCORED
from ubt.evaluation.trigger_places import OPACITY, SIZE
from ubt.figures import trigger_places as figures
from ubt.figures.attribution import enlarged
from ubt.ui import charts, components, costs, ingest_form, lens, model_choice
from ubt.ui.errors import plain
from ubt.ui.job_panel import follow
from ubt.ui.view import View, compute, read, store
from ubt.workflows import made_here, trigger_places
from ubt.workflows.gate import Gate
from ubt.workflows.scan import on_grey
from ubt.workflows.trigger_places import VERSION, Asked

PLACE = "places"
SAID = "Measured", "It could not be measured", "It was cancelled; nothing was kept."
SHOWN = "places-shown"
"""Of the session's state: the latest that was shown."""


def section(view: View | None, key: str, gate: Gate, found: lens.Patch, size: tuple[int, int]) -> None:
    """The ASR of a patch that is under the lens, on images of this size, by place, size and opacity.

    Args:
        key: of the gate's calibration in the store.
    """
    names = gate.watched.names
    opened = SHOWN in st.session_state or f"importing-{PLACE}" in st.session_state
    with st.expander("Where it works, how large, how strong", icon=":material/grid_on:", expanded=opened):
        if len(names) < 2:
            st.caption("Name classes above: the ASR is the share of images that a model takes for one of them.")
            return
        target = _target(view, list(names))
        pixels, top, left = found.seen(*size)
        about, patch = read(key, "about")["watch"], trigger_places.name_of(pixels)
        opacity = st.session_state.get(lens.STRENGTH, 100) / 100
        asked = Asked(about["model"], about["reference"], about["images"], names, target, patch, top, left, opacity)
        _measured(asked, pixels)


def _target(view: View | None, names: list[str]) -> str:
    """One of the classes; to begin with the target of the case in view, where that may be shown, else the first."""
    known = [p.attack.target for p in lens.known_attacks(view).values()]
    first = next((names.index(target) for target in known if target in names), 0)
    of = "" if view is None else view.name
    return st.selectbox("Target", names, index=first, key=f"places-target-{of}", format_func=plain) or names[0]


def _measured(asked: Asked, pixels: np.ndarray) -> None:
    """What was measured of this very patch as it lies, or else the button that measures it."""
    s, wanted = asked.settings, made_here.places_of(asked, f"{VERSION} {compute()}")
    under = ingest_form.under_way(PLACE, lambda other: other == wanted)
    for lock in sorted(under):
        follow(lock, "measuring", PLACE)
    key = asked.key(compute())
    if store().find(key) is not None:
        ingest_form.ended(PLACE, under, SAID)
        st.session_state[SHOWN] = key
        _drawn(key)
        return
    if under:
        return
    ingest_form.ended(PLACE, under, SAID)
    both = f"the model{' and of the reference' if asked.reference else ''}"
    st.caption(
        f"The ASR of {both} on {s.images} other images of the gate's kind: the patch as large and strong as it is now"
        f" at {s.grid} x {s.grid} places, then at {s.steps} sizes and {s.steps} opacities where it lies."
    )
    larger = sum(model_choice.larger(name) for name in (asked.model, asked.reference) if name)
    cost = SCORED * s.images * (s.grid**2 + 2 * s.steps) * larger
    if costs.button("Measure it", costs.of_seconds(cost), "places-start", icon=":material/grid_on:"):
        trigger_places.keep(store(), pixels, asked.model)
        ingest_form.begin(PLACE, wanted)
        st.rerun(scope="app")
    if (last := _earlier(asked)) is not None:
        st.markdown("**As it was when it was measured last**")
        _drawn(last)


def _earlier(asked: Asked) -> str | None:
    """What was shown last, if it is of the same models and images."""
    last = st.session_state.get(SHOWN)
    if last is None or store().find(last) is None:
        return None
    about = read(last, "about")
    same = all(about[name] == getattr(asked, name) for name in ("model", "reference"))
    return last if same else None


def _drawn(key: str) -> None:
    rates, about = read(key, "rates"), read(key, "about")
    labels = {"suspect": "this model", "reference": "the reference"}
    natural = ", ".join(f"{labels[side]} {rate:.1f} %" for side, rate in about["natural"].items())
    left, right = st.columns([1, 8], vertical_alignment="center")
    with left:
        components.pictures([("the patch", enlarged(_shown(np.asarray(read(about["patch"], "pixels")))))])
    right.caption(
        f"Target {plain(about['target'])}; {about['images']:,} images, those left out that a model takes for it without"
        f" the patch ({natural}). Strength {100 * about['opacity']:.0f} %; the ring is where the patch lay."
    )
    charts.draw(figures.by_place(rates, labels, tuple(about["at"])), "places-map", "ASR by the place of the patch")
    for column, by in zip(st.columns(2, gap="large"), (SIZE, OPACITY), strict=True):
        charts.draw(figures.curve(rates, by, labels), f"places-{by}", f"ASR by {by} of the patch", column)


def _shown(patch: np.ndarray) -> np.ndarray:
    """A patch (h, w, 3 or 4) on grey: uint8 (h, w, 3)."""
    return patch if patch.shape[2] == 3 else on_grey(patch)
