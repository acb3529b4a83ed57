"""The page that asks who somebody is, and the line that says who is logged in."""

import streamlit as st

from ubt.ui import roles
from ubt.ui.errors import plain


def log_in() -> None:
    """Ask who somebody is, where the app is to ask; the page ends here until it is known."""
    if not roles.asked() or roles.who():
        return
    st.title("UBT Inspector")
    if roles.asked() == "proxy":
        st.error("The proxy before this app did not say who you are.", icon=":material/no_accounts:")
    elif roles.claims():
        st.error(
            "The log-in gave no e-mail address, or one that it has not verified. Log in with another account.",
            icon=":material/no_accounts:",
        )
        st.button("Log out", on_click=st.logout, icon=":material/logout:")
    else:
        st.write("Log in to look at the cases of this app.")
        st.button("Log in", on_click=st.login, type="primary", icon=":material/login:")
    st.stop()


def card() -> None:
    """Who is logged in, and as what."""
    if not roles.asked():
        return
    st.caption(f"{plain(roles.who())}, {'analyst' if roles.may_change() else 'reader: looks and exports'}")
    if roles.asked() == "oidc":
        st.button("Log out", on_click=st.logout, icon=":material/logout:", key="log-out")
