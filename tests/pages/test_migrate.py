"""A case of the version before in the app: what it says, and where its links lead."""

import pytest
from before import told, unpacked
from harness import page

from ubt.cases.store import Store
from ubt.workflows.migrate import migrate


@pytest.fixture
def store(cache) -> Store:
    return unpacked(cache)


def test_a_case_of_the_version_before_says_what_to_do_and_can_be_carried_over_here(store):
    at = page("overview")
    (warning,) = at.warning
    assert "An earlier version made this case" in str(warning.proto)
    assert "python \\-m ubt cases migrate" in warning.value or "python -m ubt cases migrate" in warning.value
    old = at.selectbox(key="case").value
    at.button(key="migrate").click().run()
    assert not at.exception
    assert at.selectbox(key="case").value == store.renamed(old)
    assert {record.state for record in store.cases().values()} == {"new"}


def test_why_a_case_cannot_be_carried_over_is_said(store):
    old = next(iter(told()["cases"]))
    with store.lock(old):
        at = page("overview", case=old)
        at.button(key="migrate").click().run()
        assert not at.exception
        assert "being run by process" in " ".join(e.value for e in at.error)


def test_an_old_address_leads_to_the_new_case(store):
    migrate(store)
    old, other, _ = told()["cases"]
    at = page("separation", case=old, select="label = backdoor")
    assert at.selectbox(key="case").value == store.renamed(old)
    assert at.query_params["case"] == store.renamed(old)
    at = page("compare", case=old, compared=f"{old},{other}")
    assert at.multiselect(key="compared").value == [store.renamed(old), store.renamed(other)]


def test_a_tab_that_was_open_goes_on_with_the_new_case(store):
    old = next(iter(told()["cases"]))
    at = page("overview", case=old)
    migrate(store)
    at.run()
    assert not at.exception
    assert at.selectbox(key="case").value == store.renamed(old)
