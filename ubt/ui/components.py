"""Elements that Streamlit lacks, as escaped HTML: the pipeline, the grid of pairs, small tables of counts."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from ubt.core.stage import Stage
from ubt.figures import CLEAN, POISONED, UNKNOWN
from ubt.reports import documents
from ubt.ui import web
from ubt.ui.job_panel import clock
from ubt.workflows.jobs import Step

if TYPE_CHECKING:
    from ubt.clip.words import Word

ROLES = {"import": "Import", "attacker": "Attacker", "defender": "Defender", "judge": "Judge"}
HOT = 60
"""Percent of green behind the hottest word, on which text is still read in both themes."""
_SIGNS = {True: (POISONED, "◆", "poisoned"), False: (CLEAN, "○", "clean")}
_MARK = {"done": "✓", "running": "▶", "waiting": "…", "missing": "○"}
STYLE = f"<style>{web.text('components.css')}</style>"
"""What the elements of this file look like; once on a page is enough."""


@st.cache_resource(max_entries=1, show_spinner=False)
def icon() -> Image.Image:
    """The tab's icon: a clean hump and a poisoned one. Drawn here, because Streamlit's own are fetched from another
    host.
    """
    image = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((1, 10, 15, 40), 7, fill=CLEAN)
    draw.rounded_rectangle((20, 2, 30, 40), 5, fill=POISONED)
    return image


def readable() -> None:
    """Sliders' values, chosen segments and the text of charts in the page's own colour: Streamlit's are too faint to be
    read by all. Buttons that take another's place under the pointer take no click for a second. On a narrow screen the
    sidebar is a rail of icons.
    """
    st.html(f"<style>{web.text('readable.css')}\n{web.text('rail.css')}</style>")


def terms() -> None:
    """Say what a term of the field means while the pointer rests on it, or when it is clicked, wherever it stands."""
    component = st.components.v2.component("ubt_terms", js=web.text("terms.js"), css=web.text("terms.css"))
    component(key="terms", data={"terms": documents.glossary()}, height=0)


def lanes(stages: Sequence[Stage], steps: dict[str, Step]) -> None:
    """The pipeline: a lane a role, a chip a stage with its state and its time."""
    rows = []
    for role, title in ROLES.items():
        chips = "".join(_chip(s, steps.get(s.name, Step())) for s in stages if s.role == role)
        rows += (
            [] if not chips else [f'<div class="ubt-lane"><div class="ubt-role">{title}</div><div>{chips}</div></div>']
        )
    st.html(STYLE + "".join(rows))


def _chip(stage: Stage, step: Step) -> str:
    if step.state == "done":
        progress = clock(step.seconds) if step.seconds >= 1 else "under 1 s"
    elif step.total:
        progress = f"{step.done:,} of {step.total:,}"
    else:
        progress = {"running": "running", "waiting": "waiting"}.get(step.state, "to do")
    bar = f'<i style="width:{100 * step.done / step.total:.0f}%"></i>' if step.total and step.state == "running" else ""
    return (
        f'<div class="ubt-chip {step.state}" title="{escape(stage.about)}">{_MARK[step.state]}'
        f" {escape(stage.name)}<small>{escape(progress)}</small>{bar}</div>"
    )


def grid(
    images: np.ndarray | Sequence[np.ndarray | None] | None,
    captions: Sequence[str],
    scores: Sequence[str],
    poisoned: Sequence[bool] | None,
    ids: Sequence[str] = (),
    labels: Sequence[str | None] = (),
    faded: Sequence[bool] | None = None,
    width: float = 9.2,
    columns: int = 0,
    brief: bool = False,
    chosen: str | None = None,
) -> None:
    """Pairs as cards: image, caption, score, what an analyst decided, and whether they are poisoned where that may be
    shown.

    Args:
        images: uint8 (H, W, 3) each, None for one that cannot be read; None for a case without images. ids: make the
            cards answer to a click (see `ubt.ui.chart_events`).
        faded: which are greyed, for they are not selected. width: least width of a card, in rem. columns: so many in a
            row, whatever their width. brief: the caption is said when the pointer rests on the card. chosen: the id of
            the one that is looked at.
    """
    cards = []
    for i, (caption, score) in enumerate(zip(captions, scores, strict=True)):
        colour, truth = _truth(poisoned, i)
        label = labels[i] if len(labels) and isinstance(labels[i], str) else ""
        picture = (
            '<div class="ubt-none">no image</div>'
            if images is None or images[i] is None
            else f'<img alt="" src="{png(images[i])}">'
        )
        pair = _clickable(ids[i], f"{caption}, {score}") if len(ids) else ""
        style = f"border-top-color:{colour}" + (
            ";opacity:.65;filter:grayscale(1)" if faded is not None and faded[i] else ""
        )
        kind = "ubt-card" + (" chosen" if len(ids) and ids[i] == chosen else "")
        said = escape(str(caption))
        if brief and truth:
            truth = f' <small style="opacity:1;color:{colour}">{_SIGNS[bool(poisoned[i])][1]}</small>'
            said += f", {_SIGNS[bool(poisoned[i])][2]}"
        cards.append(
            f'<div class="{kind}"{pair} style="{style}"'
            + (f' title="{said}">{picture}' if brief else f">{picture}{said}<br>")
            + f"<small>{escape(score)}</small>{truth}"
            + (f" <b>⚑ {escape(label)}</b>" if label else "")
            + "</div>"
        )
    least = f"{columns},minmax(0,1fr)" if columns else f"auto-fill,minmax({width}rem,1fr)"
    st.html(f'{STYLE}<div class="ubt-grid" style="grid-template-columns:repeat({least})">{"".join(cards)}</div>')


def patches(
    shown: Sequence[tuple[str, np.ndarray, np.ndarray, str, str]], poisoned: Sequence[bool] | None, chosen: str
) -> None:
    """Located patches as cards that answer to a click: the patch beside the image it came from, a title and a remark
    beneath.

    Args:
        shown: of each its pair's id, the patch, the image, uint8 (H, W, 3), title and remark. chosen: id of the one
            looked at.
    """
    cards = []
    for i, (pair, patch, image, title, remark) in enumerate(shown):
        colour, truth = _truth(poisoned, i)
        pictures = (
            f'<div class="ubt-duo"><img alt="the patch" src="{png(patch)}"><img alt="where it was found"'
            f' src="{png(image)}"></div>'
        )
        cards.append(
            f'<div class="ubt-card{" chosen" if pair == chosen else ""}"'
            f' style="border-top-color:{colour}"{_clickable(pair, f"{title}, {remark}")}>{pictures}'
            f"<b>{escape(title)}</b>{truth}<br><small>{escape(remark)}</small></div>"
        )
    st.html(
        f'{STYLE}<div class="ubt-grid"'
        f' style="grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))">{"".join(cards)}</div>'
    )


def _truth(poisoned: Sequence[bool] | None, i: int) -> tuple[str, str]:
    """A card's colour, and its text for the truth, where that may be shown."""
    if poisoned is None:
        return UNKNOWN, ""
    colour, sign, kind = _SIGNS[bool(poisoned[i])]
    return (
        colour,
        f' <small style="opacity:1;font-weight:600"><span style="color:{colour}">{sign}</span> {kind}</small>',
    )


def _clickable(pair: str, text: str) -> str:
    return f' data-pair="{escape(str(pair))}" role="button" tabindex="0" aria-label="select this pair: {escape(text)}"'


def trios(
    images: np.ndarray,
    triggered: np.ndarray,
    residuals: np.ndarray,
    below: Sequence[tuple[str, str, str]],
    magnified: int,
) -> None:
    """Original, triggered and magnified residual of several images, with the caption before and after beneath.

    Args:
        images, triggered, residuals: uint8 (n, H, W, 3). below: of each, its caption, its poisoned caption, a remark.
    """
    cards = []
    for *three, (before, after, remark) in zip(images, triggered, residuals, below, strict=True):
        titles = "original", "triggered", f"residual x {magnified}"
        shown = "".join(
            f'<div><img alt="{title}" src="{png(image)}"><small>{title}</small></div>'
            for title, image in zip(titles, three, strict=True)
        )
        changed = (
            f'<br><b><span style="color:{POISONED}">◆</span> {escape(after)}</b>'
            if after != before
            else "<br><small>caption kept</small>"
        )
        cards.append(f"<figure><div>{shown}</div>{escape(before)}{changed}<br><small>{escape(remark)}</small></figure>")
    st.html(f'{STYLE}<div class="ubt-trio">{"".join(cards)}</div>')


def _heated(text: str, score: float, kept: bool, cut: bool = False) -> str:
    classes = " ".join(name for name, on in (("kept", kept), ("cut", cut)) if on)
    share = round(HOT * min(1.0, max(0.0, float(score))))
    number = f"<sub>{float(score):.2f}</sub>" if score >= 0.005 else ""
    return (
        f'<span class="{classes}" style="background:color-mix(in srgb,#1C9A78'
        f' {share}%,transparent)">{escape(text)}{number}</span>'
    )


def _spans(words: Iterable[tuple]) -> str:
    """Words one by one; the spaces between them are for who reads aloud, or copies."""
    return " ".join(_heated(*word) for word in words)


def _masked(texts: Sequence[str]) -> str:
    return f"<small>masked caption</small> <b>{escape(' '.join(texts)) or '(nothing to keep)'}</b>"


def words(found: Sequence["Word"], scores: np.ndarray, kept: np.ndarray) -> None:
    """A caption's words coloured by score, those a mask keeps framed, and the caption that it leaves."""
    spans = _spans((w.text, s, k, w.cut) for w, s, k in zip(found, scores, kept, strict=True))
    left = _masked([w.text for w, k in zip(found, kept, strict=True) if k])
    st.html(
        f'{STYLE}<div class="ubt-words">{spans or "<small>an empty caption</small>"}</div><div'
        f' class="ubt-words">{left}</div>'
    )


def heated(texts: Sequence[str], scores: np.ndarray | None, kept: np.ndarray | None, cut: np.ndarray | None) -> str:
    """A caption's words as HTML, coloured by score where there is one."""
    none = [0.0] * len(texts), [False] * len(texts), [False] * len(texts)
    columns = none if scores is None else (scores, kept, cut)
    return _spans(zip(texts, *columns, strict=True)) or "<small>an empty caption</small>"


def pictures(shown: Sequence[tuple[str, np.ndarray]], columns: int = 2, most: float = 14) -> None:
    """Titled images side by side, so many in a row, each at most so wide, in rem."""
    cells = "".join(
        f'<div><img alt="{escape(title)}" src="{png(image)}">{escape(title)}</div>' for title, image in shown
    )
    sized = f"repeat({columns},minmax(0,{most:g}rem))" if len(shown) > 1 else "minmax(0,18rem)"
    st.html(f'{STYLE}<div class="ubt-pictures" style="grid-template-columns:{sized}">{cells}</div>')


def attributions(rows: Sequence[tuple[np.ndarray, Sequence[str], np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Pairs with their heat: image, words, scores, which are kept, which are cut by the context."""
    cards = []
    for image, texts, scores, kept, cut in rows:
        spans = _spans(zip(texts, scores, kept, cut, strict=True))
        left = _masked([t for t, k in zip(texts, kept, strict=True) if k])
        cards.append(
            f'<div><img alt="relevance over the image" src="{png(image)}"><div'
            f' class="ubt-words">{spans}<br>{left}</div></div>'
        )
    st.html(f'{STYLE}<div class="ubt-attributions">{"".join(cards)}</div>')


def png(image: np.ndarray) -> str:
    """An image, uint8 (H, W, 3), as the address of a PNG that holds it."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], labels: int = 1) -> None:
    """A small table of text, the first columns, `labels` of them, to the left."""
    left = [""] + [' style="text-align:left;min-width:8rem"'] * (labels - 1)
    styles = (left + [""] * len(columns))[: len(columns)]
    head = "".join(f"<th{style}>{escape(c)}</th>" for c, style in zip(columns, styles, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{style}>{escape(str(c))}</td>" for c, style in zip(row, styles, strict=True)) + "</tr>"
        for row in rows
    )
    st.html(f'{STYLE}<table class="ubt-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
