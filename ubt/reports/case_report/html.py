"""A report as one page of HTML: everything is in it, no script, no address of another host, both themes, and made to be
printed too.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from itertools import count, takewhile
from pathlib import Path

import numpy as np
from PIL import Image

from ubt.core.text import visible
from ubt.figures import CLEAN, POISONED
from ubt.figures.svg import svg
from ubt.reports.case_report import Block, Card, Cards, Chart, Folded, Report, Said, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SHARP, SIDE = 64, 192
"""Sides in pixels: up to which an image is kept as it is, and to which larger ones are made smaller."""
HOT = 60
"""Percent of green behind the hottest word, on which text is still read in both themes."""
NARROW, MIDDLE, WIDE = 380, 560, 1150
"""Widths in pixels of charts: three in a row, two, one alone."""
_STYLE = "\n" + Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def page(report: Report) -> str:
    """The report as a page that opens without a network, in which nothing runs and nothing is fetched."""
    numbers = count(1)
    anchors = [(f"part-{n}", section) for n, section in enumerate(report.sections)]
    links = "".join(f'<a href="#{anchor}">{_shown(s.title)}</a>' for anchor, s in anchors)
    parts = "\n".join(
        f'<section id="{anchor}"><h2>{_shown(s.title)}</h2>\n{_blocks(s.blocks, numbers)}</section>'
        for anchor, s in anchors
    )
    head = (
        '<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(visible(report.title, 120))}</title><style>{_STYLE}</style></head>"
    )
    top = f"<h1>{_shown(report.title)}</h1>\n<p>{_shown(report.about)}</p>"
    nav = f'<nav aria-label="Parts of this report">{links}</nav>'
    body = f"<body><main>\n{top}\n{nav}\n{parts}\n</main></body>"
    return f'<!doctype html>\n<html lang="en">{head}\n{body}</html>\n'


def _shown(text: object, most: int = 4000) -> str:
    """A text that may hold anything, as itself, and kept from steering the direction of what is around it."""
    return (
        f"<bdi>{escape(visible(text, most))}</bdi>"
        if any(ord(c) > 0x590 for c in str(text))
        else escape(visible(text, most))
    )


def _blocks(blocks: Sequence[Block], numbers: Iterator[int]) -> str:
    """Blocks one under the other; charts that follow each other side by side, one alone beside the table that follows
    it.
    """
    made, rest = [], list(blocks)
    while rest:
        charts = list(takewhile(lambda b: isinstance(b, Chart) and not b.wide, rest)) or rest[:1]
        del rest[: len(charts)]
        if not isinstance(charts[0], Chart):
            made.append(_block(charts[0], numbers))
            continue
        width = WIDE if charts[0].wide else NARROW if len(charts) > 2 else MIDDLE
        cells = [_chart(chart, width, next(numbers)) for chart in charts]
        if width == MIDDLE and len(charts) == 1 and rest and isinstance(rest[0], Table):
            cells.append(_block(rest.pop(0), numbers))
        made.append(
            f'<div class="charts of{1 if charts[0].wide else max(2, min(3, len(charts)))}">{"".join(cells)}</div>'
        )
    return "\n".join(made)


def _chart(chart: Chart, width: int, number: int) -> str:
    drawn = svg(chart.figure, width, f"chart-{number}")
    return f"<figure><figcaption>{_shown(chart.title)}</figcaption>{drawn}</figure>"


def _block(block: Block, numbers: Iterator[int]) -> str:
    if isinstance(block, Said):
        return f'<p class="{block.tone}">{_shown(block.text)}</p>' if block.tone else f"<p>{_shown(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f'<th scope="col">{_shown(c)}</th>' for c in block.columns)
        body = "".join("<tr>" + "".join(f"<td>{_shown(c, 400)}</td>" for c in row) + "</tr>\n" for row in block.rows)
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    if isinstance(block, Cards):
        return f'<div class="cards">{"".join(map(_card, block.cards))}</div>'
    if isinstance(block, Folded):
        return f"<details><summary>{_shown(block.title)}</summary>{_blocks(block.blocks, numbers)}</details>"
    raise TypeError(block)


def _card(card: Card) -> str:
    kind = "" if card.poisoned is None else " poisoned" if card.poisoned else " clean"
    caption = visible(" ".join(word for word, *_ in card.words))
    image = (
        '<div class="none">no image</div>'
        if card.image is None
        else f'<img alt="{escape(caption)}" src="{picture(card.image)[1]}">'
    )
    words = " ".join(_word(*word) for word in card.words[:100])
    truth = "" if card.poisoned is None else _truth(card.poisoned)
    remarks = "".join(f"<small>{_shown(remark, 400)}</small>" for remark in card.remarks)
    return f'<div class="card{kind}">{image}{words}{truth}{remarks}</div>'


def _truth(poisoned: bool) -> str:
    colour, sign, label = (POISONED, "◆", "poisoned") if poisoned else (CLEAN, "○", "clean")
    return f'<small><span style="color:{colour}">{sign}</span> <b>{label}</b> (ground truth)</small>'


def _word(text: str, score: float, kept: bool) -> str:
    if score < 0.005 and not kept:
        return _shown(text, 400)
    heat = f"background:color-mix(in srgb,#1C9A78 {round(HOT * min(1.0, max(0.0, score)))}%,transparent)"
    return f'<span class="w{" kept" if kept else ""}" style="{heat}">{_shown(text, 400)}</span>'


def picture(image: np.ndarray) -> tuple[str, str]:
    """An image, uint8 (H, W, 3), small enough to travel: the ending of its file's name, and itself as a data URI."""
    shown, out = Image.fromarray(np.asarray(image)), io.BytesIO()
    if max(shown.size) <= SHARP:
        shown.save(out, "PNG", optimize=True)
        return "png", f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    shown.thumbnail((SIDE, SIDE))
    shown.save(out, "JPEG", quality=82)
    return "jpg", f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
