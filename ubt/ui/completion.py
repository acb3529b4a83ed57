"""The words that a text field takes, offered while one of them is typed."""

from collections.abc import Iterable

import streamlit as st

from ubt.ui import web


def offer(key: str, words: Iterable[str]) -> None:
    """Offer, in the text field with this key, the words that begin with the one before the cursor."""
    component = st.components.v2.component("ubt_completion", js=web.text("completion.js"))
    component(key=f"completion-{key}", data={"field": key, "words": list(words)}, height=0)
