"""Controls that several pages share."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def choice(title: str, options: Sequence[str] | Mapping[str, str], key: str, where: Any = st, **more: Any) -> str:
    """One of a few, always one, kept while other pages are shown.

    Args:
        options: the values, or each with its title. where: the column that holds it. more: as of
            `st.segmented_control`.
    """
    if isinstance(options, Mapping):
        more["format_func"] = options.get
    return where.segmented_control(title, list(options), required=True, key=key, persist_state="session", **more)


def download(title: str, data: Any, name: str, kind: str, key: str, **more: Any) -> None:
    """A button that saves `data`, or what it returns when it is called, as the file `name` of a media type; the page is
    not run again.
    """
    more = {"icon": ":material/download:", "key": key, "on_click": "ignore"} | more
    st.download_button(title, data, name, kind, **more)


def toggle(title: str, on: bool, key: str, about: str = "", **more: Any) -> bool:
    """A switch, kept while other pages are shown; `about`: its help, `more`: as of `st.toggle`."""
    return st.toggle(title, on, key=key, persist_state="session", help=about or None, **more)
