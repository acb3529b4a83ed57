"""The page Help: documents, sections, search, and what links lead to."""

import pytest
from harness import page, words
from streamlit.testing.v1 import AppTest

from ubt.reports import documents
from ubt.reports.documents import TITLES


def search(at: AppTest, wanted: str) -> AppTest:
    return at.text_input(key="help-wanted").set_value(wanted).run()


@pytest.mark.parametrize("name", TITLES)
def test_each_document_is_shown_section_by_section(cache, name):
    at = page("help")
    at.button_group(key="help-document").set_value(name).run()
    assert not at.exception
    assert f"# {documents.sections(name)[0].title}" in words(at)
    section = documents.sections(name)[2]
    at.selectbox(key=f"help-{name}").set_value(section.anchor).run()
    assert f"## {section.title}" in words(at)
    assert section.text[:60].split("](")[0] in words(at)
    assert at.query_params["document"] == name
    assert at.query_params["part"] == section.anchor


def test_a_result_leads_to_its_section(cache):
    at = search(page("help"), "threshold of the Classifier")
    assert "Try fewer" in words(at)
    at = search(at, "PSNR stegastamp")
    assert "Reference: Attacks" in {b.label.replace("\\", "") for b in at.button}
    assert "Found in 1 section." in words(at)
    at.button(key="hit-0").click().run()
    assert at.text_input(key="help-wanted").value == ""
    assert "## Attacks" in words(at)


def test_headings_come_before_paragraphs(cache):
    at = search(page("help"), "durability")
    assert "Reference: Durability" in at.button(key="hit-0").label.replace("\\", "")
    assert "Measured: Durability" in at.button(key="hit-1").label.replace("\\", "")


def test_a_search_for_markup_shows_it_as_text(cache):
    at = search(page("help"), "<b>x</b>")
    assert r"\<b\>" in words(at)


def test_a_link_opens_its_section(cache):
    at = page("help", document="measured", part="speed")
    assert "## Speed" in words(at)


def test_a_link_to_nowhere_opens_the_first_section(cache):
    at = page("help", document="measured", part="nowhere")
    assert not at.exception
    assert f"# {documents.sections('reference')[0].title}" in words(at)


def test_links_between_documents_stay_in_the_app(cache):
    at = page("help", document="reference", part="verdict")
    assert "(?document=measured&part=verdict)" in words(at)
    assert ".md" not in words(at).replace("`", " ").split("](", 1)[1].split(")")[0]
