"""A headless Chromium, for what nothing else draws."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ubt.core.errors import BadInput

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """The Chromium of this machine: `UBT_CHROMIUM`, or one on the path."""
    return os.environ.get("UBT_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextlib.contextmanager
def browser() -> Iterator:
    """A headless Chromium (playwright's `Browser`).

    Raises:
        BadInput: there is none on this machine.
    """
    launch = _launch()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        opened = p.chromium.launch(**launch)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.asynccontextmanager
async def browser_async() -> AsyncIterator:
    """The same for several tabs that act at the same time (playwright's asynchronous `Browser`).

    Raises:
        BadInput: there is none on this machine.
    """
    launch = _launch()
    from playwright.async_api import async_playwright

    async with async_playwright() as p:
        opened = await p.chromium.launch(**launch)
        try:
            yield opened
        finally:
            await opened.close()


def _launch() -> dict[str, Any]:
    found = chromium()
    if found is None:
        raise BadInput(
            "expected Chromium, found none; install it (Debian: apt-get install chromium) or name it in UBT_CHROMIUM"
        )
    return {"executable_path": found, "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]}
