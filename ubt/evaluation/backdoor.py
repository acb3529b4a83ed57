"""What a backdoor does to zero-shot predictions: CA, ASR, RA, target recall, in percent, with 95 % intervals."""

import math
from collections.abc import Mapping

import numpy as np

QUANTILE = 1.959963984540054
"""Of the normal distribution, for 95 %."""


def interval(hits: np.ndarray) -> list[float]:
    """Wilson's 95 % interval of a share, in percent, to the bit that of scipy, whose test takes 7 ms.

    >>> [round(v, 1) for v in interval(np.array([True] * 5 + [False] * 95))]
    [2.2, 11.2]
    """
    n, k = len(hits), int(hits.sum())
    square, p = QUANTILE**2, k / n
    over = 2 * (n + square)
    centre, half = (2 * n * p + square) / over, QUANTILE / over * math.sqrt(4 * n * p * (1 - p) + square)
    return [0.0 if k == 0 else 100 * (centre - half), 100.0 if k == n else 100 * (centre + half)]


def measure(
    clean: np.ndarray, triggered: np.ndarray, labels: np.ndarray, target: int, carrying: np.ndarray | None = None
) -> dict:
    """All measures from predictions on clean and on triggered copies of the same labelled images.

    Args:
        clean, triggered, labels: class indices (n,). target: index of the target label. carrying: which of the
        "triggered" images carry the trigger (n,), where nobody puts it on them; None: all.

    Returns:
        `ca`: share of clean images classified right. `asr`: share of triggered images of other classes taken for the
        target. `asr_all`: the same over all images. `ra`: share of triggered images of other classes still classified
        right. `target_recall`: share of clean images of the target class classified right. `intervals`, `images`: each
        measure's 95 % interval and number of images.
    """
    own = labels == target
    carrying = np.ones(len(labels), bool) if carrying is None else carrying
    other = carrying & ~own
    hits = {
        "ca": clean == labels,
        "asr": triggered[other] == target,
        "asr_all": triggered[carrying] == target,
        "ra": triggered[other] == labels[other],
        "target_recall": clean[own] == target,
    }
    return shares(hits)


def shares(hits: Mapping[str, np.ndarray]) -> dict:
    """Of each measure, by what it counts (n,) as hits: its share in percent; and the `intervals` and the number of
    `images` of all.
    """
    intervals, counts = {k: interval(v) for k, v in hits.items()}, {k: len(v) for k, v in hits.items()}
    return {**{k: 100 * float(v.mean()) for k, v in hits.items()}, "intervals": intervals, "images": counts}


def by_attack(measured: dict[str, dict]) -> dict[str, list[float]]:
    """What tells attacks and keys apart: of a case with several attacks each one's ASR and target recall, of an attack
    with two keys its ASR with one of them; percent, a value a model. Empty where there is nothing to tell apart.

    Args:
        measured: model name to `ubt.evaluation.judge.evaluate`'s measures.
    """
    names = {
        "asr": "ASR",
        "asr_image_only": "ASR, patch only",
        "asr_text_only": "ASR, word only",
        "target_recall": "target recall",
    }
    attacks = next(iter(measured.values()))["attacks"]
    several = len(attacks) > 1
    shown = [(i, k) for i, a in enumerate(attacks) for k in names if k in a and (several or "only" in k)]
    labels = [a["label"] for a in attacks]
    titles = [f"{label} ({i + 1})" if labels.count(label) > 1 else label for i, label in enumerate(labels)]
    return {f"{titles[i]}: {names[k]}": [m["attacks"][i][k] for m in measured.values()] for i, k in shown}
