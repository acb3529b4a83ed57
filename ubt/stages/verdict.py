"""Verdict: is the model poisoned at all, judged before anything is unlearned (section V-E).

The paper judges by D_topk's similarities under the overfitted model, high and concentrated for a poisoned model, and gives
no threshold. The score here is the mean similarity of the images of D_topk with *each other's* captions: poisons share one
shortcut, so any of their captions fits any of their images, while the best-fitted clean pairs have little to do with each
other. It is high only if the similarities are high and the pairs concentrated on one thing. Of several groups
(`ubt.stages.select`) the highest counts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import Run, Settings, setting


@dataclass(frozen=True)
class VerdictSettings(Settings):
    """From which score on a model counts as poisoned."""

    threshold: float = setting(0.5, "score above which the model is judged poisoned", low=-1, high=1)


def concentration(image_features: np.ndarray, text_features: np.ndarray) -> float:
    """Mean cosine similarity of each image with the other pairs' captions (k, embedding each)."""
    cross = image_features @ text_features.T
    k = len(cross)
    return float((cross.sum() - np.trace(cross)) / (k * (k - 1))) if k > 1 else float(cross.mean())


def verdict(topk: pd.DataFrame, image_features: np.ndarray, text_features: np.ndarray, settings: VerdictSettings, run: Run) -> dict:
    """Judge the model from D_topk and the overfitted model's features of D.

    Returns:
        `verdict`: `poisoned`, `score`, `threshold`, and as evidence the mean and the least similarity inside D_topk.
    """
    images, texts = np.asarray(image_features), np.asarray(text_features)
    score = max(concentration(images[rows], texts[rows]) for rows in topk.groupby("group")["row"].apply(np.array))
    own = topk["similarity"]
    return {
        "verdict": {
            "poisoned": score > settings.threshold, "score": score, "threshold": settings.threshold,
            "topk_similarity_mean": float(own.mean()), "topk_similarity_min": float(own.min()),
        }
    }  # fmt: skip
