"""A real Chromium, and caches for the app that it opens."""

import os
import re

import pytest

from ubt.cases.store import Store
from ubt.core.chromium import browser, chromium

LIMIT = 90_000


@pytest.fixture(scope="session")
def chrome():
    if chromium() is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium, or UBT_CHROMIUM)")
    with browser() as b:
        yield b


@pytest.fixture
def tab(chrome):
    """A new tab; whatever it asks of another host fails the test."""
    context = chrome.new_context(viewport={"width": 1280, "height": 900})
    opened, abroad = context.new_page(), []
    opened.set_default_timeout(LIMIT)
    opened.on(
        "request",
        lambda r: None if re.match(r"(http|ws)://127\.0\.0\.1|data:|blob:|about:", r.url) else abroad.append(r.url),
    )
    opened.on("dialog", lambda d: abroad.append(f"dialog: {d.message}"))
    yield opened
    context.close()
    assert not abroad


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")
