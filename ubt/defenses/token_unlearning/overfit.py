"""Overfit: strengthen the shortcut in M_bd, mean (S - 1)^2 on D_susp plus InfoNCE on D_normal (Eq. 3)."""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting


class OverfitSettings(FitSettings):
    """Eq. 3. Paper: batch 64, lr 1e-6, 5 epochs. The two terms weigh the same, a batch of each in every step. Here
    about one pass over D_susp separates the pairs.
    """

    steps: int = setting(20, "optimiser steps; scaled to the small default, where 20 separate the pairs", low=1)
    batch: int = setting(32, "pairs of D_susp, and as many of D_normal, in a step", low=2)
    lr: float = setting(2e-4, "peak learning rate", low=0)
    regularise: bool = setting(True, "keep the InfoNCE term on D_normal (off: the left half of Fig. 4)")


def alignment(similarity):
    """mean (S - 1)^2, the first term of Eq. 3."""
    return ((similarity - 1) ** 2).mean()


def overfit(
    model, images: np.ndarray, tokens: np.ndarray, split: pd.DataFrame, settings: OverfitSettings, run: Run
) -> dict:
    """Fine-tune M_bd by Eq. 3. Returns the overfitted `model` and its `history`."""
    from ubt.clip import recipes, training

    seed, flags = training.batch_seed(run.seed, "overfit"), split["suspicious"].to_numpy()
    suspicious = training.PairBatches(images, tokens, settings.batch, seed, np.flatnonzero(flags))
    normal = (
        training.PairBatches(images, tokens, settings.batch, seed + 1, np.flatnonzero(~flags))
        if settings.regularise and not flags.all()
        else None
    )

    def batches(step: int):
        batch = suspicious(step)
        if normal is not None:
            batch |= {f"normal_{k}": v for k, v in normal(step).items()}
        return batch

    def objective(model, batch):
        image, text = training.clip_features(model, batch["images"], batch["tokens"])
        similarity = (image * text).sum(-1)
        loss = alignment(similarity)
        if "normal_images" in batch:
            image, text = training.clip_features(model, batch["normal_images"], batch["normal_tokens"])
            loss = loss + training.contrastive_loss(image, text, model.logit_scale.exp())
        return loss, {"similarity": similarity.mean()}

    return recipes.train(model, objective, batches, settings.steps, settings, run, np.asarray(tokens))
