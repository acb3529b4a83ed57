"""A walk of several steps on one page: where it stands, by key and in the address bar, in type that the back of a room
can read.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import streamlit as st

from ubt.ui import query_params

_STYLE = """<style>
.stApp h1{font-size:1.9rem;padding:.1rem 0 .2rem}
.st-key-walk [data-testid=stMarkdownContainer] p,.st-key-walk [data-testid=stMarkdownContainer] li{font-size:clamp(1.3rem,1.35vw,2rem);line-height:1.45}
.st-key-walk [data-testid=stCaptionContainer] p{font-size:1.05rem}
.st-key-walk [data-testid=stWidgetLabel] p,.st-key-walk summary p,.st-key-walk button p{font-size:clamp(1.15rem,1.2vw,1.8rem)}
.st-key-walk .ubt-pictures,.st-key-walk .ubt-card{font-size:1.05rem}.st-key-walk .ubt-table{font-size:clamp(1.15rem,1.2vw,1.8rem)}
.st-key-walk [data-testid=stMetricValue]{font-size:2.1rem}.st-key-walk [data-testid=stSlider] *{font-size:1.1rem}
</style>"""

_KEYS = """
export default function () {
  const turn = e => {
    if (e.ctrlKey || e.altKey || e.metaKey || e.shiftKey) return;
    const page = {PageDown: 'next', PageUp: 'before'}[e.key], arrow = {ArrowRight: 'next', ArrowLeft: 'before'}[e.key];
    const taken = e.target.closest && e.target.closest('input, textarea, select, [role=slider], [role=radiogroup], [role=listbox], [contenteditable=true]');
    const way = page || (taken ? null : arrow);
    const button = way && document.querySelector('.st-key-step-' + way + ' button');
    if (!button) return;
    e.preventDefault();
    e.stopPropagation();
    if (!button.disabled && !e.repeat) button.click();
  };
  document.addEventListener('keydown', turn, true);
  return () => document.removeEventListener('keydown', turn, true);
}
"""


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
    """What is drawn inside is in large type."""
    st.html(_STYLE)
    with st.container(key="walk"):
        yield


def walk(steps: Sequence[Step]) -> None:
    """The step in view; arrow keys, or PageUp and PageDown while a slider is in hand, go to the others."""
    state, count = st.session_state, len(steps)
    if (text := query_params.asked("step")) is not None and text.isdecimal() and 1 <= int(text) <= count:
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
            from ubt.cases.demo import MAIN
            from ubt.ui.navigation import PAGES

            query = {"case": MAIN}
            st.page_link(
                f"pages/{step.further}.py",
                label=f"See more on {PAGES[step.further][0]}",
                icon=":material/arrow_forward:",
                query_params=query,
            )
    query_params.tell("step", str(at), shown=at > 1)
    st.components.v2.component("ubt_steps", js=_KEYS)(key="steps", height=0)
