"""Type that the back of a room can read."""

import contextlib
from collections.abc import Iterator

import streamlit as st

from ubt.ui import web


@contextlib.contextmanager
def large(presented: bool = False) -> Iterator[None]:
    """Draw what follows in large type; `presented`: so that it fills the screen, and nothing else is there."""
    sheets = ["walkthrough.css", *(["presenter.css"] if presented else [])]
    st.html(f"<style>{''.join(map(web.text, sheets))}</style>")
    with st.container(key="walk"):
        yield
