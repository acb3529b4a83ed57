"""A walk of several steps on one page, by key and in the address bar, in type that the back of a room can read; on a
projector, that fills the screen.
"""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from ubt.cases.demo import MAIN
from ubt.figures import for_a_room
from ubt.reports.lecture import Control, Shown, Step
from ubt.reports.lecture.built_in import version
from ubt.reports.lecture.steps import BY_NAME
from ubt.ui import components, controls, query_params, web
from ubt.ui.charts import draw
from ubt.ui.errors import safe
from ubt.ui.large_type import large
from ubt.ui.navigation import PAGES, page

SCREEN = (1280, 720)
"""The screen, in pixels, at which everything has its own size in presenter mode; on others it is larger or smaller."""
HEIGHT, HEIGHT_PRESENTED = 350, 325
LARGER = 1.15
"""Charts on a projector, against those on a page."""


def walk(steps: Sequence[Step]) -> None:
    """The step in view; arrow keys, or PageUp and PageDown while a slider has the focus, go to the others."""
    names = [step.name for step in steps]
    _not_taken()  # where the app was started again, the browser tells turns of long ago: they are not taken again
    at, presented = _at(steps, names), _presented()
    step, scale = steps[at], _scale() if presented else 1.0
    with large(presented):
        _head(step, at, names, presented)
        st.markdown(step.idea)
        if _guessed(step):
            shown = _body(step, scale, presented)
            _answer(step, shown, presented)
        if step is steps[-1]:
            _to_take_away(steps)
    query_params.write("step", step.name, shown=at > 0)
    query_params.write("present", str(int(presented)), shown=presented)
    _keys(steps, at, presented)


def _turn(names: Sequence[str], by: int) -> None:
    state = st.session_state
    state["step"] = names[min(max(names.index(state["step"]) + by, 0), len(names) - 1)]


def _turned(names: Sequence[str]) -> None:
    """Take the turns by key that were not taken yet, each from where the one before led: `n`, the answer or the next
    step, and `b`, the step before.
    """
    state = st.session_state
    for way in _not_taken():
        step = BY_NAME[state["step"]]
        if way == "n" and step.guess and step.name not in state["guesses"]:
            state["guesses"][step.name] = -1
        else:
            _turn(names, 1 if way == "n" else -1)


def _not_taken() -> str:
    """The turns by key that were told since this was asked last, by the same load of the page."""
    state, told = st.session_state, (st.session_state.get("steps") or {}).get("turned")
    if not isinstance(told, dict) or not isinstance(told.get("turns"), str):
        return ""
    loaded, taken = state.get("turns", ("", 0))
    state["turns"] = told.get("loaded"), len(told["turns"])
    return told["turns"][taken if loaded == told.get("loaded") else 0 :]


def _keys(steps: Sequence[Step], at: int, presented: bool) -> None:
    """Keys; in presenter mode also full screen, the notes, and a clock that knows where this step should end."""
    step = steps[at]
    discuss = f"To discuss: {step.question} {step.answer}" if step.question else ""
    component = st.components.v2.component("ubt_steps", js=web.text("walkthrough.js"), isolate_styles=False)
    component(
        key="steps",
        data={
            "presented": presented,
            "screen": SCREEN,
            "notes": [part.replace("*", "") for part in (step.notes, discuss) if part],
            "until": sum(s.minutes for s in steps[: at + 1]),
            "whole": sum(s.minutes for s in steps),
        },
        height=0,
        on_scale_change=lambda: None,
        on_turned_change=partial(safe(_turned), [s.name for s in steps]),
    )


def _at(steps: Sequence[Step], names: Sequence[str]) -> int:
    """The place of the step in view: of a link, by its name, or by its number among the ten."""
    state, text = st.session_state, query_params.read("step")
    numbered = {str(s.number): s.name for s in steps if s.number}
    if (name := numbered.get(text or "", text)) in names:
        state["step"] = name
    return names.index(state.setdefault("step", names[0]))


def _presented() -> bool:
    if (text := query_params.read("present")) in ("0", "1"):
        st.session_state["presented"] = text == "1"
    return st.session_state.setdefault("presented", False)


def _scale() -> float:
    """How much larger than `SCREEN` the browser's window is, as it has said."""
    said, state = (st.session_state.get("steps") or {}).get("scale"), st.session_state
    if isinstance(said, int | float):
        state["scaled"] = min(max(float(said), 0.5), 6.0)
    return state.get("scaled", 1.0)


def _head(step: Step, at: int, names: Sequence[str], presented: bool) -> None:

    def present() -> None:
        st.session_state["presented"] = not st.session_state["presented"]

    title, way = st.columns([11, 9], vertical_alignment="center")
    title.title(step.heading, anchor=False)
    with way.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        more = {"icon": ":material/arrow_back:", "disabled": at == 0, "help": "Left arrow, PageUp"}
        st.button("Previous", key="step-before", on_click=_turn, args=(names, -1), **more)
        st.markdown(f"{at + 1} of {len(names)}", width="content")
        more = {"icon": ":material/arrow_forward:", "disabled": at == len(names) - 1}
        about = "Right arrow, PageDown: first the answer, then the next step"
        st.button("Next", key="step-next", on_click=_turn, args=(names, 1), help=about, **more)
        title = "Leave" if presented else "Present"
        about = "P: fill the screen, for a lecture; F full screen, N notes, C clock"
        st.button(title, key="present", icon=":material/slideshow:", on_click=present, help=about)


def _guessed(step: Step) -> bool:
    """Whether a guess was made, or the answer asked for; else ask."""
    guesses = st.session_state.setdefault("guesses", {})
    if not step.guess or step.name in guesses:
        return True

    def guess(n: int) -> None:
        guesses[step.name] = n

    with st.container(key="guess"):
        st.markdown(f"**{step.guess}**")
        for n, option in enumerate(step.options):
            st.button(f"{_letter(n)}.  {option}", key=f"guess-{step.name}-{n}", on_click=guess, args=(n,))
        st.button("Show", key="show", icon=":material/visibility:", type="tertiary", on_click=guess, args=(-1,))
    return False


def _letter(n: int) -> str:
    return chr(ord("A") + n)


def _body(step: Step, scale: float, presented: bool) -> Shown:
    """What the step shows: a chart or pictures beside what can be varied and what it comes to, or a table alone."""
    alone = step.control is None
    left, side = (st.container(),) * 2 if alone else st.columns([3, 2], gap="large", vertical_alignment="center")
    with side:
        value = _varied(step) if step.control else None
    shown = _shown(
        step.name, version(), value, scale * LARGER if presented else 1.0, HEIGHT_PRESENTED if presented else HEIGHT
    )
    if shown.figure is not None:
        draw(shown.figure, f"learn-{step.name}", shown.about, left)
    elif shown.pictures:
        with left:
            components.pictures(shown.pictures, len(shown.pictures), 17)
    with side:
        for line in shown.said:
            st.markdown(line)
        if shown.figure is not None and shown.pictures:
            components.pictures(shown.pictures, len(shown.pictures), 6)
        if shown.rows:
            components.table(shown.columns, shown.rows, len(shown.columns) if alone else 1)
        if shown.remark:
            st.caption(shown.remark)
    return shown


def _varied(step: Step) -> float | str:
    control: Control = step.control
    key = f"learn-{step.name}-varied"
    if isinstance(control.start, str):
        return st.select_slider(control.title, control.values, control.start, key=key)
    low, second, high = control.values[0], control.values[1], control.values[-1]
    return st.slider(control.title, low, high, control.start, second - low, key=key)


@st.cache_resource(max_entries=64, show_spinner=False)
def _shown(name: str, made: int, value: float | str | None, scale: float, height: int) -> Shown:
    """What a step shows, its figure already as large as it is drawn; nothing in it may be changed."""
    shown = BY_NAME[name].show(value)
    if shown.figure is not None:
        for_a_room(shown.figure, height, scale)
    return shown


def _answer(step: Step, shown: Shown, presented: bool) -> None:
    """What was guessed, the answer, whose case it is, and where to go on."""
    if step.guess:
        guess = st.session_state["guesses"][step.name]
        said = f" Your guess: {_letter(guess)}." if guess >= 0 else ""
        st.markdown(f"{step.guess}{said} **Answer: {_letter(step.right)}.** {step.reveal}")
    with st.container(key="whose"):
        st.caption(shown.whose)
    if presented:
        return
    if step.question:
        with st.expander(f"**Question.** {step.question}", key=f"answer-{step.name}"):
            st.markdown(step.answer)
    if step.further:
        st.page_link(
            PAGES[step.further],
            label=f"See more on {page(step.further).title}",
            icon=":material/arrow_forward:",
            query_params={"case": MAIN},
        )


def _to_take_away(steps: Sequence[Step]) -> None:
    def page_of_slides() -> bytes:
        from ubt.reports.lecture.slides import slides

        return slides(steps).encode()

    def exercises() -> bytes:
        from ubt.reports.lecture.exercises import sheet

        return sheet(steps).encode()

    with st.container(horizontal=True, key="take-away"):
        controls.download("Slides (one page of HTML)", page_of_slides, "clip-backdoors.html", "text/html", "slides")
        title = "Exercise sheet with answers (Markdown)"
        controls.download(title, exercises, "exercises.md", "text/markdown", "exercises")
