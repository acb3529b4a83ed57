"""The registry of pages."""

import streamlit as st
from harness import page, words

from ubt.ui.navigation import PAGES

HELLO = '''"""Hello: says hello."""

import streamlit as st

from ubt.ui.navigation import current

view = current()
st.title("Hello")
st.write(f"The case in view: {view.name if view else 'none'}.")
'''


def test_a_page_that_is_registered_is_in_the_navigation_and_opens(full, tiny_case, tmp_path, monkeypatch):
    file, listed = tmp_path / "hello.py", []
    file.write_text(HELLO)
    monkeypatch.setitem(PAGES, "hello", str(file))
    navigation = st.navigation

    def told(sections, **more):
        listed.extend(p for pages in sections.values() for p in pages)
        return navigation(sections, **more)

    monkeypatch.setattr(st, "navigation", told)
    at = page("overview")
    assert (listed[0].title, listed[-1].title) == ("Overview", "Hello")
    assert (listed[-1].url_path, listed[-1].help) == ("hello", "Says hello.")
    at.switch_page(str(file)).run()  # refuses a file that the navigation does not list
    assert not at.exception
    assert at.title[0].value == "Hello"
    assert f"The case in view: {tiny_case.name}." in words(at)
