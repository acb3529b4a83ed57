"""One pair on the screen: image and words with their heat, its scores, its nearest pairs, and the keys that label it;
and the grid that it is chosen from. Parts of *Inspect*.
"""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from ubt.defenses.token_unlearning.mask import METHODS
from ubt.figures.attribution import overlay
from ubt.pairs.events import LABELS
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import attribution, components, images, pair_picker, pairs, roles, search, selection, stale
from ubt.ui.errors import guard, plain, safe
from ubt.ui.selection import Selection
from ubt.ui.view import View

NEAREST = 6
GRID = 24
"""Pairs of the grid, the most suspicious of the selection, or of the flagged."""
HEAT = 0.55
"""How strong the heat is drawn over an image."""


@dataclass(frozen=True)
class Heat:
    """What carries a pair's similarity.

    Args:
        image: with the heat laid over it, uint8 (H, W, 3). words, scores, kept, cut: of the caption (m,) each. by: the
            model that was attributed, and how, in words.
    """

    image: np.ndarray
    words: list[str]
    scores: np.ndarray
    kept: np.ndarray
    cut: np.ndarray
    by: str


def grid(view: View, table: PairTable, selected: Selection, chosen: str | None) -> None:
    """The selected pairs, or the flagged while nothing is selected, as small cards; a click chooses the pair."""
    rows = pair_picker.offered(table, selected)
    shown = rows[:GRID]
    if selected.rows is not None:
        among, total = "selected", int(selected.rows.sum())
    elif table.flagged is not None:
        among, total = "flagged", int(table.flagged.sum())
    else:
        among, total = "pairs", len(table)
    about = "The most suspicious first. Click one to look at it; with Shift it joins the selection, or leaves it"
    st.caption(f"**{len(shown):,} of {total:,} {among}**", help=about)
    some = table.frame(shown, ["id", "caption", "label"])
    components.grid(
        images.some(view, shown),
        some["caption"],
        [_score(table, row) for row in shown],
        None if table.poisoned is None else table.poisoned[shown],
        ids=some["id"],
        labels=some["label"],
        width=4.6,
        brief=True,
        chosen=chosen,
    )


def _score(table: PairTable, row: int) -> str:
    name = next((n for n in ("similarity_overfit", *SIMILARITIES) if n in table), "")
    return f"{table[name][row]:.2f}" if name else ""


def panel(view: View, table: PairTable, pair: str, following: str | None) -> None:
    """The pair: what it is, the keys that label it, its heat, its nearest pairs.

    Args:
        following: the pair to show after this one was labelled.
    """
    row = int(table.rows([pair])[0])
    heat_at, said_at = st.columns([2, 3], gap="small")
    with said_at:
        words_at = st.empty()
        _said(table, row)
    _keys(view, pair, following, table.poisoned is not None)
    image, caption = images.some(view, [row]), table.caption[row].as_py()
    with heat_at:
        picture_at = st.empty()
        with picture_at:
            if image is not None:
                components.pictures([("image", image[0])], most=9)
    words_at.html(_words(caption.split(), None))
    nearest_at = st.container()
    with heat_at, guard():
        heat = _heat(view, row, pair, caption, image)
        if heat is not None:
            with picture_at:
                components.pictures([(heat.by, heat.image)], most=9)
            words_at.html(_words(heat.words, heat))
    with nearest_at, guard():
        _nearest(view, table, row)


def _words(texts: list[str], heat: Heat | None) -> str:
    parts = (None, None, None) if heat is None else (heat.scores, heat.kept, heat.cut)
    return f'{components.STYLE}<div class="ubt-words">{components.heated(texts, *parts)}</div>'


def _said(table: PairTable, row: int) -> None:
    """Scores and what is known of the pair, in two lines."""
    scores = " · ".join(f"{n.removeprefix('similarity_')} {table[n][row]:.3f}" for n in table.similarities())
    known = table.frame(np.array([row]), ["flagged", "topk", "rank", "group", "label", "note", "poisoned"]).iloc[0]
    sets = [name for name, column in (("D_topk", "topk"), ("flagged", "flagged")) if known.get(column)]
    if table.suspicious is not None:
        sets.append("D_susp" if table.suspicious[row] else "D_normal")
    if isinstance(known.get("label"), str):
        sets.append(f"labelled **{plain(known['label'])}**")
    if table.poisoned is not None:
        sets.append(f"in truth {'poisoned' if table.poisoned[row] else 'clean'}")
    st.caption(f"{scores}  \n{', '.join(sets)}")


def _keys(view: View, pair: str, following: str | None, truth: bool) -> None:
    """The buttons that label the pair and go on to the next; the digits press them."""

    @safe
    def label(name: str) -> None:
        if st.session_state.get("pair") != pair:  # the key was pressed before the next pair was on the screen
            return
        pairs.review(view).label([pair], name, selection.session_id())
        if following is not None:
            stale.put("pair", following)

    with st.container(horizontal=True, gap="xsmall", wrap=False, key="labels"):
        for number, name in enumerate(LABELS, 1):
            roles.button(
                name.capitalize(),
                key=f"label-{name}-{pair}",
                shortcut=str(number),
                on_click=label,
                args=(name,),
                width="stretch",
                help="You label with the truth in sight" if truth else None,
            )


def _heat(view: View, row: int, pair: str, caption: str, image: np.ndarray | None) -> Heat | None:
    """The heat that the case's mask was made from where the pair was attributed, else computed now; None where neither
    can be had.
    """
    if image is None or not view.has("mask"):
        return None
    how, attributed = view.read("mask", "how"), view.read("mask", "attributed")
    at = np.flatnonzero(attributed["id"].to_numpy() == pair)
    from ubt.clip.attribution import above, upsample

    if len(at):
        words = view.read("mask", "words")
        own = words[words["id"] == pair]
        texts, found = own["word"].tolist(), view.read("mask", "maps")[at[0]]
        scores, kept, cut = own["score"].to_numpy(), own["kept"].to_numpy(bool), own["cut"].to_numpy(bool)
        by = "as the mask was made"
    else:
        offered = attribution.available(view)
        model = next((m for m in ("overfit", "poisoned") if m in offered), None)
        if model is None:
            return None
        from ubt.clip import words as captions

        explained = attribution.explained(view, model, row, caption, METHODS[0], -1)
        split = captions.split(caption, len(explained.by_token))
        texts, found = [w.text for w in split], explained.map
        scores = captions.scores(split, explained.by_token)
        kept, cut = captions.kept(scores, how["text_threshold"]), np.array([w.cut for w in split], bool)
        by = f"under the {view.model_title(model)}"
    heat = upsample(found[None], *image.shape[1:3])
    mask = above(heat, how["image_threshold"])[0]
    return Heat(overlay(image[0], heat[0], mask, HEAT), texts, scores, kept, cut, by)


def _nearest(view: View, table: PairTable, row: int) -> None:
    """The pair's nearest pairs under the last model, in one row."""
    found = search.models(view)
    if not found:
        return
    answer = search.nearest(view, "joint", found[-1], search.Query(row=row), NEAREST)
    if not len(answer.rows):
        return
    flagged = 0 if table.flagged is None else int(table.flagged[answer.rows].sum())
    st.caption(f"Nearest under the {view.model_title(found[-1])}: {flagged} of {len(answer.rows)} flagged")
    some = table.frame(answer.rows, ["id", "caption", "label"])
    components.grid(
        images.some(view, answer.rows),
        some["caption"],
        [f"{s:.2f}" for s in answer.similarity],
        None if table.poisoned is None else table.poisoned[answer.rows],
        ids=some["id"],
        labels=some["label"],
        columns=NEAREST,
        brief=True,
    )
