"""Verdict: is the model poisoned at all, judged before anything is unlearned (section V-E).

The paper judges by D_topk's similarities under the overfitted model, high and concentrated for a poisoned model, and
gives no threshold. The score here is the mean similarity of the images of D_topk with *each other's* captions: poisons
share one shortcut, so any of their captions fits any of their images, while the best-fitted clean pairs have little to
do with each other. It is high only if the similarities are high and the pairs concentrated on one thing.

Among the many pairs of a clean D a few may share a general word and score as high. What they lack is a displacement: a
backdoor takes images away from where the clean reference would put them (`ubt.defenses.token_unlearning.retain`). A
model that learned false captions by heart has displaced those images too, each by as much as it was learned; a backdoor
displaces all that carry its trigger alike, so that they are a crowd apart. A group carries a backdoor if it is
concentrated, displaced and apart; a model is poisoned if any group of D_topk does, and its score is that of the most
displaced.
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import Settings, setting
from ubt.defenses.token_unlearning.retain import least_displaced


class VerdictSettings(Settings):
    """From which score and which displacement on a group counts as a backdoor."""

    threshold: float = setting(0.5, "score above which a group of D_topk is concentrated", low=-1, high=1)
    displaced: float = setting(
        0.15,
        "mean 1 - cosine of its images under M_bd with their restored features above which a group is displaced, or 4"
        " times the scatter of clean images where that is more (what is flagged goes by 0.15); below 0 every group is",
        low=-1,
        high=2,
    )
    apart: float = setting(
        0.7,
        "pairs of D_susp pulled towards its captions as far as its own images, to one pulled about half as far, above"
        " which a group is a crowd of its own",
        low=-1,
    )


def concentration(image_features: np.ndarray, text_features: np.ndarray) -> float:
    """Mean cosine similarity of each image with the other pairs' captions (k, embedding each)."""
    cross = image_features @ text_features.T
    k = len(cross)
    return float((cross.sum() - np.trace(cross)) / (k * (k - 1))) if k > 1 else float(cross.mean())


def verdict(
    topk: pd.DataFrame,
    similarity: pd.DataFrame,
    image_features: np.ndarray,
    text_features: np.ndarray,
    groups: pd.DataFrame,
    settings: VerdictSettings,
    run: Run,
) -> dict:
    """Judge the model from D_topk and the overfitted model's features of D_susp.

    Args:
        similarity: id and row of D of the pairs whose features are given. groups: how far each is displaced, and the
            map's scatter, see `ubt.defenses.token_unlearning.retain.retain`.

    Returns:
        `verdict`: `poisoned`, `score`, `threshold`; `displaced` and `least_displaced`, its threshold, `apart` and
        `least_apart` (of the most displaced group that carries a backdoor, or of all); the `groups` that carry one; and
        as evidence the mean and the least similarity inside D_topk.
    """
    images, texts, away = np.asarray(image_features), np.asarray(text_features), groups.set_index("group")["displaced"]
    found = []
    for group, part in topk.groupby("group"):
        at = np.searchsorted(similarity["row"], part["row"])
        found.append((float(away[group]), concentration(images[at], texts[at]), int(group)))
    own, least = topk["similarity"], least_displaced(float(groups["scatter"].iloc[0]), settings.displaced)
    apart = groups.set_index("group")["apart"]
    carrying = [
        (away, c, group)
        for away, c, group in found
        if c > settings.threshold and away > least and apart[group] > settings.apart
    ]
    displaced, score, deciding = max(carrying or found)
    return {
        "verdict": {
            "poisoned": bool(carrying),
            "score": score,
            "threshold": settings.threshold,
            "displaced": displaced,
            "least_displaced": least,
            "apart": float(apart[deciding]),
            "least_apart": settings.apart,
            "groups": [group for _, _, group in carrying],
            "topk_similarity_mean": float(own.mean()),
            "topk_similarity_min": float(own.min()),
        }
    }
