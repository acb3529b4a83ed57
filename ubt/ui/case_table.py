"""Every case as a row of a table, and what can be done with those that are chosen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ubt.attacks import ATTACKS
from ubt.cases import marks
from ubt.cases.marks import LONGEST
from ubt.cases.record import CaseRecord
from ubt.cases.titles import SAID, attack_of, said
from ubt.core.text import visible
from ubt.defenses.token_unlearning.verdict import answer
from ubt.reports.case_report.contents import KINDS
from ubt.reports.two_cases import seconds
from ubt.ui import case_records, python_code, roles
from ubt.ui.case_picker import label, show
from ubt.ui.case_picker import names as offered
from ubt.ui.case_records import Known
from ubt.ui.errors import guard, plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import import_name, store

PIN = "★"
MOST = 10
"""Columns of settings in which cases differ, beside those that every table has; the ones that most differ in first."""
COLUMNS = {"attack.target": "target", "attack.caption": "caption", "seed": "seed"}
"""Settings that every table has a column of."""
FIGURES = {
    "CA before": ("poisoned", "ca"),
    "CA after": ("purified", "ca"),
    "ASR before": ("poisoned", "asr"),
    "ASR after": ("purified", "asr"),
}


def under_way(cases: Mapping[str, Known]) -> bool:
    """Whether a case is being run, as far as the records say."""
    return any(case.record.state == "running" and store().held(name) for name, case in cases.items())


def frame(cases: dict[str, Known], text: str = "") -> pd.DataFrame:
    """A row a case, the pinned ones first: `name`, what every table has, and the settings in which they differ; of the
    cases that a text finds, see `_matches`.
    """
    whole = _whole(cases) if under_way(cases) else case_records.made("table", cases, lambda: _whole(cases))
    return whole[_matches(whole["searched"], text)].drop(columns="searched")


def _whole(cases: dict[str, Known]) -> pd.DataFrame:
    """The table of all cases, with `searched`: the words of each row, between spaces."""
    titles = case_records.labels(cases)
    listed = sorted(cases, key=lambda name: not cases[name].mark.pinned)
    settings = {name: cases[name].settings for name in listed}
    rows = [_row(name, cases[name], titles[name]) for name in listed]
    for setting in _differing(settings):
        values = [settings[name].get(setting) for name in listed]
        numbers = all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values)
        for row, value in zip(rows, values, strict=True):
            row[setting] = value if numbers or value is None else said(setting, value, import_name)
    return pd.DataFrame([row | {"searched": _words(row)} for row in rows])


def _row(name: str, case: Known, title: str) -> dict[str, Any]:
    record, settings, found = case.record, case.settings, case_records.figures(case.record)
    row: dict[str, Any] = {"name": name, "pinned": PIN if case.mark.pinned else ""}
    row |= {"title": title, "state": _state(name, record)}
    row["verdict"] = answer(found["verdict"]) if found.get("verdict") else None
    row |= {title: (found.get(model) or {}).get(measure) for title, (model, measure) in FIGURES.items()}
    attack = attack_of(record.settings)
    rate = _rate(settings) if attack else None
    row |= {
        "attack": ("none" if rate == 0 and not settings.get("attack.also") else attack)
        if attack
        else "audit"
        if settings
        else None,
        "rate": rate,
    }
    row |= {title: _text(settings.get(setting)) if attack else None for setting, title in COLUMNS.items()}
    row["seed"] = settings.get("seed")
    row["changed"] = pd.to_datetime(record.updated or None, unit="s", errors="coerce")
    return row | {"took": seconds(found)}


def _state(name: str, record: CaseRecord) -> str:
    """How a case stands, in words."""
    standing: str = "built-in" if record.built_in else record.state
    if standing == "running" and not store().held(name):
        standing = "interrupted"
    return KINDS.get(standing, standing)


def _rate(settings: dict[str, Any]) -> float | None:
    """Poisons of the case's first attack, in percent of its pairs; none where it attacks the model."""
    attack = ATTACKS.get(settings.get("attack.name", ""))
    if attack is not None and not attack.settings.plants:
        return None
    count, pairs, rate = (settings.get(n) for n in ("attack.count", "data.pairs", "attack.rate"))
    return 100 * count / pairs if count and pairs else None if rate is None else 100 * rate


def _text(value: Any) -> str | None:
    return None if value is None else visible(value, LONGEST)


def _differing(settings: dict[str, dict[str, Any]]) -> list[str]:
    """The settings in which cases differ and that have no column yet, those first in which most differ."""
    apart: dict[str, int] = {}
    for name in dict.fromkeys(n for each in settings.values() for n in each if n not in {*SAID, *COLUMNS}):
        held = Counter(str(each[name]) for each in settings.values() if name in each)
        if len(held) > 1:
            apart[name] = held.total() - max(held.values())
    return sorted(apart, key=lambda name: -apart[name])[:MOST]


def _words(row: Mapping[str, Any]) -> str:
    """The words that find a row, in small letters: those that it shows, and `column=value` of each column."""
    shown = {column: value for column, value in row.items() if value is not None}
    told = [f"{column}={said(column, value, import_name)}" for column, value in shown.items()]
    return f" {' '.join([*map(str, shown.values()), *told])} ".casefold()


def _matches(searched: pd.Series, text: str) -> pd.Series:
    """Which rows hold every word of a text; a number, or what has `=`, as a whole word."""
    matching = pd.Series(True, searched.index)
    for word in text.casefold().split():
        whole = "=" in word or word.replace(".", "", 1).isdigit()
        matching &= searched.str.contains(f" {word} " if whole else word, regex=False)
    return matching


def height(rows: int) -> int:
    """How high a table of so many rows is, in pixels."""
    return min(37 + 35 * max(1, rows), 440)


CONFIG = {
    "name": None,
    "pinned": st.column_config.TextColumn(PIN, width=36, help="pinned: kept at the top, here and in the list of cases"),
    "title": st.column_config.TextColumn("case", width=300),
    "state": st.column_config.TextColumn(width=90),
    "verdict": st.column_config.TextColumn(width=100, help="before anything is unlearned"),
    **{
        title: st.column_config.NumberColumn(format="%.2f", width=84, help=f"{title} unlearning, percent")
        for title in FIGURES
    },
    "rate": st.column_config.NumberColumn("rate, %", format="%.3g", width=70, help="poisons, percent of the pairs"),
    "caption": st.column_config.TextColumn(width=80, help="form of the caption that names the target"),
    "seed": st.column_config.NumberColumn(width=50, format="%d"),
    "changed": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=130, help="UTC"),
    "took": st.column_config.NumberColumn("took, s", format="%.0f", width=70, help="seconds of all its stages"),
}
"""How the table shows its columns."""


@st.dialog("Rename this case")
def rename(name: str) -> None:
    """Give a case a title, or take it away; its folder and its results keep their names."""
    title = st.text_input(
        "Title", case_records.one(name).mark.title, max_chars=LONGEST, key="new-title", placeholder=label(name)
    )
    st.caption(f"Shown everywhere instead of its settings; empty: these again. Its name remains `{plain(name)}`.")
    if roles.button("Rename", type="primary", key="really-rename"):
        _marked([name], title=title)


@st.dialog("Delete these cases?")
def delete(names: Sequence[str]) -> None:
    """Ask once more, and delete cases."""
    for name in names:
        st.write(f"{plain(label(name))}: {_megabytes(name):.0f} MB")
    st.caption("What other cases share with them is kept.")
    if roles.button("Delete", type="primary", icon=":material/delete:", key="really-delete"):
        with guard():
            freed = sum(store().delete(name) for name in names)
            if st.session_state.get("case") in names:
                show(next(iter(offered()), None))
            st.toast(f"Freed {freed / 1e6:.0f} MB.")
            st.rerun()


def _megabytes(name: str) -> float:
    return store().size(case_records.one(name).record) / 1e6


def _marked(names: Sequence[str], **values: str | bool) -> None:
    with guard():
        for name in names:
            marks.set_mark(store(), name, **values)
        st.rerun()


def actions(chosen: Sequence[str], clear: Callable[[], None], code: str) -> None:
    """The buttons for the cases that are chosen; `clear` chooses none, `code` gives them in Python."""
    one = chosen[0] if len(chosen) == 1 else ""
    pinned = bool(chosen) and all(case_records.one(name).mark.pinned for name in chosen)
    built_in = any(case_records.one(name).record.built_in for name in chosen)
    running = any(store().held(name) for name in chosen)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open this case", key="open", icon=":material/arrow_forward:", disabled=not one) and one:
            show(one)
            st.switch_page(PAGES["overview"], query_params={"case": one})
        title = "Unpin" if pinned else "Pin"
        if roles.button(title, key="pin", icon=":material/keep:", disabled=not chosen):
            _marked(chosen, pinned=not pinned)
        if roles.button("Rename…", key="rename", icon=":material/edit:", disabled=not one) and one:
            rename(one)
        why = "Built-in cases stay" if built_in else "One of them is running" if running else None
        locked = not chosen or built_in or running
        if roles.button("Delete…", key="delete", icon=":material/delete:", disabled=locked, help=why):
            delete(chosen)
        python_code.offer(code)
        size = f", {sum(map(_megabytes, chosen)):,.0f} MB" if 0 < len(chosen) <= 4 else ""
        st.caption(
            f"{len(chosen)} chosen{size}" if chosen else "Choose rows by their boxes on the left.", width="content"
        )
        if chosen:
            st.button("Clear", key="clear-choice", on_click=clear, icon=":material/close:", type="tertiary")
