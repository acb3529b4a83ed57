"""Learn: a guided walk through the ready-made case, one idea a step."""

import streamlit as st

from ubt import ready
from ubt.ui.guard import guard
from ubt.ui.lessons import STEPS
from ubt.ui.navigation import current
from ubt.ui.steps import walk

current()


@st.fragment
@guard()
def learn() -> None:
    walk(STEPS)


if ready.MAIN in ready.names():
    learn()
else:
    st.title("Learn")
    st.info("The walk needs the ready-made cases, which this copy of the package lacks. `python -m ubt ready` makes them.")
