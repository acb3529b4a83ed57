"""The command that starts the app: `python -m ubt app`, or `ubt app` where the package is installed."""

import os
import sys
from typing import Annotated

from typer import Argument, Option

from ubt.cli.common import CACHE, CacheOption
from ubt.core.files import APP


def app(
    port: Annotated[
        int | None,
        Option(help="The port it answers on; 8501 or the next that is free, if none is named.", min=1, max=65535),
    ] = None,
    options: Annotated[
        list[str] | None, Argument(help="Streamlit's own options, after --, as in: -- --server.headless true")
    ] = None,
    cache: CacheOption = CACHE,
) -> None:
    """Start the app on this machine and say its address; it runs until it is stopped."""
    os.environ["UBT_CACHE"] = str(cache.absolute())
    sys.stdout.flush()
    run = [sys.executable, "-m", "streamlit", "run", str(APP / "app.py")]
    run += [] if port is None else ["--server.port", str(port)]
    os.execv(sys.executable, [*run, *(options or [])])
