"""Who uses the app, and what they may do. Without a log-in everybody may do everything. With one, those whom
`UBT_ANALYSTS` names are analysts, and everybody else who is logged in is a reader: looks and exports, changes nothing.

The log-in is Streamlit's own (OIDC; `[auth]` in its secrets), or that of a proxy which hands the user's e-mail address
on in a header (`server.trustedUserHeaders`, as `email`).
"""

import os
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit import config
from streamlit.errors import StreamlitSecretNotFoundError

from ubt.core.errors import UbtError

ANALYSTS = "UBT_ANALYSTS"
"""The environment's variable: e-mail addresses separated by commas, as `ana@team.example,*@lab.example`."""


@cache
def asked() -> str:
    """How the app asks who somebody is: `oidc`, `proxy`, or not at all (empty).

    Raises:
        UbtError: it was to ask, but how cannot be read; nobody is let in then.
    """
    headers, oidc = config.get_option("server.trustedUserHeaders"), False
    try:
        oidc = "auth" in st.secrets
    except StreamlitSecretNotFoundError as e:
        if there := [p for p in config.get_option("secrets.files") if Path(p).exists()]:
            raise UbtError(f"{there[0]}: expected Streamlit's secrets, got a file that cannot be read ({e})") from None
    if oidc and headers:
        raise UbtError(
            "expected one log-in, got two: [auth] in Streamlit's secrets and server.trustedUserHeaders, whose headers"
            " anybody who is logged in could send; remove one of them"
        )
    if oidc:
        return "oidc"
    if headers and "email" not in dict(headers).values():
        raise UbtError("server.trustedUserHeaders: expected a header that is kept as `email`, got none")
    return "proxy" if headers else ""


def claims() -> dict[str, Any]:
    """What the log-in says of whoever looks at the page; empty where nobody is logged in."""
    said = st.user.to_dict()
    return said if asked() == "proxy" or said.get("is_logged_in") else {}


def who() -> str:
    """The e-mail address of whoever is logged in, in lower case; empty without one, or if the log-in says that it is
    not theirs for certain.
    """
    said = claims() if asked() else {}
    address, verified = said.get("email"), said.get("email_verified", True)
    return address.strip().lower() if isinstance(address, str) and verified in (True, "true", "True") else ""


def may_change() -> bool:
    """Whether whoever looks at the page may run, label, import and delete."""
    if not asked():
        return True
    address = who()
    patterns = [p.strip().lower() for p in os.environ.get(ANALYSTS, "").split(",")]
    return bool(address) and any(fnmatchcase(address, p) for p in patterns if p)


def button(title: str, **more: Any) -> bool:
    """A button that changes something, which a reader sees but cannot press; `more`: as of `st.button`."""
    if not may_change():
        more |= {"disabled": True, "help": "For analysts; you may look and export"}
    return st.button(title, **more)
