"""The pages of the app."""

import streamlit as st

from ubt.ui.view import View

PAGES = {
    "overview": ("Overview", "The case, its stages, its verdict and its figures."),
    "learn": ("Learn", "A guided walk through a finished case, ten steps, for a class."),
    "whatif": ("What if", "What a stronger attack, fewer poisons or another setting would have changed."),
    "data": ("Data", "Bring pairs, labelled images and models of your own, and make an audit or a lab case of them."),
    "triggers": ("Triggers", "See what an attack does to images and captions, before anything is trained."),
    "separation": ("Separation", "Does the backdoor separate from the clean pairs?"),
    "neighbours": ("Neighbours", "What lies nearest to a suspicious pair, a caption or an image?"),
    "map": ("Map", "D in two dimensions, before and after overfitting and unlearning."),
    "review": ("Review", "Decide pair by pair, most suspicious first."),
    "tokens": ("Tokens", "Which words and which patches carry the backdoor?"),
    "patches": ("Patches", "Where in an image does a trigger sit, found without captions?"),
    "unlearn": ("Unlearn", "Purify the model, and see what that costs."),
    "compare": ("Compare", "Every defence on the same cases: what it removes, what it costs, how long it takes."),
    "help": ("Help", "The documents, with search: reference, what was measured, how to contribute."),
}
"""File in `pages/` to title and what it is for; the first opens by default. No icons: a page's icon becomes the tab's,
which the browser then fetches from another host.
"""


def navigation():
    """The page that the address asks for, to be run."""
    first = next(iter(PAGES))
    pages = [
        st.Page(f"pages/{name}.py", title=title, help=about, default=name == first)
        for name, (title, about) in PAGES.items()
    ]
    return st.navigation(pages, expanded=True)


def current() -> View | None:
    """The case that the picker shows, for a page to draw.

    Streamlit runs the first page asked of a fresh server without `app.py` where the folder is called `pages`;
    navigation turns that off, and the page starts over.
    """
    if "view" not in st.session_state:
        navigation()
        st.rerun()
    return st.session_state.pop("view")
