"""Suspicion by the loss early in training: poisons are learned first (ABL)."""

import pandas as pd

from ubt.core.run import Run
from ubt.detectors.base import BOTH, TRAINING, Detector, scored


def early_loss(losses: pd.DataFrame, run: Run) -> dict:
    """The lower a pair's own InfoNCE loss under the early model, the more suspicious."""
    return scored(losses["id"], -losses["loss"].to_numpy())


EARLY_LOSS = Detector(
    "low loss early in training (ABL)",
    "ubt.detectors.loss:early_loss",
    {"losses": "abl_isolate.losses"},
    needs=(*BOTH, TRAINING),
)
