"""Image: is this one image triggered, for this model?

Each detector's score of the image stands among those of clean images that it has not seen. An image that scores as few
clean ones do is called triggered; how few, you decide.
"""

import streamlit as st

from ubt.ui import image_form, image_result
from ubt.ui.errors import guard
from ubt.ui.navigation import current, heading

view = current()
heading("image")


@st.fragment
@guard()
def gate() -> None:
    if key := image_form.gate(view):
        image_result.draw(view, key)


gate()
