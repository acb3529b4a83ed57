"""Models to hold defences against: the control, trained as long as UBT but without unlearning anything; one that only
trains as gently as RoCLIP does; and the oracle, which is told the poisons and trains without them.
"""

import numpy as np
import pandas as pd

from ubt.clip.cost import trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import D, takes
from ubt.defenses.base import Defense
from ubt.defenses.roclip import RoClipSettings
from ubt.evaluation.stages import trained_stages


class ControlSettings(FitSettings):
    """InfoNCE at the pace of fine-tuning, for about as long as the longest unlearning here (the published form,
    ABL).
    """

    steps: int = setting(80, "optimiser steps", low=1)
    batch: int = setting(128, "pairs of D_normal in a step", low=2)
    lr: float = setting(2e-4, "peak learning rate", low=0)


def control(
    model, images: np.ndarray, tokens: np.ndarray, split: pd.DataFrame, settings: ControlSettings, run: Run
) -> dict:
    """InfoNCE on D_normal from M_bd, and nothing unlearned. Returns the `model` and its `history`."""
    from ubt.clip import recipes

    rows = np.flatnonzero(~split["suspicious"])
    return recipes.train_on_pairs(model, images, tokens, settings, run, "control", rows, settings.steps)


def gentle(model, images: np.ndarray, tokens: np.ndarray, settings: RoClipSettings, run: Run) -> dict:
    """The reference trained on D by plain InfoNCE as long and as gently as RoCLIP trains it. Returns the `model` and
    its `history`.
    """
    from ubt.clip import recipes

    return recipes.train_on_pairs(model, images, tokens, settings, run, "gentle")


def retrain(model, images: np.ndarray, tokens: np.ndarray, truth: pd.DataFrame, settings, run: Run) -> dict:
    """The oracle: the reference trained on D without its poisons, as M_bd was on all of it, by InfoNCE alone whatever
    `poison.hold` is. Returns the `model` and its `history`.
    """
    from ubt.attacks.train_backdoor import first
    from ubt.clip import recipes
    from ubt.clip.score import some

    model = first(model, tokens, settings, run)
    rows = np.flatnonzero(~truth["poisoned"])
    kept = some(images, rows)
    return recipes.train_on_pairs(model, kept, tokens[rows], settings, run, "poison", shifts=settings.shifts)


STAGES = trained_stages(
    "control",
    "the control",
    "M_bd trained on with InfoNCE on D_normal, nothing unlearned",
    "ubt.defenses.control:control",
    takes("poison.model", "split.split", **D),
    {"settings": "control"},
    lambda s: trained(s.control.steps, s.control.batch),
)
GENTLE_STAGES = trained_stages(
    "gentle",
    "the model trained as gently as RoCLIP's",
    "the reference trained on D as gently as RoCLIP trains it, by InfoNCE alone",
    "ubt.defenses.control:gentle",
    takes("reference.model", **D),
    {"settings": "roclip"},
    lambda s: trained(s.roclip.epochs, s.data.pairs),
)
ORACLE_STAGES = trained_stages(
    "retrain",
    "the oracle",
    "the oracle: the reference trained on D without its poisons",
    "ubt.defenses.control:retrain",
    takes("reference.model", "attack.truth", **D),
    {"settings": "poison"},
    lambda s: trained(s.poison.epochs, s.data.pairs),
    "judge",
)

DEFENSE = Defense(
    "control: no unlearning",
    STAGES,
    "evaluate_control",
    "a clean reference",
    settings={"control": ControlSettings},
    paper=lambda scale: {"control.steps": scale.unlearning, "control.batch": 128, "control.lr": 1e-6},
    look=("#74933A", "bowtie", "dot"),
)
GENTLE = Defense(
    "control: as gentle as RoCLIP",
    GENTLE_STAGES,
    "evaluate_gentle",
    "a clean reference",
    trains=True,
    settings={"roclip": RoClipSettings},
    look=("#3A8A7A", "hourglass", "dash"),
)
ORACLE = Defense(
    "oracle: without the poisons",
    ORACLE_STAGES,
    "evaluate_retrain",
    "the truth",
    trains=True,
    look=("#7F8C9A", "circle", "dash"),
)
