"""The reference of a check: whether it knows the pairs, and the ways to get one: a file, a public model, or one that is
trained here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from ubt.ui import controls, costs, ingest_form, ingested, roles
from ubt.ui.errors import plain
from ubt.ui.ingest_form import Slot
from ubt.ui.job_panel import follow
from ubt.ui.view import import_name, read, store
from ubt.workflows import jobs, made_here, reference_health
from ubt.workflows.audit import FOLDS
from ubt.workflows.ingest import Wanted

NONE = "none: models trained here on parts of these pairs stand in (a makeshift)"
WAYS = {"bring": "Bring one", "train": "Train one here"}
CLEAN = Slot("clean", "pairs", mine=True)
"""Where pairs to train on are imported."""
TRAINED = "trained"
"""The place that a reference comes to which is trained here."""
SAID = "Trained", "It could not be trained", "It was cancelled; training it again goes on from there."
HALF, EPOCHS = 0.5, 30
"""Share of the audited pairs that a reference may be trained on, and passes over the pairs."""


def label(reference: str) -> str:
    """How a list calls a reference, or none."""
    return NONE if reference == FOLDS else ingested.label(reference)


def look_at(step: str, key: str) -> None:
    """Have the health of a reference that has just come looked at, as soon as its page is drawn."""
    if step == "reference":
        st.session_state["health-of"] = key


def title(reference: str, pairs: str, model: str, labels: str) -> tuple[str, str]:
    """The badge of the step and what its title says."""
    if not reference:
        return "missing", "a clean model to compare with: bring one, or train one here"
    if reference == FOLDS:
        return "complete", NONE
    card = read(reference, "card")
    name = plain(card["name"])
    if model and card["digest"] == read(model, "card")["digest"]:
        return "bad", f"{name}: this is the model being checked itself"
    found = _known(reference, pairs, labels)
    if found is None:
        return "unknown", f"{name}: does it know these pairs?"
    failed = reference_health.failed(found)
    if not failed:
        return "complete", f"{name}: healthy, it knows these pairs"
    chance = any(reference_health.at_chance(check, _classes(labels)) for check in failed)
    return "bad", f"{name}: :red[**{'at chance level' if chance else 'a health check failed'}**]"


def _known(reference: str, pairs: str, labels: str) -> list[dict[str, Any]] | None:
    """The checks that were made with the labelled images, or at least without."""
    with_labels = reference_health.checks(store(), reference, pairs, labels)
    return with_labels if with_labels is not None else reference_health.checks(store(), reference, pairs, "")


def _classes(labels: str) -> int:
    return len(read(labels, "classes")) if labels else 0


def health(reference: str, pairs: str, labels: str) -> None:
    """What is known of a reference on these pairs, and the button, or the job, that finds it out."""
    if not reference or reference == FOLDS or not pairs:
        return
    wanted = made_here.health(reference, pairs, labels)
    lock = jobs.import_lock(wanted)
    for check in _known(reference, pairs, labels) or ():
        _said(check, labels)
    if reference_health.checks(store(), reference, pairs, labels) is not None:
        return
    just_came = st.session_state.pop("health-of", None) == reference
    if store().held(lock):
        follow(lock, "looking at the reference's health")
        return
    if just_came and roles.may_change():
        jobs.start_import(store(), wanted)
        st.rerun()
    if why := jobs.failure(store(), lock):
        st.error(plain(why), title="Its health could not be checked", icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center"):
        said = "Look at its health" if _known(reference, pairs, "") is None else "Look at it with the labelled images"
        cost = costs.of_seconds(reference_health.seconds(read(reference, "card")["parameters"], labels))
        if costs.button(said, cost, "health", icon=":material/health_and_safety:"):
            jobs.start_import(store(), wanted)
            st.rerun()


def _said(check: Mapping[str, Any], labels: str) -> None:
    """A check: green where it passed, red where it did not, with what to do."""
    line = f"{check['check'][0].upper()}{check['check'][1:]}: {check['said']}."
    if check["passed"]:
        st.markdown(f":green[:material/check_circle:] {plain(line)}")
        return
    chance = reference_health.at_chance(check, _classes(labels))
    st.error(
        f"{plain(line)} {plain(check['why'][0].upper() + check['why'][1:])}. **What to do:** {plain(check['advice'])};"
        " or train one below on pairs that you know to be clean.",
        title="At chance level: it knows nothing of these pairs" if chance else "A health check failed",
        icon=":material/error:",
    )


def ways(reference: str, pairs: str, model: str, labels: str, bring: Callable[[], None]) -> None:
    """Bring a reference by `bring`, or train one."""
    under = ingest_form.under_way(TRAINED, lambda wanted: wanted.kind == "reference")
    for lock in sorted(under):
        follow(lock, "training the reference")
    if ingest_form.ended(TRAINED, under, SAID):
        st.rerun()
    if not roles.may_change():
        bring()
        return
    st.session_state.setdefault("reference-how", "bring")
    how = controls.choice("How", WAYS, "reference-how", label_visibility="collapsed")
    if how == "bring":
        bring()
    elif not pairs:
        st.info("Choose the pairs in step 1 first, so that the reference is trained on other ones.")
    elif st.session_state.get(f"importing-{TRAINED}") not in under:
        _train(pairs, model, labels)


def _train(pairs: str, model: str, labels: str) -> None:
    st.caption(
        "A small CLIP, trained from scratch on pairs that you know to be clean: others than those that are checked, of"
        " the same kind. It knows only what they show; a public model, where one fits, knows more."
    )
    others = [key for key in ingested.keys("pairs") if key != pairs]
    if others or ingested.keys("pairs"):
        if (new := st.session_state.pop("imported-clean", None)) in others:
            st.session_state["clean-pairs"] = new
        chosen = st.selectbox(
            "Clean pairs to train on",
            [*others, pairs],
            index=None,
            key="clean-pairs",
            format_func=lambda key: _half(key) if key == pairs else ingested.label(key),
            placeholder="choose pairs, or bring others below",
        )
        if chosen:
            _offer(chosen, pairs, model, labels)
    with st.expander("Bring other pairs to train on", expanded=not others):
        if ingest_form.form(CLEAN):
            st.rerun()


def _half(key: str) -> str:
    return f"half of {import_name(key)}, which the check then leaves out (only if you know that half to be clean)"


def _offer(chosen: str, pairs: str, model: str, labels: str) -> None:
    epochs = st.number_input("Passes over them", 1, 1000, EPOCHS, key="reference-epochs", width=200)
    wanted = _wanted(chosen, chosen == pairs, model, labels, epochs)
    cost = costs.of_seconds(made_here.seconds(wanted, read(chosen, "about")["kept"]))
    if jobs.import_lock(wanted) in jobs.being_imported(store()):
        st.caption("This training is already running.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button("Train a reference", cost, "train-reference", type="primary", icon=":material/model_training:"):
            ingest_form.begin(TRAINED, wanted)
            st.rerun()


def _wanted(chosen: str, same: bool, model: str, labels: str, epochs: int) -> Wanted:
    side = read(model, "card")["preprocessing"].get("size", 0) if model else 0
    side = side if isinstance(side, int) else min(side, default=0)
    kept = read(chosen, "about")["kept"]
    return made_here.reference(chosen, kept, HALF if same else 1.0, side, epochs, labels)
