"""The address follows the page, also where a browser answers with the address of before the last change."""

import pytest
from streamlit.runtime.state.query_params import QueryParams
from streamlit.testing.v1 import AppTest


def script():
    import streamlit as st

    from ubt.ui import query_params

    query_params.read("step")
    query_params.write("step", st.session_state["wanted"], shown=st.session_state["wanted"] != "first")


@pytest.fixture
def told(monkeypatch):
    """The addresses that the browser is told, in their order."""
    found = []
    monkeypatch.setattr(QueryParams, "_send_query_param_msg", lambda self: found.append(dict(self._query_params)))
    return found


def shown(wanted: str, sent: dict[str, str], at: AppTest | None = None) -> AppTest:
    at = at or AppTest.from_function(script)
    at.session_state["wanted"] = wanted
    at.query_params.clear()
    at.query_params.update(sent)
    assert not at.run().exception
    return at


@pytest.mark.parametrize(("wanted", "address"), [("second", {"step": "second"}), ("first", {})])
def test_a_change_that_is_taken_back_before_the_browser_has_read_it_is_told(told, wanted, address):
    at = shown(wanted, address)
    told.clear()
    shown("third", address, at)
    shown(wanted, address, at)
    assert told == [{"step": "third"}, address]


def test_an_address_that_is_right_is_not_told_again(told):
    at = shown("second", {})
    shown("second", {"step": "second"}, at)
    assert told == [{"step": "second"}]
    at = shown("first", {"step": "first"})
    shown("first", {}, at)
    assert told[1:] == [{}]
