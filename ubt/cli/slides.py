"""The command that writes the lecture down: `python -m ubt slides`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cli.console import check_writable, say
from ubt.core.files import replace_file


def slides(
    file: Annotated[Path, Option("--out", help="The HTML file to write.")] = Path("slides.html"),
    exercises: Annotated[Path | None, Option(help="Also write the exercise sheet with answers, Markdown.")] = None,
) -> None:
    """Write the lecture of the page Learn as slides, one HTML file that needs nothing beside it; and its exercises."""
    from ubt.reports.lecture.exercises import sheet
    from ubt.reports.lecture.slides import slides as made
    from ubt.reports.lecture.steps import STEPS

    for path, write in ((file, made), (exercises, sheet)):
        if path is not None:
            check_writable(path)
            content = write(STEPS).encode()
            replace_file(path, lambda temporary, content=content: temporary.write_bytes(content))
            say(f"written to {path} ({len(content) / 1e6:.2f} MB)")
