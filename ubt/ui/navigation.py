"""The pages of the app: a page is a file in `pages/`, whose docstring says its title, what it is for and what is read
below its title, and a name in `SECTIONS`.
"""

import ast
from dataclasses import dataclass
from functools import cache

import streamlit as st

from ubt.core.files import APP
from ubt.ui.view import View

SECTIONS = {
    "Start": ("overview", "cases", "learn", "whatif", "help"),
    "Bring in": ("check", "scan", "image", "data", "triggers"),
    "Inspect": ("inspect", "separation", "neighbours", "map", "review", "tokens", "patches"),
    "Defend": ("unlearn", "compare"),
}
"""The sections of the navigation, and their pages by their names in the address; the first opens by default. No icons:
a page's icon becomes the tab's, which the browser then fetches from another host.
"""
PAGES = {name: f"pages/{name}.py" for names in SECTIONS.values() for name in names}
"""A page's name in the address, and its file. One that no section names is in the last."""


@dataclass(frozen=True)
class Page:
    """What a page says of itself: its title, what it is for, and the text below its title."""

    title: str
    about: str
    text: str


@cache
def page(name: str) -> Page:
    """A page as its own file describes it: `Title: what it is for.`, and in a second paragraph the text below its
    title.
    """
    doc = ast.get_docstring(ast.parse((APP / PAGES[name]).read_text(encoding="utf-8"))) or ""
    first, _, text = doc.partition("\n\n")
    title, _, about = first.partition(": ")
    return Page(title, about[:1].upper() + " ".join(about.split())[1:], " ".join(text.split()))


def heading(name: str, compact: bool = False) -> None:
    """Draw a page's title and the text below it; `compact`: in a line, the text for whoever asks."""
    if compact:
        with st.container(key="compact"):
            st.title(page(name).title, help=page(name).text, anchor=False)
        return
    st.title(page(name).title)
    st.caption(page(name).text)


def _to_first() -> None:
    st.switch_page(next(iter(PAGES.values())), query_params=st.query_params.to_dict())


def navigation():
    """The page that the address asks for, to be run. Streamlit answers for the first page at `/` alone, so that a page
    of the first one's name leads there.
    """
    first = next(iter(PAGES))
    at = {name: name for name in PAGES} | {first: "start"}
    section = {name: title for title, names in SECTIONS.items() for name in names}
    listed = {title: [] for title in SECTIONS}
    listed["Start"].append(st.Page(_to_first, title=page(first).title, url_path=first, visibility="hidden"))
    for name, file in PAGES.items():
        listed[section.get(name, [*SECTIONS][-1])].append(
            st.Page(file, title=page(name).title, help=page(name).about, url_path=at[name], default=name == first)
        )
    return st.navigation(listed, expanded=True)


def current() -> View | None:
    """The case that the picker shows, for a page to draw.

    Streamlit runs the first page asked of a fresh server without `app.py` where the folder is called `pages`;
    navigation turns that off, and the page starts over.
    """
    if "view" not in st.session_state:
        navigation()
        st.rerun()
    return st.session_state.pop("view")
