"""UBT Inspector, the app: navigation, the case picker, the theme. Run it with `python -m streamlit run app.py`."""

import streamlit as st

from ubt.ui.case import pick, say_if_gone
from ubt.ui.guard import guard
from ubt.ui.html import icon
from ubt.ui.panel import panel

st.set_page_config(page_title="UBT Inspector", page_icon=icon(), layout="wide")
page = st.navigation([
    st.Page("pages/overview.py", title="Overview", icon=":material/account_tree:", default=True, help="The case, its stages, its verdict and its figures."),
    st.Page("pages/separation.py", title="Separation", icon=":material/area_chart:", help="Does the backdoor separate from the clean pairs?"),
    st.Page("pages/unlearn.py", title="Unlearn", icon=":material/healing:", help="Purify the model, and see what that costs."),
])  # fmt: skip
with guard():
    with st.sidebar:
        view = pick()
        if view:
            panel(view)
    say_if_gone()
    st.session_state["view"] = view
    page.run()
