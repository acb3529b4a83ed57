"""What stands before Streamlit in the server: whom it answers, which of its routes are closed, and the headers that
every answer carries. `app.py` hands it to `st.App`; it needs no Streamlit session.
"""

import logging
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from ubt.core import roots
from ubt.core.errors import UbtError
from ubt.ui import roles

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer: nobody else may frame the app, no page of it loads or sends anything elsewhere, a file is
what its type says, and no address of it leaves in a referrer. Streamlit's own pages need inline scripts and styles.
"""
CLOSED = ("_stcore/metrics", "_stcore/script-health-check", "_stcore/agent", "component/", "app/static")
"""Routes of Streamlit that the app does not use, by how their path begins."""
HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?", re.ASCII)
SAID = 100
"""So many different refusals are logged, and then no more."""

_LOG = logging.getLogger("ubt.server")
_HOSTS = (
    "the app does not answer for the host {0}; if it is to, start it with --server.allowedHosts, as in: "
    "python -m ubt app -- --server.allowedHosts {0}"
)
_ORIGINS = (
    "the app takes nothing from pages of {0}; behind a proxy, the proxy has to pass the browser's Host on "
    "(nginx: proxy_set_header Host $http_host)"
)


class Gate:
    """ASGI middleware: refuses a request whose host or origin is not the app's own, or whose route is closed, before
    Streamlit sees it; puts `HEADERS` on every answer.

    Hosts are those of `server.allowedHosts` (`*.name` for all below a name; none given: every host). An origin is the
    app's own if it has the request's host and port, or is listed in `server.corsAllowedOrigins`; a request without an
    origin is no other page's, and is taken.
    """

    def __init__(self, app: ASGIApp):
        self._app = app
        self._said: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status, why = self._refusal(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if not status:
            await self._app(without_listed_origin(scope), receive, with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
        else:
            await PlainTextResponse(f"Refused: {why}.\n", status)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        """Status and reason for refusing a request; 0 for one that is taken."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = hosts[0] if len(hosts) == 1 else ""
        if not allowed(host.lower()):
            return 421, self._log(_HOSTS, ", ".join(hosts))
        if origins and not (len(origins) == 1 and own(origins[0], host)):
            return 403, self._log(_ORIGINS, ", ".join(origins))
        base = (config.get_option("server.baseUrlPath") or "").strip("/")
        path = scope["path"].strip("/").removeprefix(base).lstrip("/")
        return (404, "the app has nothing there") if path.startswith(CLOSED) else (0, "")

    def _log(self, why: str, what: str) -> str:
        why = why.format(ascii(what[:100]).strip("'\"") or "(none)")
        if why not in self._said and len(self._said) < SAID:
            self._said.add(why)
            _LOG.warning("Refused a request: %s.", why)
        return why


def allowed(host: str) -> bool:
    """Whether `server.allowedHosts` has the host of a Host header (lower case, with or without its port)."""
    found = HOST.fullmatch(host)
    wanted = [pattern.strip().lower().rstrip(".") for pattern in config.get_option("server.allowedHosts") or ()]
    if not found or not wanted:
        return bool(found)
    name = found[1].strip("[]").rstrip(".")
    return any(name.endswith(pattern[1:]) if pattern.startswith("*.") else pattern in ("*", name) for pattern in wanted)


def own(origin: str, host: str) -> bool:
    """Whether an Origin header names the app itself, at `host` to the letter as Streamlit compares them, or a page that
    is allowed to use it.
    """
    if origin in _listed():
        return True
    try:
        at = urlsplit(origin)
    except ValueError:
        return False
    return at.scheme in ("http", "https") and at.netloc == host


def _listed() -> list[str]:
    return [listed.strip() for listed in config.get_option("server.corsAllowedOrigins") or ()]


def without_listed_origin(scope: Scope) -> Scope:
    """A websocket that a listed origin opens, without that header: of an origin that is not its own Streamlit would ask
    the internet for its own address first.
    """
    if scope["type"] != "websocket" or Headers(scope=scope).get("origin") not in _listed():
        return scope
    return scope | {"headers": [(name, value) for name, value in scope["headers"] if name != b"origin"]}


LOOPBACK = ("localhost", "127.0.0.1", "::1")


def shared() -> bool:
    """Whether others than this machine's user may use the app: it listens elsewhere, answers for another host, or asks
    who they are.
    """
    try:
        if roles.asked():
            return True
    except UbtError:
        return True
    hosts = config.get_option("server.allowedHosts") or ["*"]
    here = [config.get_option("server.address") or "", *hosts]
    return any(host.strip("[] ").lower() not in LOOPBACK for host in here)


def middleware() -> list[Middleware]:
    """What `st.App` is given. Where nobody said which folders may be read for those who use the app, that is its user's
    home and the current folder, and none if the app is shared.
    """
    if roots.ROOTS not in os.environ:
        os.environ[roots.ROOTS] = "" if shared() else os.pathsep.join(["~", str(Path.cwd())])
    return [Middleware(Gate)]
