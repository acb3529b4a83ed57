"""The last step of a check: what it will take, what the verdict can say and what not, and the button that runs it."""

import streamlit as st

from ubt.cases.settings import CaseSettings
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.ui import components, ingested
from ubt.ui.case_form import draft
from ubt.ui.case_picker import show
from ubt.ui.check_reference import label
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import compute, import_name, read, store
from ubt.workflows import audit, reference_health
from ubt.workflows.prospects import Prospects, prospects


def draw(pairs: str, model: str, reference: str, labels: str, name: str) -> None:
    """What is checked with what, its prospects, settings and cost, and *Run*.

    Raises:
        BadInput: model and reference are the same, or there are too few pairs.
    """
    unseen = audit.without_seen(store(), pairs, reference)
    kept = unseen.get("data.pairs", read(pairs, "about")["kept"])
    base = audit.settings_of(store(), pairs, model, reference, labels, audit.starting(kept) | unseen)
    components.table(
        ["what", "is checked with"],
        [
            ("pairs", f"{kept:,} pairs of {import_name(pairs)}"),
            ("model", ingested.label(model)),
            ("reference", label(reference or audit.FOLDS)),
            ("labels", ingested.label(labels) if labels else "none"),
        ],
        labels=2,
    )
    checks = reference_health.checks(store(), reference, pairs, labels)
    if checks is None:
        checks = reference_health.checks(store(), reference, pairs, "")
    above = st.container()

    def about(chosen: CaseSettings) -> None:
        with above:
            _prospects(prospects(store(), chosen, checks))
        _there_already(chosen.name(compute()))

    st.markdown("**Settings, and what it takes**")
    draft(base, name, lambda: st.switch_page(PAGES["overview"]), about)


def _there_already(name: str) -> None:
    """Say that the very same check was made before, and lead there."""
    if name not in store().names():
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("This check already exists; what is finished is not computed again.", width="content")
        if st.button("Open it", key="open-check", icon=":material/arrow_forward:"):
            show(name)
            st.switch_page(PAGES["overview"])


def _prospects(found: Prospects) -> None:
    lists = (
        ("It will tell you", ":green[:material/check:]", found.can),
        ("It cannot tell you", ":gray[:material/block:]", found.cannot),
    )
    for column, (head, sign, lines) in zip(st.columns(2, gap="large"), lists, strict=True):
        column.markdown(f"**{head}**\n\n" + "  \n".join(f"{sign} {plain(line)}" for line in lines))
    if found.hopeless:
        st.error(
            f"As things stand the answer can only be **{CANNOT_TELL}**: a health check fails, see below. You can run it"
            " all the same; what it shows has no verdict.",
            icon=":material/error:",
        )
    for caution in found.cautions:
        said = f"{plain(caution.said[0].upper() + caution.said[1:])}. **What to do:** {plain(caution.advice)}."
        (st.error if caution.grave else st.warning)(said)
