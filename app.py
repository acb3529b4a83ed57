"""UBT Inspector, the app: navigation, the case picker, the theme. Run it with `python -m streamlit run app.py`."""

import streamlit as st

from ubt.ui.bridge import fetch_ahead
from ubt.ui.case import pick, say_if_gone, warm
from ubt.ui.guard import guard
from ubt.ui.html import icon, readable
from ubt.ui.navigation import navigation
from ubt.ui.panel import panel

st.set_page_config(page_title="UBT Inspector", page_icon=icon(), layout="wide")
page = navigation()
readable()
with guard():
    with st.sidebar:
        view = pick()
        if view:
            panel(view)
    say_if_gone()
    st.session_state["view"] = view
    page.run()
fetch_ahead()
warm()
