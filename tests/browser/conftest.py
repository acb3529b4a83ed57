"""A real Chromium, and caches for the app that it opens."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ubt.cases.store import Store
from ubt.cli.app_in_browser import served
from ubt.core.chromium import browser, chromium

LIMIT = 90_000


@pytest.fixture(scope="session")
def chrome():
    if chromium() is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium, or UBT_CHROMIUM)")
    with browser() as b:
        yield b


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The app that all tests of a worker share, over a link that leads to the cache of the one that is running."""
    folder = tmp_path_factory.mktemp("app")
    (link := folder / "cache").symlink_to(folder / "none")
    with served(link, folder / "log") as address:
        yield link, address


@pytest.fixture
def app(server) -> Callable[[Path], str]:
    """Has the app show a cache; returns its address."""
    link, address = server

    def show(root: Path) -> str:
        (new := link.with_name("next")).symlink_to(root.resolve())
        new.replace(link)
        return address

    return show


@pytest.fixture
def tab(chrome):
    """A new tab, which draws no animation, for drawing takes what time others need; whatever it asks of another host
    fails the test.
    """
    context = chrome.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
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
