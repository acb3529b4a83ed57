"""A trigger without a target: the smallest masked pattern with which the features of different images become alike
(DECREE, Feng et al., CVPR 2023). The class that these features lie nearest to is the target that it names.

DECREE steers the weight of the size by its successes; here it is fixed, and several starts are made in its place.
"""

import numpy as np
import pandas as pd
import torch

from ubt.clip.training import Batch
from ubt.clip.trigger_optimizer import Masked, Overlay, noise_seed, optimize
from ubt.core.run import Run
from ubt.core.settings import setting
from ubt.detectors.inversion.base import (
    HELD,
    LOUD,
    Batches,
    Given,
    Inverted,
    InvertSettings,
    Trigger,
    features,
    looking,
)


class TargetFreeSettings(InvertSettings):
    """The patterns without a target."""

    steps: int = setting(150, "optimiser steps", low=1)
    batch: int = setting(32, "images in a step (DECREE: 32)", low=2)
    lr: float = setting(0.1, "peak learning rate", low=0)
    size: float = setting(2.0, "what a mask over the whole image costs, against the mean similarity", low=0)
    starts: int = setting(2, "patterns, each from other noise", low=1, high=64)


def invert(given: Given, settings: TargetFreeSettings, run: Run) -> Inverted:
    """Patterns that make features alike; `class` is the one most held images are then taken for, `asr` their share,
    `margin` the mean similarity of their features to each other, and the evidence this similarity over the size.

    Raises:
        UbtError: the loss is not finite. Cancelled: see `by_class`.
    """
    height, width = given.images.shape[1:3]
    overlay = Masked(settings.starts, height, width, noise_seed(run.seed))

    def asked(seen: torch.Tensor, batch: Batch, laid: Overlay) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        like = alike(seen)
        return LOUD * (settings.size * laid.size() - like).sum(), {"alike": like.mean().detach()}

    optimize(overlay, given.model, Batches(given.images, settings.batch, run.seed), asked, settings, run)
    with looking(given.model):
        parts = [
            features(given.model, overlay, given.held[i : i + HELD]).cpu() for i in range(0, len(given.held), HELD)
        ]
        seen = torch.cat(parts, 1)
        taken = (seen.numpy() @ given.weights.T).argmax(2)
        size = overlay.size().cpu().numpy()
        patterns, masks = overlay.pattern().permute(0, 2, 3, 1).cpu().numpy(), overlay.mask()[:, 0].cpu().numpy()
        like = alike(seen).numpy()
    most = [np.bincount(row, minlength=len(given.weights)) for row in taken]
    measures = pd.DataFrame(
        {
            "class": [int(c.argmax()) for c in most],
            "asr": [100.0 * c.max() / c.sum() for c in most],
            "margin": like.astype(np.float64),
            "size": size.astype(np.float64),
        }
    )
    measures["evidence"] = np.log(measures["margin"].clip(lower=1e-3)) - np.log(measures["size"])
    order = measures["evidence"].sort_values(ascending=False, kind="stable").index
    return Inverted(measures, tuple(Trigger(-1, patterns[i], masks[i]) for i in order))


def alike(seen: torch.Tensor) -> torch.Tensor:
    """The mean cosine similarity of different images' unit features (triggers, n, embedding), (triggers,)."""
    n = seen.shape[1]
    return (n * seen.mean(1).square().sum(-1) - 1) / (n - 1)
