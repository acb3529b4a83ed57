"""A headless Chromium, for what nothing else draws."""

import contextlib
import os
import shutil
from collections.abc import Iterator

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
    found = chromium()
    if found is None:
        raise BadInput(
            "expected Chromium, found none; install it (Debian: apt-get install chromium) or name it in UBT_CHROMIUM"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        opened = p.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            yield opened
        finally:
            opened.close()
