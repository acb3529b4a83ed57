"""Verdict: is the model poisoned at all, judged before anything is unlearned (section V-E).

The paper judges by D_topk's similarities under the overfitted model, high and concentrated for a poisoned model, and
gives no threshold. The score here is the mean similarity of the images of D_topk with *each other's* captions: poisons
share one shortcut, so any of their captions fits any of their images, while the best-fitted clean pairs have little to
do with each other. It is high only if the similarities are high and the pairs concentrated on one thing.

Among the many pairs of a clean D a few may share a general word and score as high. What they lack is a displacement: a
backdoor takes images away from where the clean reference would put them (`ubt.defenses.token_unlearning.retain`). A
model that learned false captions by heart has displaced those images too, each by as much as it was learned; a backdoor
displaces all that carry its trigger alike, so that they are a crowd of their own, or, where they are few, displaced
much farther than whatever else fits badly. A group carries a backdoor if it is
concentrated, displaced and apart; a model is poisoned if any group of D_topk does, and its score is that of the most
displaced. One that lacks only the third leaves the verdict open.

A verdict has three answers. Where a health check (`ubt.defenses.token_unlearning.health`) puts in doubt what the
thresholds say, it is *cannot tell*.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import Settings, setting
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED, checked
from ubt.defenses.token_unlearning.retain import is_apart, least_displaced

EARLIER = {
    "check": "health checks",
    "passed": False,
    "said": "an earlier version judged this model without any",
    "why": "a verdict that nothing was checked for may be none",
    "advice": "run the case again; only its verdict and what follows are computed anew",
}
"""What is said of a verdict that has no checks."""


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
    exceeds: float = setting(
        1.5,
        "times that a group is displaced as far as nine in ten of the pairs of D_susp that say something else, above"
        " which it stands apart though it is no crowd",
        low=0,
    )
    checks: bool = setting(
        True, "a health check that fails makes the answer 'cannot tell'; false: the thresholds alone decide"
    )


def answer(found: Mapping[str, Any]) -> str:
    """Which of the three answers a verdict gives. One of an earlier version that says "not poisoned" was not checked
    and is "cannot tell".

    >>> answer({"answer": "not poisoned"}), answer({"poisoned": True}), answer({"poisoned": False})
    ('not poisoned', 'poisoned', 'cannot tell')
    """
    return found["answer"] if "answer" in found else POISONED if found["poisoned"] else CANNOT_TELL


def judged_poisoned(found: Mapping[str, Any]) -> bool:
    """Whether a verdict's answer is "poisoned": then, and only then, is anything unlearned or flagged."""
    return answer(found) == POISONED


def health(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A verdict's health checks, as `ubt.defenses.token_unlearning.health.Check` has them."""
    return found.get("checks", [EARLIER])


def reasons(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The failed checks for which a verdict is "cannot tell"; none where it is not."""
    if answer(found) != CANNOT_TELL:
        return []
    return [c for c in health(found) if not c["passed"] and found.get("by_thresholds", "") in c.get("doubts", [""])]


def concentration(image_features: np.ndarray, text_features: np.ndarray) -> float:
    """Mean cosine similarity of each image with the other pairs' captions (k, embedding each)."""
    cross = image_features @ text_features.T
    k = len(cross)
    return float((cross.sum() - np.trace(cross)) / (k * (k - 1))) if k > 1 else float(cross.mean())


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _groups(
    topk: pd.DataFrame, similarity: pd.DataFrame, images: np.ndarray, texts: np.ndarray, by_group: pd.DataFrame
) -> list[tuple[float, float, int]]:
    """How far each group is displaced, how concentrated it is, and which it is."""
    found = []
    for group, part in topk.groupby("group"):
        at = np.searchsorted(similarity["row"], part["row"])
        found.append((float(by_group["displaced"][group]), concentration(images[at], texts[at]), int(group)))
    return found


def _over_their_bars(
    found: list[tuple[float, float, int]], by_group: pd.DataFrame, least: float, settings: VerdictSettings
) -> tuple[list[tuple[float, float, int]], list[float], list[tuple[float, float | None]]]:
    """Of `_groups`, those that carry a backdoor; how far those are displaced that lie over all bars but the one that
    the map raised; and how far those are apart, and exceed others, that lie over all other bars.
    """
    concentrated = [f for f in found if f[1] > settings.threshold]
    apart, exceeds = by_group["apart"], by_group["exceeds"]
    alike = [f for f in concentrated if is_apart(apart[f[2]], exceeds[f[2]], settings.apart, settings.exceeds)]
    between = [away for away, *_ in alike if settings.displaced < away <= least]
    few = [(float(apart[f[2]]), _known(exceeds[f[2]])) for f in concentrated if f[0] > least and f not in alike]
    return [f for f in alike if f[0] > least], between, few


def verdict(
    topk: pd.DataFrame,
    similarity: pd.DataFrame,
    image_features: np.ndarray,
    text_features: np.ndarray,
    groups: pd.DataFrame,
    reference_images: np.ndarray,
    reference_texts: np.ndarray,
    retain: pd.DataFrame,
    features: np.ndarray,
    pairs: pd.DataFrame,
    split: pd.DataFrame,
    settings: VerdictSettings,
    run: Run,
    accuracy: Mapping[str, Any] | None = None,
    fold: np.ndarray | None = None,
) -> dict:
    """Judge the model from D_topk and the overfitted model's features of D_susp, and check whether that can be done.

    Args:
        similarity: id and row of D of the pairs whose features are given. groups: how far each is displaced, and the
            map's scatter, see `ubt.defenses.token_unlearning.retain.retain`, which also gives `retain` and `features`.
        reference_images, reference_texts: features of D under the reference. accuracy: the reference's, on labelled
            images of the defender's own, where there are any. fold: where models trained on parts of D stand in for the
            reference, which of them was not trained on each pair, (n,).

    Returns:
        `verdict`: its `answer`, "poisoned", "not poisoned" or "cannot tell"; what it is `by_thresholds` alone; `score`
        and `threshold`; `displaced` and `least_displaced`, its threshold, `apart` and `least_apart`, `exceeds` and
        `least_exceeds` (of the most displaced group that carries a backdoor, or of all); the `groups` that carry one;
        as evidence the mean and the least similarity inside D_topk; and the health `checks`.
    """
    by_group = groups.set_index("group")
    found = _groups(topk, similarity, np.asarray(image_features), np.asarray(text_features), by_group)
    own, floor, scatter = topk["similarity"], settings.displaced, float(groups["scatter"].iloc[0])
    least, apart, exceeds = least_displaced(scatter, floor), by_group["apart"], by_group["exceeds"]
    carrying, between, few = _over_their_bars(found, by_group, least, settings)
    checks = checked(
        reference_images,
        reference_texts,
        retain["row"].to_numpy(),
        features,
        pairs["caption"],
        split["suspicious"].to_numpy(),
        topk,
        between,
        (few, settings.apart, settings.exceeds),
        (scatter, floor, least),
        accuracy,
        run,
        fold,
    )
    said = POISONED if carrying else NOT_POISONED
    doubted = settings.checks and any(said in c.doubts for c in checks if not c.passed)
    displaced, score, deciding = max(carrying or found)
    return {
        "verdict": {
            "answer": CANNOT_TELL if doubted else said,
            "by_thresholds": said,
            "score": score,
            "threshold": settings.threshold,
            "displaced": displaced,
            "least_displaced": least,
            "apart": float(apart[deciding]),
            "least_apart": settings.apart,
            "exceeds": _known(exceeds[deciding]),
            "least_exceeds": settings.exceeds,
            "groups": [group for _, _, group in carrying],
            "topk_similarity_mean": float(own.mean()),
            "topk_similarity_min": float(own.min()),
            "checks": [c.plain() for c in checks],
        }
    }
