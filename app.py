"""UBT Inspector, the app: navigation, the case picker, the theme. Run it with `python -m ubt app`.

Streamlit loads this file to serve it, and as `__main__` for every run of a page; a process that a page starts may load
it too (`__mp_main__`), and does neither.
"""

import streamlit as st

if __name__ == "__main__":
    from ubt.ui.apply import side_by_side
    from ubt.ui.case_form import warn_if_gone
    from ubt.ui.case_picker import pick
    from ubt.ui.chart_events import fetch_ahead
    from ubt.ui.components import icon, readable, terms
    from ubt.ui.errors import guard
    from ubt.ui.job_panel import panel
    from ubt.ui.log_in import card, log_in
    from ubt.ui.navigation import navigation
    from ubt.ui.view import warm

    st.set_page_config(page_title="UBT Inspector", page_icon=icon(), layout="wide")
    page = navigation()
    readable()
    view = None
    with guard():
        log_in()
        with st.sidebar:
            card()
            view = pick()
            if view:
                panel(view)
                side_by_side(view)
        warn_if_gone()
        st.session_state["view"] = view
        page.run()
    fetch_ahead()
    terms()
    warm(view is not None and view.has("mask"))
elif __name__ != "__mp_main__":
    from ubt.ui.server import middleware

    app = st.App(__file__, middleware=middleware())
