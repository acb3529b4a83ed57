"""Data: import pairs, labelled images and models of one's own, and make a lab case of them.

Pairs, labelled images and models of your own: drop a file, or name its path on this machine, where images then stay and
are read when they are needed. Files are treated as hostile: what cannot be used is left out and listed with its reason,
and nothing in them is run.
"""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.data.scenes import SIZE
from ubt.ui import controls, ingest_form, ingested, query_params
from ubt.ui.case_form import PRESET_HELP, draft
from ubt.ui.errors import guard
from ubt.ui.navigation import PAGES, current, heading
from ubt.ui.view import read, store
from ubt.workflows.ingest import lab_of, trained_on

PARTS = {"pairs": "Pairs", "model": "Models", "labelled": "Labelled images", "case": "Make a lab case"}
SHIPPED = f"the built-in one, of drawn scenes ({SIZE} px)"
LEAST, MOST = 40, 10_000
"""The fewest pairs to make a case of, and those that a lab case starts with, if there are so many."""
SPARE = 0.95
"""The largest share of the pairs that a case leaves to its reference."""

current()
heading("data")
st.page_link(PAGES["check"], label="To check a model of your own, go step by step", icon=":material/fact_check:")


@st.fragment
@guard()
def explore() -> None:
    part = _choose("Part", "part", PARTS)
    if part == "case":
        make_case()
        return
    with guard():
        ingest_form.form(ingest_form.SLOTS[part])
    ingested.listing(part)


def _choose(title: str, name: str, options: dict[str, str]) -> str:
    """One of a few, which the address holds while it is not the first. A widget bound to the address would forbid to
    leave for another page.
    """
    if (wanted := query_params.read(name)) in options:
        st.session_state[name] = wanted
    first = next(iter(options))
    st.session_state.setdefault(name, first)
    chosen = controls.choice(title, options, name, label_visibility="collapsed")
    query_params.write(name, chosen, shown=chosen != first)
    return chosen


def make_case() -> None:
    """Compose a lab case, whose pairs are poisoned here, of what was imported."""
    st.caption(
        "Your pairs are poisoned here, so that the truth is known: for trying attacks and tuning on your own data."
    )
    there = {kind: ingested.keys(kind) for kind in ("pairs", "model", "labelled")}
    needed = {"pairs": "pairs", "labelled": "labelled images"}
    if missing := [what for k, what in needed.items() if not there[k]]:
        st.info(f"This needs {' and '.join(missing)}; import them first, above.")
        return
    left, right = st.columns(2)
    pairs = left.selectbox("Pairs", there["pairs"], key="own-pairs", format_func=ingested.label)
    reference = _reference(right, {key: read(key, "card")["state"] for key in there["model"]})
    if (found := read(pairs, "about")["kept"]) < LEAST:
        raise BadInput(f"{ingested.label(pairs)}: expected at least {LEAST} pairs to make a case of; import more")
    base = _lab(left, right, pairs, reference, there["labelled"], found)
    draft(base, f"own-{digest(base.to_dict())}", lambda: st.switch_page(PAGES["overview"]))


def _reference(at: DeltaGenerator, states: dict[str, str]) -> str:
    """The clean model to poison, by its name in the store; empty for the shipped one."""
    about = (
        "A clean model of the same image size, for example a public CLIP: import ViT-B-32-quickgelu/openai under"
        " Models, as clean"
    )
    return at.selectbox(
        "Clean reference",
        [*(k for k in states if states[k] == "clean"), "", *(k for k in states if states[k] != "clean")],
        key="own-reference",
        format_func=lambda k: ingested.label(k) if k else SHIPPED,
        help=about,
    )


def _lab(
    left: DeltaGenerator, right: DeltaGenerator, pairs: str, reference: str, labelled: list[str], found: int
) -> CaseSettings:
    """The settings of a lab case on `found` pairs, once labelled images, spare share and preset are chosen."""
    measured_on = left.selectbox(
        "Labelled images",
        labelled,
        key="own-labelled",
        format_func=ingested.label,
        help="They measure CA and ASR; their classes are what a target can be",
    )
    about = (
        "Share of the pairs that the reference was trained on (python -m ubt data reference); the case does not take"
        " these"
    )
    if (known := trained_on(store(), pairs, reference)) > SPARE:
        raise BadInput(
            f"{ingested.label(reference)}: expected a reference that leaves some of these pairs to the case, got one"
            f" trained on {100 * known:.0f} % of them; choose another reference, or other pairs"
        )
    spare = right.number_input("Spare share", 0.0, SPARE, known, 0.05, key="own-spare", help=about)
    preset = st.segmented_control(
        "Preset", list(PRESETS), default="demo", required=True, key="own-preset", help=PRESET_HELP
    )
    own = lab_of(store(), pairs, measured_on, reference, spare)
    size = max(LEAST, min(MOST, int((1 - spare) * found)))
    return CaseSettings.preset(preset, pairs=size).with_values(own | {"attack.target": read(measured_on, "classes")[0]})


explore()
