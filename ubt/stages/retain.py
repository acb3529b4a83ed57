"""Retain: D_normal without what looks poisoned, for the retention term of our unlearning.

Poisons that the split missed sit in D_normal, and a contrastive loss on them would bring the backdoor back (section V-C
finds that of ABL). They are found by their images: the overfitted model reads them as what D_topk's captions say, the
clean reference does not. What unlearning endangers is the target itself ("banana" must stay a banana): clean pairs that
show what D_topk's captions say are marked as anchors.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import Run, Settings, setting


@dataclass(frozen=True)
class RetainSettings(Settings):
    """What is left out of retention."""

    share: float = setting(0.6, "a pair is left out when its image's pull towards D_topk's captions grew by this share of D_topk's own growth", low=0, high=1)
    anchors: int = setting(100, "clean pairs that look most like D_topk's captions say, for retention to hold on to", low=0)


def pull(features: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Cosine similarity (n,) of images with the mean direction of some captions."""
    centre = captions.mean(0)
    return features @ (centre / np.linalg.norm(centre))


def retain(
    topk: pd.DataFrame, split: pd.DataFrame, overfit_images: np.ndarray, overfit_texts: np.ndarray, reference_images: np.ndarray,
    reference_texts: np.ndarray, settings: RetainSettings, run: Run,
) -> dict:  # fmt: skip
    """Compare, for every image of D, its pull towards each group's captions under the overfitted model and under the reference.

    Returns:
        `retain`: id, `growth` of the pull (of the group it grew most towards, by that group's own growth), whether the pair
        looks `poisoned`, the `group` it then belongs to (else -1), whether it is `kept` for retention, and whether it is an
        `anchor`: kept, and under the reference among those closest to a group's captions.
    """
    rows, group = topk["row"].to_numpy(), topk["group"].to_numpy()
    before, growth, share = [], [], []
    for g in range(group.max() + 1):
        own = rows[group == g]
        before.append(pull(reference_images, reference_texts[own]))
        growth.append(pull(overfit_images, overfit_texts[own]) - before[-1])
        share.append(growth[-1] / max(1e-6, np.median(growth[-1][own])))
    nearest = np.argmax(share, axis=0)
    poisoned = np.max(share, axis=0) > settings.share
    kept = ~poisoned & ~split["suspicious"].to_numpy()
    anchor = np.zeros(len(kept), bool)
    for pulled in before:
        anchor[np.argsort(-np.where(kept, pulled, -np.inf), kind="stable")[: min(settings.anchors, kept.sum())]] = True
    growth = np.array(growth)[nearest, np.arange(len(kept))]
    return {"retain": pd.DataFrame({
        "id": split["id"], "growth": growth, "poisoned": poisoned, "group": np.where(poisoned, nearest, -1), "kept": kept, "anchor": anchor,
    })}  # fmt: skip
