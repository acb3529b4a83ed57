"""Learn: a guided walk through the built-in case, one idea a step."""

import streamlit as st

from ubt.cases import demo
from ubt.ui.errors import guard
from ubt.ui.navigation import current
from ubt.ui.walkthrough import walk
from ubt.ui.walkthrough_steps import STEPS

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
