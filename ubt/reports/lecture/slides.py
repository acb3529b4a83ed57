"""The lecture as slides, one page of HTML: everything is in it, no script, no address of another host. A screen shows
one slide after the other (PageDown, space, a presenter's remote); printed, each is a page.
"""

import re
from collections.abc import Sequence
from html import escape
from itertools import count
from pathlib import Path

from ubt.core.text import visible
from ubt.figures.svg import svg
from ubt.reports.case_report.html import POLICY, picture
from ubt.reports.lecture import Shown, Step

TITLE = "Backdoors in CLIP: finding and unlearning them"
WIDTH, HEIGHT = 560, 320
"""Of a chart, in pixels, before the page makes it as large as its place."""
_STYLE = "\n" + Path(__file__).with_name("slides.css").read_text(encoding="utf-8")


def slides(steps: Sequence[Step]) -> str:
    """The lecture as one page of HTML, from the figures and texts of the page *Learn* as it opens.

    Raises:
        UbtError: a built-in case is not there, or damaged.
    """
    numbers = count(1)
    made = [f'<section class="first"><h1>{escape(TITLE)}</h1><p>{sum(s.minutes for s in steps)} minutes</p></section>']
    for step in steps:
        made += [asked(step)] if step.guess else []
        made.append(told(step, step.start(), f"chart-{next(numbers)}"))
    head = (
        '<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(TITLE)}</title><style>{_STYLE}</style></head>"
    )
    body = "\n".join(made)
    return f'<!doctype html>\n<html lang="en">{head}\n<body><main>\n{body}\n</main></body></html>\n'


def asked(step: Step) -> str:
    """The slide with a step's idea and its question, before the answer."""
    options = "".join(f"<li>{formatted(option)}</li>" for option in step.options)
    return (
        f"<section><h2>{_text(step.heading)}</h2><p>{formatted(step.idea)}</p>"
        f'<p class="guess">{formatted(step.guess)}</p><ol type="A">{options}</ol></section>'
    )


def told(step: Step, shown: Shown, name: str) -> str:
    """The slide with what a step shows, and the answer.

    Args:
        name: what the ids inside its chart begin with, another one for each slide.
    """
    left = _pictures(shown)
    if shown.figure is not None:
        left = svg(shown.figure.update_layout(height=HEIGHT), WIDTH, name)
    right = "".join(f"<p>{formatted(line)}</p>" for line in shown.said)
    right += _pictures(shown) if shown.figure is not None else ""
    right += _table(shown) + (f"<p><small>{_text(shown.remark)}</small></p>" if shown.remark else "")
    within = f'<div class="two"><div>{left}</div><div>{right}</div></div>' if left else right
    idea = "" if step.guess else f"<p>{formatted(step.idea)}</p>"
    answer = f'<p class="guess"><b>{"ABCD"[step.right]}.</b> {formatted(step.reveal)}</p>' if step.guess else ""
    footer = f"<footer>{_text(shown.whose)}</footer>"
    return f"<section><h2>{_text(step.heading)}</h2>{idea}{answer}{within}{footer}</section>"


def formatted(markdown: str) -> str:
    """Bold and italic Markdown as HTML; all else is text.

    >>> formatted("a **b** *c* ***d*** <script>")
    'a <b>b</b> <i>c</i> <b><i>d</i></b> &lt;script&gt;'
    """
    bold = re.sub(r"\*\*(\*?[^*]+\*?)\*\*", r"<b>\1</b>", _text(markdown))
    return re.sub(r"\*([^*]+)\*", r"<i>\1</i>", bold)


def _text(some: object) -> str:
    return escape(visible(some, 2000))


def _pictures(shown: Shown) -> str:
    images = (
        f'<figure><img alt="{_text(title)}" src="{picture(image)[1]}"><figcaption><bdi>{_text(title)}</bdi>'
        "</figcaption></figure>"
        for title, image in shown.pictures
    )
    return f'<div class="pictures">{"".join(images)}</div>' if shown.pictures else ""


def _table(shown: Shown) -> str:
    if not shown.rows:
        return ""
    head = "".join(f'<th scope="col">{_text(c)}</th>' for c in shown.columns)
    body = "".join("<tr>" + "".join(f"<td><bdi>{_text(c)}</bdi></td>" for c in row) + "</tr>" for row in shown.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
