"""The app in a real browser: served over a cache, opened in Chromium. For `python -m ubt picture`, `bench --app` and
the browser tests.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ubt.core import locks
from ubt.core.errors import UbtError
from ubt.core.files import APP


def serve(cache: Path, port: int, log: Path, base: str = "") -> subprocess.Popen:
    """Start the app over `cache`, below the path `base`, and wait until it answers.

    Raises:
        UbtError: it ended, or did not answer within a minute.
    """
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(APP / "app.py"),
        "--server.port",
        str(port),
        "--server.headless",
        "true",
        "--server.baseUrlPath",
        base,
    ]
    with log.open("ab") as out:
        locks.shared(out)
        process = subprocess.Popen(
            command,
            cwd=APP,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=os.environ | {"UBT_CACHE": str(cache.absolute())},
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{base and '/'}{base}/_stcore/health", timeout=2) as answer,
        ):
            if answer.status == 200:
                return process
        time.sleep(0.1)
    process.kill()
    raise UbtError(f"expected the app to answer on port {port}, but it did not; its log is {log}")


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def served(cache: Path, log: Path) -> Iterator[str]:
    """The address of the app over `cache`, which runs while inside."""
    port = free_port()
    process = serve(cache, port, log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def page_link(tab, title: str):
    """The link to a page in the navigation; what it is called begins with its icon's name."""
    return tab.locator("[data-testid=stSidebarNavLink]").filter(has=tab.get_by_text(title, exact=True))


BUSY = "[data-testid=stSpinner], [data-testid=stSkeleton], [data-test-script-state=running]"
"""What a page has that is not all there yet."""


SETTLED = """([quiet, limit, busy]) => new Promise(done => {
  let last = performance.now(); const start = last;
  const seen = new MutationObserver(() => { last = performance.now(); });
  seen.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
  const ask = () => { const now = performance.now();
    const still = now - last > quiet && !document.querySelector(busy);
    if (still || now - start > limit) { seen.disconnect(); done(); } else setTimeout(ask, 50); };
  ask(); })"""
"""Done when nothing has changed for `quiet` milliseconds and nothing is `busy`, or after `limit`."""


def settle(tab, quiet: float = 0.4, limit: float = 30.0) -> None:
    """Wait until nothing on the page has changed for `quiet` seconds, nothing spins or is still to be drawn, and the
    app is not at work on it.
    """
    tab.evaluate(SETTLED, [1000 * quiet, 1000 * limit, BUSY])
