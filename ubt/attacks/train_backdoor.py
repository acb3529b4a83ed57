"""Poison: the reference model is fine-tuned on D with InfoNCE and becomes M_bd (Eqs. 1 and 2)."""

import numpy as np

from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting


class PoisonSettings(FitSettings):
    """Training on D. Paper: batch 128, lr 1e-6, 3 epochs on 500K pairs; a small model on 10K pairs needs more of
    each.
    """

    epochs: int = setting(5, "passes over D", low=1)
    batch: int = setting(128, "pairs in a step", low=2)
    lr: float = setting(5e-4, "peak learning rate", low=0)


def poison(model, images: np.ndarray, tokens: np.ndarray, settings: PoisonSettings, run: Run) -> dict:
    """Train on D as it is. Returns the `model` M_bd and the `history` of loss and mean similarity."""
    from ubt.clip import recipes

    return recipes.train_on_pairs(model, images, tokens, settings, run, "poison")
