"""Help: the documents, with search: reference, what was measured, how to contribute."""

import streamlit as st

from ubt.reports import documents
from ubt.reports.documents import TITLES, Section
from ubt.ui import controls, query_params
from ubt.ui.errors import guard, plain
from ubt.ui.help_links import address, follow
from ubt.ui.navigation import current

MOST = 40
"""Sections shown at once."""

current()


def go(document: str, part: str) -> None:
    """Show a part of a document; one that there is not is passed over."""
    if document in TITLES and part in {s.anchor for s in documents.sections(document)}:
        st.session_state["help-document"] = document
        st.session_state[f"help-{document}"] = part
        st.session_state["help-wanted"] = ""


def results(wanted: str) -> None:
    """Where everything that was asked for stands."""
    hits = documents.search(wanted)
    if not hits:
        st.info(f"No heading and no paragraph holds all of: {plain(wanted)}. Try fewer or other words.")
        return
    more = f", of which {MOST} are shown" if len(hits) > MOST else ""
    st.caption(f"Found in {len(hits)} section{'s'[: len(hits) > 1]}{more}.")
    for i, hit in enumerate(hits[:MOST]):
        section = hit.section
        st.button(
            plain(": ".join((TITLES[section.document], *section.path[1:]))),
            key=f"hit-{i}",
            type="tertiary",
            icon=":material/arrow_forward:",
            on_click=go,
            args=(section.document, section.anchor),
        )
        if hit.paragraphs:
            others = f" (and {len(hit.paragraphs) - 1} more there)" if len(hit.paragraphs) > 1 else ""
            st.caption(plain(documents.excerpt(hit.paragraphs[0], wanted)) + others)


def choose() -> Section:
    """The section in view, which the address holds."""
    st.session_state.setdefault("help-document", next(iter(TITLES)))
    document = controls.choice("Document", TITLES, "help-document", label_visibility="collapsed")
    known = {s.anchor: s for s in documents.sections(document)}
    part = st.selectbox(
        "Section",
        list(known),
        key=f"help-{document}",
        format_func=lambda anchor: "\u2003" * (len(known[anchor].path) - 2) + known[anchor].title,
        persist_state="session",
    )
    first = next(iter(known))
    query_params.write("document", document, shown=document != next(iter(TITLES)) or part != first)
    query_params.write("part", part, shown=part != first)
    return known[part]


@st.fragment
@guard()
def show() -> None:
    st.title("Help")
    document, part = query_params.read("document"), query_params.read("part")
    if document in TITLES:
        go(document, part or documents.sections(document)[0].anchor)
    wanted = st.text_input(
        "Search the documents",
        key="help-wanted",
        max_chars=200,
        placeholder="all of these words",
        persist_state="session",
    )
    if wanted.strip():
        results(wanted)
        return
    section = choose()
    with st.container(key="help-text"):
        text = documents.part(section.document, section.anchor)
        st.markdown(documents.linked(text, section.document, address))
        if len(section.path) == 1:
            inner = [s for s in documents.sections(section.document) if len(s.path) == 2]
            st.markdown("\n".join(f"- [{s.title}]({address(s.document, s.anchor)})" for s in inner))
    follow("help-text", go)


show()
