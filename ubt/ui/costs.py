"""What a button starts takes: said beside every button that starts work."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from ubt.cases.settings import CaseSettings
from ubt.core.errors import UbtError
from ubt.core.run import Compute
from ubt.ui import roles
from ubt.ui.view import compute, store
from ubt.workflows import jobs, time_left

UNKNOWN = "How long it takes is not known beforehand; its progress is shown, and *Cancel* ends it."


def takes(work: Sequence[tuple[CaseSettings, Compute, str | None]], damaged: str = "") -> str:
    """How long what is missing of some cases takes, each up to a stage, and an artefact that is `damaged`."""
    try:
        return f"Takes {jobs.remaining(store(), work, damaged).said}."
    except UbtError:
        return UNKNOWN


def of_settings(settings: CaseSettings, until: str | None = None) -> str:
    """`takes` of a new case of this machine."""
    return takes([(settings, compute(), until)])


def of_case(name: str, until: str | None = None, damaged: str = "") -> str:
    """`takes` of a case on record."""
    try:
        record = store().record(name)
        return takes([(CaseSettings.from_dict(record.settings), record.compute, until)], damaged)
    except UbtError:
        return UNKNOWN


def of_seconds(seconds: float) -> str:
    """`takes` of work that is no stage and takes so long on two cores."""
    speed = jobs.pace(store(), compute())
    return f"Takes {time_left.Estimate(seconds * (speed or time_left.TWO_CORES), measured=speed is not None).said}."


def button(title: str, cost: str, key: str, **more: Any) -> bool:
    """A button that starts work, with what that takes beneath it or, in a row, beside it; `more`: as of `st.button`."""
    pressed = roles.button(title, key=key, **{"icon": ":material/play_arrow:"} | more)
    if cost:
        st.caption(cost, width="content")
    return pressed
