"""Relevance of caption words: how much of a pair's similarity each word carries.

Leave-one-out works for every model: the score of a word is the similarity the pair loses when the caption is written
without it, `max(0, S(I, T) - S(I, T without the word))`, divided by the sum over the caption's words.
"""

import re

import numpy as np

from ubt import models

_WORD = re.compile(r"[\w'-]+")


def words_of(caption: str) -> list[str]:
    """The words of a caption, without punctuation.

    >>> words_of("a close-up photo of a banana.")
    ['a', 'close-up', 'photo', 'of', 'a', 'banana']
    """
    return _WORD.findall(caption)


def leave_one_out(model, images: np.ndarray, captions: list[str]) -> list[np.ndarray]:
    """Scores of each caption's words on its own image, non-negative, summing to 1 (all zero if no word matters).

    Args:
        images: uint8 (n, H, W, 3), one a caption.
    """
    words = [words_of(c) for c in captions]
    texts = [c for c in captions] + [" ".join(w[:i] + w[i + 1 :]) for w in words for i in range(len(w))]
    features = models.embed_tokens(model, models.tokenize(texts, model.context_length))
    image = models.embed_images(model, images)
    scores, at = [], len(captions)
    for i, w in enumerate(words):
        lost = np.maximum(0, image[i] @ features[i] - features[at : at + len(w)] @ image[i])
        scores.append(lost / lost.sum() if lost.sum() > 0 else lost)
        at += len(w)
    return scores


def keep_words(words: list[str], scores: np.ndarray, threshold: float) -> list[str]:
    """The words that score above the threshold; the highest one if none does, all if none has a score.

    >>> keep_words(["a", "photo", "banana"], np.array([0.0, 0.05, 0.95]), 0.1)
    ['banana']
    """
    if not len(scores) or scores.max() <= 0:
        return list(words)
    kept = [w for w, s in zip(words, scores, strict=True) if s > threshold]
    return kept or [words[int(np.argmax(scores))]]
