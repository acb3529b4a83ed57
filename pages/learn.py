"""Learn: a lecture through the built-in cases, one idea a step, for a screen or a projector."""

import streamlit as st

from ubt.cases import demo
from ubt.reports.lecture.steps import STEPS
from ubt.ui.errors import guard
from ubt.ui.navigation import current
from ubt.ui.walkthrough import walk

current()


@st.fragment
@guard()
def learn() -> None:
    walk(STEPS)


if demo.MAIN in demo.names():
    learn()
else:
    st.title("Learn")
    st.info("The walk needs the built-in cases, which this installation lacks. `python -m ubt built-in` makes them.")
