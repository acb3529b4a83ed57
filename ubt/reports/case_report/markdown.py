"""A report as Markdown with a folder of pictures beside it: charts as SVG, images as PNG or JPEG. No picture is inside
the text, for most of what shows Markdown leaves data URIs out.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from itertools import count
from urllib.parse import quote

from ubt.core.text import visible
from ubt.figures.alt_text import described
from ubt.figures.svg import svg
from ubt.reports.case_report import Block, Card, Cards, Chart, Folded, Report, Said, Table
from ubt.reports.case_report.html import MIDDLE, WIDE, picture

_COLUMNS = 4
_PAPER = 'style="background:#FFFFFF;color:#0B1420;'


def markdown(report: Report, folder: str) -> dict[str, bytes]:
    """The report's files by their names: one of Markdown, named after the report, and the pictures, in a folder beside
    it.

    Args:
        folder: the pictures' folder, a plain name.
    """
    files: dict[str, bytes] = {}
    numbers = count(1)
    lines = [f"# {plain(report.title)}", plain(report.about)]
    for section in report.sections:
        lines += [f"## {plain(section.title)}", *_blocks(section.blocks, numbers, folder, files)]
    return {f"{report.name}.md": ("\n\n".join(lines) + "\n").encode(), **files}


def plain(text: object, most: int = 4000) -> str:
    """Text that Markdown shows as it is, also in a table: whatever could be markup, a link, a mention, a formula or an
    entity is escaped.

    >>> print(plain("a *b* [c](http://d) <script>| # @e www.f.g $h$"))
    a \\*b\\* \\[c\\](http\\://d) &lt;script&gt;\\| \\# \\@e www\\.f.g \\$h\\$
    >>> print(plain("1. - + x"), plain("--- y"))
    1\\. - + x \\--- y
    """
    escaped = re.sub(r"([\\`*_\[\]|~!#$@{}^]|:(?=\S)|(?<=www)\.)", r"\\\1", visible(text, most))
    escaped = re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(blocks: Sequence[Block], numbers: Iterator[int], folder: str, files: dict[str, bytes]) -> list[str]:
    return [text for block in blocks for text in _block(block, numbers, folder, files)]


def _block(block: Block, numbers: Iterator[int], folder: str, files: dict[str, bytes]) -> list[str]:
    if isinstance(block, Said):
        return [
            (
                f"**{plain(block.text)}**"
                if block.tone in ("bad", "good")
                else f"> {plain(block.text)}"
                if block.tone
                else plain(block.text)
            )
        ]
    if isinstance(block, Table):
        return [_table(block.columns, block.rows)]
    if isinstance(block, Chart):
        name = f"{folder}/chart-{next(numbers)}.svg"
        files[name] = svg(block.figure, WIDE if block.wide else MIDDLE).replace('style="', _PAPER, 1).encode()
        return [f"**{plain(block.title)}**", f"![{plain(described(block.figure))}]({quote(name)})"]
    if isinstance(block, Cards):
        cells = [_card(card, numbers, folder, files) for card in block.cards]
        rows = [
            [*cells[n : n + _COLUMNS], *[""] * (_COLUMNS - len(cells[n : n + _COLUMNS]))]
            for n in range(0, len(cells), _COLUMNS)
        ]
        return [
            "\n".join(["|" + "  |" * _COLUMNS, "| --- " * _COLUMNS + "|", *(f"| {' | '.join(row)} |" for row in rows)])
        ]
    if isinstance(block, Folded):
        return [
            f"<details><summary>{plain(block.title)}</summary>",
            *_blocks(block.blocks, numbers, folder, files),
            "</details>",
        ]
    raise TypeError(block)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[plain(c) for c in columns], ["---"] * len(columns), *([plain(c, 400) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _card(card: Card, numbers: Iterator[int], folder: str, files: dict[str, bytes]) -> str:
    shown = [" ".join(f"**{plain(w, 400)}**" if kept else plain(w, 400) for w, _, kept in card.words[:100])]
    if card.image is not None:
        ending, uri = picture(card.image)
        name = f"{folder}/pair-{next(numbers)}.{ending}"
        files[name] = base64.b64decode(uri.split(",", 1)[1])
        shown.insert(0, f"![{plain(' '.join(w for w, *_ in card.words), 400)}]({quote(name)})")
    truth = (
        []
        if card.poisoned is None
        else ["◆ **poisoned** (ground truth)" if card.poisoned else "○ **clean** (ground truth)"]
    )
    return "<br>".join([*shown, *truth, *(plain(r, 400) for r in card.remarks)])
