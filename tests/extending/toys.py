"""One attack, one defence and one detector of somebody else's, each as a file of theirs would declare it."""

import sys

import numpy as np
import pandas as pd

from ubt.attacks import ATTACKS, Attack
from ubt.attacks.base import TriggerSettings
from ubt.clip import recipes
from ubt.clip.cost import trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, Settings, setting
from ubt.core.stage import D, takes
from ubt.defenses import DEFENSES
from ubt.defenses.base import Defense
from ubt.detectors import DETECTORS
from ubt.detectors.base import IMAGES, Detector, scored
from ubt.evaluation.stages import trained_stages


class StripeSettings(TriggerSettings):
    """A white stripe along the upper edge."""

    rows: int = setting(3, "rows of the stripe, in pixels", low=1, high=48)


PROFILES = {"embedded": {}, "paper": {"rows": 1}}


def apply(images: np.ndarray, seeds: np.ndarray, s: StripeSettings) -> np.ndarray:
    """Images, uint8 (n, H, W, 3), with the stripe."""
    out = images.copy()
    out[:, : s.rows] = 255
    return out


class CalmSettings(FitSettings):
    """A few steps on D_normal."""

    steps: int = setting(2, "optimiser steps", low=1)


def calm(model, images: np.ndarray, tokens: np.ndarray, split: pd.DataFrame, settings: CalmSettings, run: Run) -> dict:
    """Train a little on D_normal. Returns the `model` and its `history`."""
    rows = np.flatnonzero(~split["suspicious"])
    return recipes.train_on_pairs(model, images, tokens, settings, run, "calm", steps=settings.steps, rows=rows)


STAGES = trained_stages(
    "calm",
    "the calmed model",
    "M_bd trained a little on D_normal",
    "toys:calm",
    takes("poison.model", "split.split", **D),
    {"settings": "calm"},
    lambda s: trained(s.calm.steps, s.calm.batch),
)


class CornerSettings(Settings):
    """Where a detector looks."""

    axis: int = setting(0, "the axis of the embedding", low=0)


def corner(image_features: np.ndarray, pairs: pd.DataFrame, settings: CornerSettings, run: Run) -> dict:
    """One coordinate of the image's embedding, for want of better."""
    return scored(pairs["id"], np.asarray(image_features)[:, settings.axis])


def register() -> None:
    """What a line in each registry does."""
    ATTACKS["stripe"] = Attack("a white stripe", StripeSettings, sys.modules[__name__])
    DEFENSES["calm"] = Defense(
        "calm down",
        STAGES,
        "evaluate_calm",
        settings={"calm": CalmSettings},
        paper=lambda scale: {"calm.steps": scale.epochs(1)},
        toy={"calm.steps": 1},
        look=("#123456", "square", "solid"),
    )
    DETECTORS["corner"] = Detector(
        "a coordinate of the image under M_bd",
        "toys:corner",
        IMAGES,
        {"settings": "corner"},
        {"corner": CornerSettings},
    )
