"""UBT Inspector, the app: navigation, the case picker, the theme. Run it with `python -m streamlit run app.py`."""

import streamlit as st

from ubt.ui.case_form import warn_if_gone
from ubt.ui.case_picker import pick
from ubt.ui.chart_events import fetch_ahead
from ubt.ui.components import icon, readable
from ubt.ui.errors import guard
from ubt.ui.job_panel import panel
from ubt.ui.navigation import navigation
from ubt.ui.view import warm

st.set_page_config(page_title="UBT Inspector", page_icon=icon(), layout="wide")
page = navigation()
readable()
view = None
with guard():
    with st.sidebar:
        view = pick()
        if view:
            panel(view)
    warn_if_gone()
    st.session_state["view"] = view
    page.run()
fetch_ahead()
warm(view is not None and view.has("mask"))
