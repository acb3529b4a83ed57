"""Links between the documents that the page *Help* shows lead on in the same tab, without a new session."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

import streamlit as st

from ubt.ui import web


def address(document: str, part: str) -> str:
    """What a link to a part of a document is: it opens that part in a new tab, too."""
    return "?" + urlencode({"document": document, "part": part})


def follow(home: str, go: Callable[[str, str], None]) -> None:
    """Call back with document and part when such a link inside the container `home` is clicked."""

    def heard() -> None:
        said = parse_qs(st.session_state["links"].get("followed") or "")
        if "document" in said and "part" in said:
            go(said["document"][0], said["part"][0])

    component = st.components.v2.component("ubt_links", js=web.text("help_links.js"))
    component(key="links", data={"home": home}, on_followed_change=heard, height=0)
