"""When the app counts as shared, and which hosts and origins are its own."""

import os
import runpy
from pathlib import Path

import pytest
from harness import ROOT

from ubt.core import roots
from ubt.core.errors import UbtError
from ubt.ui import server

ALONE = {"server.address": "127.0.0.1", "server.allowedHosts": ["localhost", "127.0.0.1"]}


@pytest.fixture
def options(monkeypatch):
    """Sets options of Streamlit; returns what the app then sets for its jobs."""
    monkeypatch.delenv(roots.ROOTS, raising=False)

    def set_(log_in="", **changes) -> str:
        found = ALONE | {f"server.{name}": value for name, value in changes.items()}
        monkeypatch.setattr(server.config, "get_option", found.get)
        monkeypatch.setattr(server.roles, "asked", lambda: log_in)
        monkeypatch.delenv(roots.ROOTS, raising=False)
        server.middleware()
        return os.environ.pop(roots.ROOTS)

    return set_


def test_files_are_read_at_home_until_the_app_is_shared(options, monkeypatch):
    assert options() == os.pathsep.join(["~", str(Path.cwd())])
    assert options(address="0.0.0.0") == ""
    assert options(address=None) == ""
    assert options(allowedHosts=[]) == ""
    assert options(allowedHosts=["localhost", "team.example"]) == ""
    assert options(log_in="oidc") == ""
    monkeypatch.setattr(server.roles, "asked", lambda: (_ for _ in ()).throw(UbtError("broken")))
    assert server.shared()
    monkeypatch.setenv(roots.ROOTS, "/data")
    server.middleware()
    assert os.environ[roots.ROOTS] == "/data"


@pytest.mark.parametrize(
    ("pattern", "host", "is_allowed"),
    [
        ("*.team.example", "a.team.example:443", True),
        ("*.team.example", "team.example", False),
        ("*.team.example", "a.team.example.evil", False),
        ("team.example", "team.example.", True),
        ("*", "anything:1", True),
        ("*", "any thing", False),
        ("*", "", False),
        ("::1", "[::1]:8501", True),
    ],
)
def test_hosts_are_matched_whole(monkeypatch, pattern, host, is_allowed):
    monkeypatch.setattr(server.config, "get_option", {"server.allowedHosts": [pattern]}.get)
    assert server.allowed(host) == is_allowed


def test_an_origin_that_is_listed_may_use_it(monkeypatch):
    monkeypatch.setattr(server.config, "get_option", {"server.corsAllowedOrigins": ["https://hub.example"]}.get)
    assert server.own("https://hub.example", "team.example")
    assert server.own("https://team.example", "team.example")
    assert not server.own("https://hub.example.evil", "team.example")
    assert not server.own("https://team.example", "TEAM.example")
    headers = [(b"host", b"team.example"), (b"origin", b"https://hub.example")]
    for kind, left in (("websocket", headers[:1]), ("http", headers)):
        assert server.without_listed_origin({"type": kind, "headers": headers})["headers"] == left
    own = [(b"host", b"team.example"), (b"origin", b"https://team.example")]
    assert server.without_listed_origin({"type": "websocket", "headers": own})["headers"] == own


def test_a_process_that_a_page_starts_serves_nothing(monkeypatch):
    monkeypatch.delenv(roots.ROOTS, raising=False)
    made = runpy.run_path(str(ROOT / "app.py"), run_name="__mp_main__")
    assert "app" not in made
    assert roots.ROOTS not in os.environ
