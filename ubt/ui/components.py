"""Pieces that streamlit has no element for, as escaped HTML: the pipeline, the grid of pairs, small tables of
counts.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from ubt.core.stage import Stage
from ubt.core.text import percent as percent
from ubt.figures import CLEAN, POISONED, UNKNOWN
from ubt.ui.job_panel import clock
from ubt.workflows.jobs import Step

if TYPE_CHECKING:
    from ubt.clip.words import Word

ROLES = {"given": "Given", "attacker": "Attacker", "defender": "Defender", "judge": "Judge"}
HOT = 60
"""Percent of green behind the hottest word, on which text is still read in both themes."""
_MARK = {"done": "✓", "running": "▶", "waiting": "…", "missing": "○"}
_STYLE = """<style>
.ubt-lane{display:flex;margin:.3rem 0}.ubt-lane>div:last-child{display:flex;gap:.4rem;flex-wrap:wrap;flex:1}
.ubt-role{flex:0 0 5.2rem;font-size:.8rem;opacity:.75;padding-top:.5rem}
.ubt-chip{border:1px solid color-mix(in srgb,currentColor 22%,transparent);border-radius:.4rem;padding:.25rem .55rem;font-size:.8rem;
  min-width:5.4rem;position:relative;overflow:hidden}
.ubt-chip small{display:block;opacity:.7;font-size:.72rem}
.ubt-chip.done{background:color-mix(in srgb,#1C9A78 14%,transparent);border-color:#1C9A78}
.ubt-chip.running{border:2px solid #2E86C1}.ubt-chip.waiting{border-style:dashed;border-color:#2E86C1}
.ubt-chip i{position:absolute;left:0;bottom:0;height:3px;background:#2E86C1}
.ubt-grid{display:grid;gap:.6rem}
.ubt-card{border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-top-width:4px;border-radius:.4rem;padding:.4rem;font-size:.8rem;
  overflow-wrap:anywhere}
.ubt-card img{width:100%;image-rendering:pixelated;border-radius:.25rem;display:block;margin-bottom:.3rem}
.ubt-card small{opacity:.75}.ubt-card[data-pair]{cursor:pointer}.ubt-card[data-pair]:hover,.ubt-card[data-pair]:focus-visible{outline:2px solid #2E86C1}
.ubt-duo{display:grid;grid-template-columns:2fr 3fr;gap:.4rem;align-items:center}.ubt-card.chosen{outline:3px solid #2E86C1}
.ubt-none{aspect-ratio:1;display:grid;place-items:center;background:color-mix(in srgb,currentColor 7%,transparent);margin-bottom:.3rem}
.ubt-trio{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:.8rem}
.ubt-trio figure{margin:0;border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.4rem;padding:.5rem;font-size:.8rem;
  overflow-wrap:anywhere}
.ubt-trio figure>div{display:grid;grid-template-columns:repeat(3,1fr);gap:.4rem;margin-bottom:.4rem;text-align:center}
.ubt-trio img{width:100%;image-rendering:pixelated;border-radius:.25rem;display:block}.ubt-trio small{opacity:.75}
.ubt-words{overflow-wrap:anywhere;margin:.1rem 0}
.ubt-words span{display:inline-block;max-width:100%;line-height:1.35;margin:0 .15rem .15rem 0;border-radius:.25rem;
  padding:.1rem .25rem;border:1px solid transparent}
.ubt-words span.kept{border-color:#1C9A78;font-weight:600}.ubt-words span.cut{text-decoration:line-through;opacity:.65}
.ubt-words sub{font-size:.62rem;opacity:.9;font-weight:400;margin-left:.15rem}
.ubt-pictures{display:grid;grid-template-columns:repeat(2,minmax(0,14rem));gap:.5rem;font-size:.75rem}.ubt-pictures img{width:100%;border-radius:.25rem;
  display:block;image-rendering:pixelated}
.ubt-attributions{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:.6rem;font-size:.82rem}
.ubt-attributions>div{display:flex;gap:.6rem;border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.4rem;padding:.4rem}
.ubt-attributions img{width:6.2rem;height:6.2rem;image-rendering:pixelated;border-radius:.25rem}
.ubt-table{border-collapse:collapse;width:100%;font-size:.88rem}
.ubt-table th,.ubt-table td{padding:.28rem .4rem;text-align:right;border-bottom:1px solid color-mix(in srgb,currentColor 15%,transparent)}
.ubt-table th:first-child,.ubt-table td:first-child{text-align:left}.ubt-table th{font-weight:600;opacity:.8}
</style>"""


@st.cache_resource(max_entries=1, show_spinner=False)
def icon() -> Image.Image:
    """The tab's icon: a clean hump and a poisoned one, apart. Drawn here, for streamlit's own are fetched from another
    host.
    """
    image = Image.new("RGBA", (32, 32))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((1, 10, 15, 40), 7, fill=CLEAN)
    draw.rounded_rectangle((20, 2, 30, 40), 5, fill=POISONED)
    return image


def readable() -> None:
    """Sliders' values, chosen segments and the text of charts in the page's own colour: Streamlit's are too faint to be
    read by all.
    """
    text = (
        ".js-plotly-plot :is([class$=tick] text,[class$=title],.annotation-text,.legendtext,.textpoint text,.cbaxis"
        " text)"
    )
    st.html(
        f"<style>[data-testid=stSliderThumbValue]{{color:inherit}}button[data-selected=true]{{color:inherit!important}}{text}{{fill:currentColor!important}}</style>"
    )


def lanes(stages: Sequence[Stage], steps: dict[str, Step]) -> None:
    """The pipeline: a lane a role, a chip a stage with its state and its time."""
    rows = []
    for role, title in ROLES.items():
        chips = "".join(_chip(s, steps.get(s.name, Step())) for s in stages if s.role == role)
        rows += (
            [] if not chips else [f'<div class="ubt-lane"><div class="ubt-role">{title}</div><div>{chips}</div></div>']
        )
    st.html(_STYLE + "".join(rows))


def _chip(stage: Stage, step: Step) -> str:
    if step.state == "done":
        said = clock(step.seconds) if step.seconds >= 1 else "under 1 s"
    else:
        said = (
            f"{step.done:,} of {step.total:,}"
            if step.total
            else {"running": "under way", "waiting": "waits its turn"}.get(step.state, "to do")
        )
    bar = f'<i style="width:{100 * step.done / step.total:.0f}%"></i>' if step.total and step.state == "running" else ""
    return (
        f'<div class="ubt-chip {step.state}" title="{escape(stage.about)}">{_MARK[step.state]}'
        f" {escape(stage.name)}<small>{escape(said)}</small>{bar}</div>"
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
) -> None:
    """Pairs as cards: image, caption, score, what an analyst decided, and whether they are poisoned where that may be
    shown.

    Args:
        images: uint8 (H, W, 3) each, None for one that cannot be had; None for a case without images. ids: make the
            cards answer to a click (see `ubt.ui.chart_events`).
        faded: which are greyed, for they are not selected. width: least width of a card, in rem.
    """
    cards = []
    for i, (caption, score) in enumerate(zip(captions, scores, strict=True)):
        colour, said = _truth(poisoned, i)
        label = labels[i] if len(labels) and isinstance(labels[i], str) else ""
        picture = (
            '<div class="ubt-none">no image</div>'
            if images is None or images[i] is None
            else f'<img alt="" src="{_png(images[i])}">'
        )
        pair = _clickable(ids[i], f"{caption}, {score}") if len(ids) else ""
        style = f"border-top-color:{colour}" + (
            ";opacity:.65;filter:grayscale(1)" if faded is not None and faded[i] else ""
        )
        cards.append(
            f'<div class="ubt-card"{pair} style="{style}">{picture}{escape(str(caption))}<br>'
            f"<small>{escape(score)}</small>{said}" + (f" <b>⚑ {escape(label)}</b>" if label else "") + "</div>"
        )
    least = f' style="grid-template-columns:repeat(auto-fill,minmax({width}rem,1fr))"'
    st.html(f'{_STYLE}<div class="ubt-grid"{least}>{"".join(cards)}</div>')


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
        colour, said = _truth(poisoned, i)
        pictures = (
            f'<div class="ubt-duo"><img alt="the patch" src="{_png(patch)}"><img alt="where it was found"'
            f' src="{_png(image)}"></div>'
        )
        cards.append(
            f'<div class="ubt-card{" chosen" if pair == chosen else ""}"'
            f' style="border-top-color:{colour}"{_clickable(pair, f"{title}, {remark}")}>{pictures}'
            f"<b>{escape(title)}</b>{said}<br><small>{escape(remark)}</small></div>"
        )
    st.html(
        f'{_STYLE}<div class="ubt-grid"'
        f' style="grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))">{"".join(cards)}</div>'
    )


def _truth(poisoned: Sequence[bool] | None, i: int) -> tuple[str, str]:
    """A card's colour, and what it says of the truth, where that may be shown."""
    if poisoned is None:
        return UNKNOWN, ""
    colour, sign, said = (POISONED, "◆", "poisoned") if poisoned[i] else (CLEAN, "○", "clean")
    return (
        colour,
        f' <small style="opacity:1;font-weight:600"><span style="color:{colour}">{sign}</span> {said}</small>',
    )


def _clickable(pair: str, said: str) -> str:
    return f' data-pair="{escape(str(pair))}" role="button" tabindex="0" aria-label="select this pair: {escape(said)}"'


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
            f'<div><img alt="{title}" src="{_png(image)}"><small>{title}</small></div>'
            for title, image in zip(titles, three, strict=True)
        )
        changed = (
            f'<br><b><span style="color:{POISONED}">◆</span> {escape(after)}</b>'
            if after != before
            else "<br><small>caption kept</small>"
        )
        cards.append(f"<figure><div>{shown}</div>{escape(before)}{changed}<br><small>{escape(remark)}</small></figure>")
    st.html(f'{_STYLE}<div class="ubt-trio">{"".join(cards)}</div>')


def _heated(text: str, score: float, kept: bool, cut: bool = False) -> str:
    classes = " ".join(name for name, on in (("kept", kept), ("cut", cut)) if on)
    share = round(HOT * min(1.0, max(0.0, float(score))))
    number = f"<sub>{float(score):.2f}</sub>" if score >= 0.005 else ""
    return (
        f'<span class="{classes}" style="background:color-mix(in srgb,#1C9A78'
        f' {share}%,transparent)">{escape(text)}{number}</span>'
    )


def _masked(texts: Sequence[str]) -> str:
    return f"<small>masked caption</small> <b>{escape(' '.join(texts)) or '(nothing to keep)'}</b>"


def words(found: Sequence["Word"], scores: np.ndarray, kept: np.ndarray) -> None:
    """A caption's words coloured by score, those a mask keeps framed, and the caption that it leaves."""
    spans = "".join(_heated(w.text, s, k, w.cut) for w, s, k in zip(found, scores, kept, strict=True))
    left = _masked([w.text for w, k in zip(found, kept, strict=True) if k])
    st.html(
        f'{_STYLE}<div class="ubt-words">{spans or "<small>an empty caption</small>"}</div><div'
        f' class="ubt-words">{left}</div>'
    )


def heated(texts: Sequence[str], scores: np.ndarray | None, kept: np.ndarray | None, cut: np.ndarray | None) -> None:
    """A caption's words, coloured by score where there is one."""
    none = [0.0] * len(texts), [False] * len(texts), [False] * len(texts)
    columns = none if scores is None else (scores, kept, cut)
    spans = "".join(_heated(*word) for word in zip(texts, *columns, strict=True))
    st.html(
        f'{_STYLE}<div class="ubt-words" style="font-size:1.15rem">{spans or "<small>an empty caption</small>"}</div>'
    )


def pictures(shown: Sequence[tuple[str, np.ndarray]], columns: int = 2, most: float = 14) -> None:
    """Titled images side by side, so many in a row, each at most so wide, in rem."""
    cells = "".join(
        f'<div><img alt="{escape(title)}" src="{_png(image)}">{escape(title)}</div>' for title, image in shown
    )
    sized = f"repeat({columns},minmax(0,{most:g}rem))" if len(shown) > 1 else "minmax(0,18rem)"
    st.html(f'{_STYLE}<div class="ubt-pictures" style="grid-template-columns:{sized}">{cells}</div>')


def attributions(rows: Sequence[tuple[np.ndarray, Sequence[str], np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Pairs with their heat: image, words, scores, which are kept, which are cut by the context."""
    cards = []
    for image, texts, scores, kept, cut in rows:
        spans = "".join(_heated(*word) for word in zip(texts, scores, kept, cut, strict=True))
        left = _masked([t for t, k in zip(texts, kept, strict=True) if k])
        cards.append(
            f'<div><img alt="relevance over the image" src="{_png(image)}"><div'
            f' class="ubt-words">{spans}<br>{left}</div></div>'
        )
    st.html(f'{_STYLE}<div class="ubt-attributions">{"".join(cards)}</div>')


def _png(image: np.ndarray) -> str:
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
    st.html(f'{_STYLE}<table class="ubt-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
