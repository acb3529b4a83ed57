"""A finished lab case at a glance: poisons that it planted, and what unlearning did to the attack and to the model."""

from html import escape

import numpy as np
import streamlit as st

from ubt.figures import LABELS, MODELS
from ubt.ui import components, images, pairs, web
from ubt.ui.errors import plain
from ubt.ui.job_panel import live
from ubt.ui.navigation import PAGES
from ubt.ui.view import View

SHOWN = 4
MEASURED = {
    "asr": ("Attack success rate (ASR)", "triggered images that the model takes for the attacker's target"),
    "ca": ("Clean accuracy (CA)", "clean images that it classifies correctly"),
}
BEFORE_AND_AFTER = {"before unlearning": "poisoned", "after unlearning": "purified"}


def possible(view: View | None) -> bool:
    """Whether a case has what is shown here."""
    return view is not None and not view.audits and view.has("verdict", "evaluate_poisoned", "evaluate_purified")


def targets(view: View) -> list[str]:
    """What the attacks of a lab case that poison pairs aim at, each once; nothing in an audit."""
    planted = [] if view.audits else view.settings.attacks
    return list(dict.fromkeys(a.attack.target for a in planted if a.poisons(view.settings.data.pairs)))


def introduction() -> None:
    """What this app is for, in a sentence."""
    st.title("UBT Inspector")
    st.markdown(
        "Find out whether a CLIP model was backdoored, see the image-caption pairs and words that did it, and unlearn"
        " it (UBT: Unlearn Backdoor Threats). Below is a finished example: open any page to look into it."
    )


def draw(view: View) -> None:
    """Some poisons beside the bars of before and after."""
    left, right = st.columns([1, 1], gap="large", vertical_alignment="center")
    with left:
        _poisons(view)
    with right:
        bars(view.measured())


def _poisons(view: View) -> None:
    table = pairs.table(view)
    planted = table.poisoned if table.poisoned is not None else np.zeros(len(table), bool)
    found = planted if table.flagged is None else planted & table.flagged
    rows = table.most_suspicious(found if found.any() else planted, SHOWN)
    if not len(rows):
        attacked = [p.label for p in view.settings.model_attacks]
        said = f"; its model was attacked ({plain(', '.join(attacked))})" if attacked else ""
        st.caption(f"No pair was poisoned in this case{said}.")
        return
    st.markdown(
        f"**{int(planted.sum()):,} of {len(table):,} training pairs are poisoned**: each image carries a trigger, and"
        f" its caption names {plain(' or '.join(targets(view)))}. The method flagged {int(found.sum()):,} of them."
    )
    captions = table.frame(rows, ["caption"])["caption"]
    components.grid(images.some(view, rows), captions, [""] * len(rows), [True] * len(rows), columns=SHOWN)


def bars(measured: dict[str, dict]) -> None:
    """ASR and CA of the poisoned and of the purified model as wide bars with their figures, in percent."""
    st.html(f"<style>{web.text('at_a_glance.css')}</style>" + "".join(_measure(k, measured) for k in MEASURED))


def _measure(key: str, measured: dict[str, dict]) -> str:
    title, about = MEASURED[key]
    rows = "".join(
        f'<div class="ubt-bar"><span>{when}</span><div><i style="width:{measured[model][key]:.2f}%;'
        f'background:{MODELS[model]}" title="{escape(LABELS[model])}"></i></div>'
        f"<b>{measured[model][key]:.1f} %</b></div>"
        for when, model in BEFORE_AND_AFTER.items()
    )
    return f'<div class="ubt-measure"><b>{title}</b> <small>{about}</small>{rows}</div>'


def next_steps(view: View) -> None:
    """The three ways on: learn, run it, check one's own."""
    with st.container(horizontal=True, key="next-steps"):
        if st.button("Learn it in ten steps", key="to-learn", type="primary", icon=":material/school:"):
            st.switch_page(PAGES["learn"])
        live(view, "live-first", short=True)
        if st.button("Check my model or data", key="to-check", icon=":material/fact_check:"):
            st.switch_page(PAGES["check"])
