"""The settings of a new case, before anything runs."""

import dataclasses
from typing import Any

import pandas as pd
import streamlit as st

from ubt.attacks import ATTACKS
from ubt.cases import CaseSettings
from ubt.config import PRESETS
from ubt.data.scenes import CLASSES
from ubt.ui.case import make
from ubt.ui.guard import guard

MAIN = {
    "attack.name": "Attack", "attack.target": "Target label", "attack.rate": "Poison rate", "data.pairs": "Pairs in D",
    "split.fraction": "Suspicious fraction", "select.k": "k (0: the paper's choice)", "seed": "Seed",
}  # fmt: skip
"""The settings that a case is told apart by, and what the form calls them."""
CHOICES: dict[str, tuple[str, ...]] = {"attack.name": tuple(ATTACKS), "attack.target": CLASSES}


def draft(base: CaseSettings | None, key: str) -> None:
    """Choose settings and make a case of them.

    Args:
        base: what to start from; None offers the presets.
    """
    if base is None:
        preset = st.segmented_control("Preset", list(PRESETS), default="demo", required=True, key=f"{key}-preset")
        st.caption("demo: scaled to the embedded scenes, about two minutes on two cores. paper: the paper's rates and epochs, for which they are too small.")
        base, key = CaseSettings.preset(preset), f"{key}-{preset}"
    known = base.described()
    with st.form(f"{key}-form", border=False):
        changes: dict[str, Any] = {}
        for row in (tuple(MAIN)[:4], tuple(MAIN)[4:]):
            for column, name in zip(st.columns(len(row)), row, strict=True):
                with column:
                    changes[name] = _widget(name, *known[name], key=f"{key}-{name}")
        with st.expander("All other settings"):
            others = edit({n: known[n] for n in known if n not in MAIN}, key)
        with st.container(horizontal=True):
            run = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", key=f"{key}-run")
            keep = st.form_submit_button("Keep for later", key=f"{key}-keep")
    if run or keep:
        with guard():
            make(base.with_values(changes | others), run)
            st.rerun()


def edit(known: dict[str, tuple[dataclasses.Field, Any]], key: str) -> dict[str, str]:
    """A table of settings whose values can be typed over; returns those that were."""
    frame = pd.DataFrame([(n, str(v), f.metadata["help"]) for n, (f, v) in known.items()], columns=["setting", "value", "meaning"])
    columns = {"setting": st.column_config.TextColumn(width="small"), "value": st.column_config.TextColumn(width="small", help="double-click to change")}
    edited = st.data_editor(frame, disabled=["setting", "meaning"], hide_index=True, key=f"{key}-table", height=260, column_config=columns)
    return {n: v for n, v in zip(edited["setting"], edited["value"], strict=True) if v != str(known[n][1])}


def _widget(name: str, f: dataclasses.Field, value: Any, key: str) -> Any:
    title, said = MAIN[name], f.metadata["help"]
    if choices := CHOICES.get(name) or f.metadata["choices"]:
        return st.selectbox(title, choices, index=choices.index(value), help=said, key=key)
    low, high = f.metadata["low"], f.metadata["high"]
    if f.type is float:
        low, high = (None if bound is None else float(bound) for bound in (low, high))
        return st.number_input(title, value=float(value), min_value=low, max_value=high, step=0.005, format="%g", help=said, key=key)
    return st.number_input(title, value=int(value), min_value=low, max_value=high, step=1, help=said, key=key)
