"""The command that takes a picture of a page of the app: `python -m ubt picture`."""

import io
from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cases.store import Store
from ubt.cli.app_in_browser import served, settle
from ubt.cli.common import CACHE, CacheOption
from ubt.cli.console import check_writable, say
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import APP


def picture(
    page: Annotated[
        str, Option(help="A page by its name in the address: overview, data, triggers, separation, …")
    ] = "separation",
    case: Annotated[str, Option(help="The case to show; the newest if none is named.")] = "",
    width: Annotated[int, Option(help="Width in pixels.", min=320)] = 1280,
    theme: Annotated[str, Option(help="light or dark.")] = "light",
    file: Annotated[Path, Option("--out", help="The PNG file to write.")] = Path("picture.png"),
    cache: CacheOption = CACHE,
) -> None:
    """Take a picture of a page of the app in Chromium (the README's was made so)."""
    check_writable(file)
    pages = sorted(path.stem for path in (APP / "pages").glob("*.py"))
    if page not in pages or theme not in ("light", "dark"):
        raise BadInput(
            f"expected one of the pages {', '.join(pages)} and the theme light or dark; got {page!r} and {theme!r}"
        )
    address = f"{'' if page == 'overview' else page}{f'?case={case}' if case else ''}"
    _take(cache, page, address, width, theme, file)
    say(f"written to {file}")


def _take(cache: Path, page: str, address: str, width: int, theme: str, file: Path) -> None:
    """Write the whole page in 256 colours, which takes a third of the bytes.

    Raises:
        BadInput: there is no Chromium. UbtError: the page did not come up.
    """

    from PIL import Image
    from playwright.sync_api import TimeoutError as Late

    from ubt.core.chromium import browser

    log = Store(cache).root / "work" / "picture.log"
    with served(cache, log) as app, browser() as b:
        tab = b.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        tab.goto(f"{app}/{address}")
        try:
            tab.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
        except Late:
            raise UbtError(f"expected the page {page}, but it did not come up; the app's log is {log}") from None
        settle(tab, 1.0)
        height = tab.evaluate("document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight")
        tab.set_viewport_size({"width": width, "height": max(700, int(height))})
        settle(tab, 1.0)
        shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
        shot.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
