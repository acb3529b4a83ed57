"""The settings of a new case, before anything runs. Their inputs derive from what the settings declare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from ubt.attacks import ATTACKS, profile
from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.ui import costs, roles
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, plain
from ubt.ui.view import classes

PRESET_HELP = (
    "demo: scaled to the app's drawn scenes. paper: the paper's rates and epochs, for which these scenes are too small."
    " scratch: M_bd is trained from nothing on D, which takes eight minutes."
)
MAIN = {
    "attack.target": "Target label",
    "attack.rate": "Poison rate",
    "data.pairs": "Pairs in D",
    "seed": "Seed",
    "split.fraction": "Suspicious fraction",
    "select.k": "k (0: the paper's choice)",
}
"""The settings that tell cases apart, beside the attack, and their labels in the form."""


@dataclass(frozen=True)
class Setting:
    """A setting with its value, as it is declared: its type, help text, least and highest value, and choices."""

    name: str
    value: Any
    type: type
    help: str
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()

    @property
    def group(self) -> str:
        """The group of settings it belongs to; a setting of no group is its own."""
        return self.name.split(".")[0]

    @property
    def slidable(self) -> bool:
        """Whether its range has two ends and is short enough for a slider."""
        return self.low is not None and self.high is not None and self.high <= 255

    def concerns(self, case: CaseSettings) -> bool:
        """Whether it says something about such a case. The groups of other attacks do not, nor do any attack's in an
        audit; what was imported is chosen on the pages Check and Data.
        """
        if self.group == "attack" or self.group in ATTACKS:
            return not case.own.audits and self.group in ("attack", case.attack.name)
        return self.group != "own"


def settings_of(case: CaseSettings) -> dict[str, Setting]:
    """Every setting of a case by its dotted name."""
    return {
        name: Setting(name, value, f.type, f.help, f.low, f.high, f.choices)
        for name, (f, value) in case.described().items()
    }


@st.dialog("New case", width="large")
def new(base: CaseSettings | None = None) -> None:
    """Choose the settings of a new case, or of a copy of one, and make it."""
    draft(base, "copy" if base else "new")


def warn_if_gone() -> None:
    """Say that the case that was open, or that the address asks for, is not there, and offer a new one."""
    if gone := st.session_state.get("gone"):
        st.warning(
            f"There is no case {plain(gone)} in this cache; it was deleted, perhaps in another tab. Choose another on"
            " the left, or make a new one."
        )
        if roles.button("New case", key="new-instead", icon=":material/add:"):
            new()


def draft(
    base: CaseSettings | None,
    key: str,
    then: Callable[[], None] = st.rerun,
    about: Callable[[CaseSettings], None] = lambda chosen: None,
) -> None:
    """Choose settings and make a case of them.

    Args:
        base: what to start from; None offers the presets. then: called when the case is made. about: called with the
            settings that are chosen, before the buttons.
    """
    start, key = _start(base, key)
    settings = settings_of(start)
    main = [n for n in MAIN if settings[n].concerns(start)]
    others = {n: s for n, s in settings.items() if n not in (*main, "attack.name") and s.concerns(start)}
    changes = _main_inputs({n: settings[n] for n in main}, classes(start), key)
    with st.expander("All other settings"):
        changes |= edit(others, key)
    with guard():
        _made(start, changes, key, then, about)


def _made(
    start: CaseSettings,
    changes: Mapping[str, Any],
    key: str,
    then: Callable[[], None],
    about: Callable[[CaseSettings], None],
) -> None:
    """The buttons that make the case. No form, whose fields would start it on Enter; so the cost follows the fields."""
    wrong, chosen = "", start
    try:
        chosen = start.with_values(changes)
    except BadInput as e:
        wrong = str(e)
    if not wrong:
        about(chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        cost = "" if wrong else costs.of_settings(chosen)
        run = costs.button("Run", cost, f"{key}-run", type="primary", disabled=bool(wrong))
        keep = roles.button("Keep for later", key=f"{key}-keep", disabled=bool(wrong))
    if wrong:
        st.error(plain(wrong), icon=":material/error:")
    elif run or keep:
        make(chosen, run)
        then()


def _start(base: CaseSettings | None, key: str) -> tuple[CaseSettings, str]:
    """The settings that the form starts with, by preset and attack, and the key of its widgets, which go with them."""
    left, right = st.columns(2, vertical_alignment="bottom")
    if base is None:
        preset = left.segmented_control(
            "Preset", list(PRESETS), default="demo", required=True, key=f"{key}-preset", help=PRESET_HELP
        )
        attack = pick_attack(right, key, "badnet")
        return CaseSettings.preset(preset, attack, pairs=CaseSettings().data.pairs), f"{key}-{preset}-{attack}"
    attack = base.attack.name if base.own.audits else pick_attack(left, key, base.attack.name)
    if attack != base.attack.name:
        start = CaseSettings().attack
        changes = {"attack.name": attack, "attack.rate": start.rate, "attack.caption": start.caption}
        made_for = ATTACKS[attack].settings().made_for
        changes |= {"attack.target": made_for} if made_for else {}
        base = base.with_values(changes | profile(attack, "embedded"))
    return base, f"{key}-demo-{attack}"


def _main_inputs(settings: Mapping[str, Setting], targets: Sequence[str], key: str) -> dict[str, Any]:
    """The inputs of the main settings, in two rows; returns their values by name."""
    values: dict[str, Any] = {}
    names, half = list(settings), (len(settings) + 1) // 2
    for row in (names[:half], names[half:]):
        for column, name in zip(st.columns(len(row)), row, strict=True):
            setting = settings[name]
            if name == "attack.target" and targets:
                setting = replace(setting, choices=targets)
            with column:
                values[name] = widget(setting, MAIN[name], key=f"{key}-{name}")
    return values


def pick_attack(where, key: str, first: str) -> str:
    """Which attack, with what it is."""
    return where.selectbox(
        "Attack",
        list(ATTACKS),
        index=list(ATTACKS).index(first),
        key=f"{key}-attack",
        format_func=lambda a: f"{a}: {ATTACKS[a].about}",
    )


def edit(settings: Mapping[str, Setting], key: str) -> dict[str, str]:
    """A table of settings whose values can be typed over; returns those that were."""
    rows = [(s.name, str(s.value), s.help) for s in settings.values()]
    edited = st.data_editor(
        pd.DataFrame(rows, columns=["setting", "value", "meaning"]),
        disabled=["setting", "meaning"],
        hide_index=True,
        key=f"{key}-table",
        height=260,
        column_config={
            "setting": st.column_config.TextColumn(width="small"),
            "value": st.column_config.TextColumn(width="small", help="double-click to change"),
        },
    )
    return {n: v for n, v in zip(edited["setting"], edited["value"], strict=True) if v != str(settings[n].value)}


def widget(setting: Setting, title: str, key: str, slide: bool = False) -> Any:
    """The input that fits a setting: its choices, a number in its range (a slider if `slide` and the range allows it),
    or text.
    """
    common = {"label": title, "help": setting.help, "key": key}
    value, low, high = setting.value, setting.low, setting.high
    if choices := setting.choices:
        return st.selectbox(options=choices, index=choices.index(value) if value in choices else 0, **common)
    if setting.type is str:
        return st.text_input(value=value, **common)
    number = float if setting.type is float else int
    low, high = (None if bound is None else number(bound) for bound in (low, high))
    if slide and setting.slidable:
        step = number(1) if number is int or high - low > 20 else (high - low) / 200
        return st.slider(min_value=low, max_value=high, value=value, step=step, format="%g", **common)
    step = {"step": 0.005, "format": "%g"} if number is float else {"step": 1}
    return st.number_input(value=number(value), min_value=low, max_value=high, **step, **common)
