"""Check: is my model poisoned, and by which pairs? Step by step: pairs, model, reference, labels, then run.

Bring the pairs that the model was trained on, the model, and a clean one to compare it with. Nothing leaves this
machine; files are treated as hostile, and nothing in them is run. Each step can be changed at any time, and the address
keeps what was chosen.
"""

import streamlit as st

from ubt.ui import check_steps
from ubt.ui.errors import guard
from ubt.ui.navigation import current, heading

current()
heading("check")


@st.fragment
@guard()
def journey() -> None:
    check_steps.draw()


journey()
