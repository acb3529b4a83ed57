"""Captions as words: which of the tokenizer's pieces make a word, what each word scores, and the caption that a mask
leaves.

A word is what stands between blanks in the caption as the stock tokenizer reads it (lower case, entities resolved),
without the punctuation around it; symbols and emoji count as words, hyphens and apostrophes inside stay, and a piece
that the tokenizer makes of punctuation and symbol together goes with the word. A word's score is the sum of its pieces'
scores. Punctuation around words is no word: a closing full stop sits beside EOT and draws relevance that means nothing,
so the words' scores are divided by their own sum. SOT and EOT are never scored and never masked.
"""

import itertools
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Word:
    """A word, and the columns of a row of token ids that hold its pieces; `cut` if some or all lie beyond the
    context.
    """

    text: str
    columns: tuple[int, ...]
    cut: bool


def _tokenizer():
    from ubt.data import model_input

    return model_input.tokenizer()


def _pieces(token: str) -> list[int]:
    t = _tokenizer()
    return [t.encoder[p] for p in t.bpe("".join(t.byte_encoder[b] for b in token.encode())).split(" ")]


def split(caption: str, context: int) -> list[Word]:
    """The words of a caption, in order. If it has none but punctuation, that is its words.

    >>> [(w.text, w.columns) for w in split("A close-up of bananas!", 24)]
    [('a', (1,)), ('close-up', (2, 3, 4)), ('of', (5,)), ('bananas', (6,))]
    """
    clean = _tokenizer().clean_fn(caption)
    pieces, column, ended = [], 1, False
    for m in _tokenizer().pat.finditer(clean):
        ids = _pieces(m.group())
        inside = [c for c in range(column, column + len(ids)) if c < context - 1 and not ended]
        ended = ended or _tokenizer().eot_token_id in ids
        pieces.append((*m.span(), () if ended else tuple(inside), ended or len(inside) < len(ids)))
        column += len(ids)
    spans = [_core(clean, *m.span()) for m in re.finditer(r"\S+", clean)]
    spans = [s for s in spans if s[0] < s[1]] or [m.span() for m in re.finditer(r"\S+", clean)]
    found, first = [], 0
    for start, stop in spans:
        while first < len(pieces) and pieces[first][1] <= start:
            first += 1
        mine = list(itertools.takewhile(lambda p, stop=stop: p[0] < stop, itertools.islice(pieces, first, None)))
        found.append(Word(clean[start:stop], tuple(c for p in mine for c in p[2]), any(p[3] for p in mine)))
    return found


def _core(text: str, start: int, stop: int) -> tuple[int, int]:
    while start < stop and unicodedata.category(text[start])[0] == "P":
        start += 1
    while stop > start and unicodedata.category(text[stop - 1])[0] == "P":
        stop -= 1
    return start, stop


def scores(found: list[Word], by_token: np.ndarray) -> np.ndarray:
    """Each word's score, the sum of its pieces', over the sum of all words; 0 for words beyond the context, and equal
    shares for the others where none of them scores.

    Args:
        by_token: scores of the caption's row of token ids (context,).
    """
    raw = np.array([by_token[list(w.columns)].sum() for w in found], np.float64)
    if raw.sum() <= 0:
        raw = np.array([float(len(w.columns) > 0) for w in found])
    return raw / max(raw.sum(), 1e-30)


def kept(score: np.ndarray, threshold: float) -> np.ndarray:
    """Which of a caption's words, or pieces, score (words,) above the threshold; if none does, those that score
    highest; none where nothing scores, as in a caption that begins beyond the context.

    >>> kept(np.array([0.02, 0.08, 0.9]), 0.1).tolist(), kept(np.array([0.5, 0.5]), 0.6).tolist()
    ([False, False, True], [True, True])
    """
    above = score > threshold
    highest = score.max(initial=0)
    return above if above.any() else (score >= highest) & (highest > 0)


def surviving(table: pd.DataFrame, threshold: float) -> pd.Series:
    """`kept` of many captions at once: a table of id and score, a row a word."""
    highest = table.groupby("id")["score"].transform("max")
    return (table["score"] > threshold) | ((highest <= threshold) & (highest > 0) & (table["score"] >= highest))


def masked_ids(row: np.ndarray, by_token: np.ndarray, threshold: float) -> np.ndarray:
    """A caption's row of token ids (context,) with only the pieces that score above the threshold between SOT and EOT,
    one by one, not merged to words.
    """
    end = int(row.argmax())
    own = row[1:end][kept(by_token[1:end], threshold)]
    out = np.zeros_like(row)
    out[: len(own) + 2] = [row[0], *own, row[end]]
    return out


def decode(row: np.ndarray) -> str:
    """What a row of token ids (context,) says, between SOT and EOT."""
    return _tokenizer().decode([int(i) for i in row[1 : int(row.argmax())]]).strip()
