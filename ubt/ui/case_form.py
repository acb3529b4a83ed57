"""The settings of a new case, before anything runs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ubt.attacks import ATTACKS, profile
from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.ui.case_picker import make
from ubt.ui.errors import guard
from ubt.ui.view import classes

PRESET_HELP = (
    "demo: scaled to the embedded scenes, about two minutes on two cores. paper: the paper's rates and epochs, for"
    " which they are too small."
)
MAIN = {
    "attack.target": "Target label",
    "attack.rate": "Poison rate",
    "data.pairs": "Pairs in D",
    "seed": "Seed",
    "split.fraction": "Suspicious fraction",
    "select.k": "k (0: the paper's choice)",
}
"""The settings that a case is told apart by, beside its attack, and what the form calls them."""
OF_ATTACK = ("attack.target", "attack.rate")
"""Those of them that an audit, whose model was brought, does not have."""


def draft(base: CaseSettings | None, key: str, then: Callable[[], None] = st.rerun) -> None:
    """Choose settings and make a case of them.

    Args:
        base: what to start from; None offers the presets. then: called when the case is made.
    """
    given, preset = base, "demo"
    audits = given is not None and given.own.audits
    left, right = st.columns(2, vertical_alignment="bottom")
    if given is None:
        preset = left.segmented_control(
            "Preset", list(PRESETS), default="demo", required=True, key=f"{key}-preset", help=PRESET_HELP
        )
    attack = (
        given.attack.name
        if audits
        else pick_attack(right if given is None else left, key, given.attack.name if given else "badnet")
    )
    if given is None:
        base = CaseSettings.preset(preset, attack, pairs=CaseSettings().data.pairs)
    elif attack != given.attack.name:
        base = given.with_values(
            {"attack.name": attack, "attack.rate": CaseSettings().attack.rate} | profile(attack, "embedded")
        )
    key, known = f"{key}-{preset}-{attack}", base.described()
    main = [n for n in MAIN if not (audits and n in OF_ATTACK)]
    others = {
        n: known[n]
        for n in known
        if n not in main and n != "attack.name" and _concerns(n.split(".")[0], attack, audits)
    }
    with st.form(f"{key}-form", border=False):
        changes: dict[str, Any] = {}
        half = (len(main) + 1) // 2
        for row in (main[:half], main[half:]):
            for column, name in zip(st.columns(len(row)), row, strict=True):
                with column:
                    changes[name] = widget(
                        name,
                        MAIN[name],
                        *known[name],
                        key=f"{key}-{name}",
                        choices=classes(base) if name == "attack.target" else (),
                    )
        with st.expander("All other settings"):
            typed = edit(others, key)
        with st.container(horizontal=True):
            run = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", key=f"{key}-run")
            keep = st.form_submit_button("Keep for later", key=f"{key}-keep")
    if run or keep:
        with guard():
            make(base.with_values(changes | typed), run)
            then()


def _concerns(group: str, attack: str, audits: bool) -> bool:
    """Whether a group of settings says something of such a case; what was brought is chosen on the page Data."""
    return group != "own" and (group not in (*ATTACKS, "attack") or (not audits and group in ("attack", attack)))


def pick_attack(where, key: str, first: str) -> str:
    """Which attack, with what it is."""
    return where.selectbox(
        "Attack",
        list(ATTACKS),
        index=list(ATTACKS).index(first),
        key=f"{key}-attack",
        format_func=lambda a: f"{a}: {ATTACKS[a].about}",
    )


def edit(known: dict[str, tuple[dataclasses.Field, Any]], key: str) -> dict[str, str]:
    """A table of settings whose values can be typed over; returns those that were."""
    frame = pd.DataFrame(
        [(n, str(v), f.metadata["help"]) for n, (f, v) in known.items()], columns=["setting", "value", "meaning"]
    )
    columns = {
        "setting": st.column_config.TextColumn(width="small"),
        "value": st.column_config.TextColumn(width="small", help="double-click to change"),
    }
    edited = st.data_editor(
        frame, disabled=["setting", "meaning"], hide_index=True, key=f"{key}-table", height=260, column_config=columns
    )
    return {n: v for n, v in zip(edited["setting"], edited["value"], strict=True) if v != str(known[n][1])}


def _step(f: dataclasses.Field, span: float) -> float | int:
    return f.type(1) if f.type is int or span > 20 else span / 200


def widget(
    name: str, title: str, f: dataclasses.Field, value: Any, key: str, slide: bool = False, choices: Sequence[str] = ()
) -> Any:
    """The input that fits a setting: its choices, or those given, a number in its range (a slider if `slide` and it has
    two ends), or text.
    """
    said = f.metadata["help"]
    if choices := choices or f.metadata["choices"]:
        return st.selectbox(title, choices, index=choices.index(value) if value in choices else 0, help=said, key=key)
    if f.type is str:
        return st.text_input(title, value, help=said, key=key)
    low, high = f.metadata["low"], f.metadata["high"]
    if slide and low is not None and high is not None and high <= 255:
        return st.slider(
            title, f.type(low), f.type(high), value, step=_step(f, high - low), format="%g", help=said, key=key
        )
    if f.type is float:
        low, high = (None if bound is None else float(bound) for bound in (low, high))
        return st.number_input(
            title, value=float(value), min_value=low, max_value=high, step=0.005, format="%g", help=said, key=key
        )
    return st.number_input(title, value=int(value), min_value=low, max_value=high, step=1, help=said, key=key)
