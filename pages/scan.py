"""Scan: is there a trigger in this model at all, and for which class, when nobody has its training data?

For every class the smallest trigger that leads to it is looked for, on clean images without labels. A model that was
taught one gives way to less for its target than for other classes, and than a clean model does.
"""

import streamlit as st

from ubt.ui import scan_form, scan_result
from ubt.ui.errors import guard
from ubt.ui.navigation import current, heading

view = current()
heading("scan")


@st.fragment
@guard()
def form() -> None:
    scan_form.draw(view)


@st.fragment
@guard()
def result() -> None:
    scan_result.draw()


form()
result()
