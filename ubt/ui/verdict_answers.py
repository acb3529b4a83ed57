"""The three answers that a verdict can give: the one that holds large, with its reason and the next step; the other two
small, with what they would mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.defenses.token_unlearning.verdict import answer
from ubt.reports.case_report.finished_case import conclusion, what_to_do
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import View
from ubt.workflows.audit import FOLDS

CARDS = {
    "bad": (st.error, ":material/coronavirus:"),
    "good": (st.success, ":material/verified:"),
    "warning": (st.warning, ":material/help:"),
}
"""What shows a verdict, by its tone, and with which icon."""

SCAN = ("scan", "Scan the model itself", ":material/radar:", {})
"""Where to go on after a verdict about D that finds nothing: page, title, icon, query."""


@dataclass(frozen=True)
class Answer:
    """One of the three: its sign and colour, what it means where it holds, and what it would mean."""

    sign: str
    colour: str
    means: str
    would_mean: str


ANSWERS = {
    POISONED: Answer(
        ":material/coronavirus:",
        "red",
        "A group of pairs shares one shortcut: the model moves their images away from where the clean reference puts"
        " them, all alike. Clean pairs do none of this.",
        "a group of pairs shares one shortcut that moves their images, all alike",
    ),
    NOT_POISONED: Answer(
        ":material/verified:",
        "green",
        "No group of pairs is concentrated, displaced and separated, and every health check whose failure could"
        " hide one passed."
        " This is about these pairs and this model's use of them, not about whatever else the model was taught: for"
        " that look at the model alone (page *Scan*).",
        "no such group was found, and the checks whose failure could hide one passed",
    ),
    CANNOT_TELL: Answer(
        ":material/help:",
        "orange",
        "A health check failed, so that neither of the other answers could be relied on.",
        "a health check failed, so that no answer could be relied on",
    ),
}


def draw(view: View, found: Mapping[str, Any] | None) -> None:
    """The answer of an audit; without one (`found` is None) all three small."""
    if found is None:
        st.markdown("**The answer will be one of three:**")
        for column, said in zip(st.columns(3, gap="medium"), ANSWERS, strict=True):
            _small(column, said)
        return
    held = answer(found)
    left, right = st.columns([5, 2], gap="large", vertical_alignment="center")
    with left:
        _large(found)
        _next(view, held)
    with right:
        st.caption("The other two answers would have meant:")
        for said in ANSWERS:
            if said != held:
                _small(right, said)


def about_pairs(view: View) -> None:
    """After a verdict that finds nothing: what it does not speak of, and where that is looked at."""
    said = "This verdict is about D."
    if attacked := ", ".join(p.label for p in view.settings.model_attacks if not view.audits):
        said = (
            f"This verdict is about D, and D is clean. The attack of this case ({plain(attacked)}) is on the model"
            " itself: no pair can give it away."
        )
    page, title, icon, _ = SCAN
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(said, width="content")
        st.page_link(PAGES[page], label=title, icon=icon)


def _large(found: Mapping[str, Any]) -> None:
    said, tone = conclusion(found)
    show, icon = CARDS[tone]
    held = answer(found)
    head, _, rest = said.partition("; ")
    lines = [ANSWERS[held].means, *(plain(why) for why in what_to_do(found)), _figures(found)]
    lines += [rest[0].upper() + rest[1:]] if rest else []
    show(f"## {head.replace(held, f'**{held}**', 1)}\n\n" + "\n\n".join(lines), icon=icon)


def _figures(found: Mapping[str, Any]) -> str:
    """What was measured, beside its thresholds."""
    parts = [
        f"score {found['score']:.2f} (poisoned above {found['threshold']:g})",
        f"displaced {found['displaced']:.2f} (above {found['least_displaced']:.2g})",
    ]
    if "apart" in found:
        parts.append(f"separated {found['apart']:.2f} (above {found['least_apart']:g})")
    if found.get("exceeds") is not None:
        times, least = found["exceeds"], found["least_exceeds"]
        parts[-1] += f" or displaced {times:.1f} times as far as what else fits badly (above {least:g})"
    return f"Measured: {', '.join(parts)}."


def _next(view: View, held: str) -> None:
    """What to do now."""
    own = view.settings.own
    again = {"pairs": own.pairs, "model": own.suspect, "reference": own.reference or FOLDS, "labels": own.test}
    links = {
        POISONED: [
            ("review", "Look at the flagged pairs", ":material/flag:", {}),
            ("unlearn", "Take the purified model", ":material/healing:", {}),
        ],
        NOT_POISONED: [SCAN, ("check", "Check another model, or other pairs", ":material/fact_check:", {})],
        CANNOT_TELL: [("check", "Change what failed, and run again", ":material/fact_check:", again), SCAN],
    }[held]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Next:**", width="content")
        for page, title, icon, query in links:
            known = {name: key for name, key in query.items() if key}
            st.page_link(PAGES[page], label=title, icon=icon, query_params=known or None)


def _small(where: Any, said: str) -> None:
    shown = ANSWERS[said]
    where.markdown(f":{shown.colour}[{shown.sign}] **{said[0].upper()}{said[1:]}**: {shown.would_mean}.")
