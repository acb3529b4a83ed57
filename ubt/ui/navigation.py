"""The pages of the app."""

import streamlit as st

from ubt.ui.case import View

PAGES = {
    "overview": ("Overview", ":material/account_tree:", "The case, its stages, its verdict and its figures."),
    "separation": ("Separation", ":material/area_chart:", "Does the backdoor separate from the clean pairs?"),
    "unlearn": ("Unlearn", ":material/healing:", "Purify the model, and see what that costs."),
}
"""File in `pages/` to title, icon and what it is for; the first opens by default."""


def navigation():
    """The page that the address asks for, to be run."""
    first = next(iter(PAGES))
    pages = [st.Page(f"pages/{name}.py", title=title, icon=icon, help=about, default=name == first) for name, (title, icon, about) in PAGES.items()]
    return st.navigation(pages)


def current() -> View | None:
    """The case that the picker shows, for a page to draw.

    Streamlit runs the first page asked of a fresh server without `app.py` where the folder is called `pages`; navigation turns
    that off, and the page starts over.
    """
    if "view" not in st.session_state:
        navigation()
        st.rerun()
    return st.session_state.pop("view")
