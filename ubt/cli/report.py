"""The part of the command line that writes a case down for somebody who will never open the app: `python -m ubt report
CASE`.
"""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, present_name
from ubt.cli.console import say
from ubt.core.errors import BadInput
from ubt.core.files import replace_file


def report(
    case: Annotated[str, Argument(help="The case: a lab case or an audit, finished or partly.")],
    kind: Annotated[
        str,
        Option(
            "--format",
            help="html, one file with everything in it, or md, Markdown with a folder of pictures beside it.",
        ),
    ] = "html",
    file: Annotated[
        Path | None, Option("--out", help="The file to write; CASE.html or CASE.md if none is named.")
    ] = None,
    cache: CacheOption = CACHE,
) -> None:
    """Write what was found as one file to hand over: verdict, evidence, flagged pairs, before and after, settings,
    digests, limits.
    """
    if kind not in ("html", "md"):
        raise BadInput(f"--format: expected html or md, got {kind!r}")
    from ubt.reports.case_report.contents import report as build

    case = present_name(store := Store(cache), case)
    made, path = build(store, case), file or Path(f"{case}.{kind}")
    files = path.with_name(f"{path.stem}-files")
    if kind == "html":
        from ubt.reports.case_report.html import page

        written = {path: page(made).encode()}
    else:
        from ubt.reports.case_report.markdown import markdown

        text, *pictures = markdown(made, files.name).items()
        written = {path.parent / name: content for name, content in pictures} | {path: text[1]}
    try:
        for at, content in written.items():
            at.parent.mkdir(parents=True, exist_ok=True)
            replace_file(at, lambda temporary, content=content: temporary.write_bytes(content))
    except OSError as e:
        raise BadInput(f"--out: expected a file that can be written, got {path} ({e.strerror})") from None
    beside = f" and {files}" if len(written) > 1 else ""
    say(f"written to {path}{beside} ({sum(map(len, written.values())) / 1e6:.1f} MB)")
