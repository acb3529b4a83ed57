"""A walk of several steps on one page, by key and in the address bar, in type that the back of a room can read."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import streamlit as st

from ubt.cases.demo import MAIN
from ubt.ui import query_params, web
from ubt.ui.navigation import PAGES, page

_STYLE = f"<style>{web.text('walkthrough.css')}</style>"


@dataclass(frozen=True)
class Step:
    """One step: its title, its one idea, what is drawn and to be done, a question with its answer, and a page to go on
    to.
    """

    title: str
    idea: str
    draw: Callable[[], None]
    question: str
    answer: str
    further: str


@contextlib.contextmanager
def large() -> Iterator[None]:
    """Draw what follows in large type."""
    st.html(_STYLE)
    with st.container(key="walk"):
        yield


def walk(steps: Sequence[Step]) -> None:
    """The step in view; arrow keys, or PageUp and PageDown while a slider has the focus, go to the others."""
    state, count = st.session_state, len(steps)
    if (text := query_params.read("step")) is not None and text.isdecimal() and 1 <= int(text) <= count:
        state["step"] = int(text)
    at = state.setdefault("step", 1)

    def turn(by: int) -> None:
        state["step"] = min(max(state["step"] + by, 1), count)

    step = steps[at - 1]
    with large():
        title, way = st.columns([3, 2], vertical_alignment="center")
        title.title(f"{at}. {step.title}", anchor=False)
        with way.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            st.button(
                "Previous",
                key="step-before",
                icon=":material/arrow_back:",
                disabled=at == 1,
                on_click=turn,
                args=(-1,),
                help="Left arrow, PageUp",
            )
            st.markdown(f"{at} of {count}", width="content")
            st.button(
                "Next",
                key="step-next",
                icon=":material/arrow_forward:",
                disabled=at == count,
                on_click=turn,
                args=(1,),
                help="Right arrow, PageDown",
            )
        st.markdown(step.idea)
        step.draw()
        with st.expander(f"**Question.** {step.question}", key=f"answer-{at}"):
            st.markdown(step.answer)
        if step.further:
            st.page_link(
                PAGES[step.further],
                label=f"See more on {page(step.further).title}",
                icon=":material/arrow_forward:",
                query_params={"case": MAIN},
            )
    query_params.write("step", str(at), shown=at > 1)
    st.components.v2.component("ubt_steps", js=web.text("walkthrough.js"))(key="steps", height=0)
