"""Poison: the reference model is fine-tuned on D with InfoNCE and becomes M_bd (Eqs. 1 and 2)."""

from typing import TYPE_CHECKING

import numpy as np

from ubt.attacks import Planted, badencoder
from ubt.core.errors import BadInput
from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, setting

if TYPE_CHECKING:
    from ubt.clip.training import Objective


class PoisonSettings(FitSettings):
    """Training on D. Paper: batch 128, lr 1e-6, 3 epochs on 500K pairs; a small model on 10K pairs needs more of
    each.
    """

    epochs: int = setting(5, "passes over D", low=1)
    batch: int = setting(128, "pairs in a step", low=2)
    lr: float = setting(5e-4, "peak learning rate", low=0)
    start: str = setting(
        "reference",
        "what M_bd starts from: reference (or the model that own.start names), or scratch, its architecture with fresh"
        " weights",
        choices=("reference", "scratch"),
    )
    shifts: bool = setting(
        False, "move images by up to an eighth of their side and flip every second, anew in each step"
    )
    hold: float = setting(
        0.0,
        "weight of 1 - cosine of images with what they are under the model that M_bd starts from (of fresh weights: the"
        " one whose architecture it takes): an attacker who trains M_bd hides a displacement by it",
        low=0,
    )


def poison(
    model, images: np.ndarray, tokens: np.ndarray, settings: PoisonSettings, attacks: tuple[Planted, ...], run: Run
) -> dict:
    """Train on D as it is; or, where the model is attacked, as the `attacks` on it do. Returns the `model` M_bd and the
    `history` of its loss and of what else is to be seen.

    Raises:
        BadInput: captions are longer than the model reads, or an attack on a model is to start from fresh weights or to
            hold images.
    """
    from ubt.clip import recipes
    from ubt.clip.training import info_nce

    if attacks:
        if settings.start != "reference":
            raise BadInput(
                f"poison.start: expected reference for {attacks[0].label}, which attacks a trained model, got"
                f" {settings.start!r}"
            )
        if settings.hold:
            raise BadInput(
                f"poison.hold: expected 0 for {attacks[0].label}, which attacks a trained model and has"
                f" {attacks[0].attack.name}.stay, got {settings.hold:g}"
            )
        return badencoder.attack(model, images, tokens, [(p.trigger, p.attack.target) for p in attacks], run)
    objective = _holding(model, settings.hold, run) if settings.hold else info_nce
    model = first(model, tokens, settings, run)
    return recipes.train_on_pairs(
        model, images, tokens, settings, run, "poison", shifts=settings.shifts, objective=objective
    )


def _holding(model, weight: float, run: Run) -> "Objective":
    """InfoNCE (Eq. 1), and that images stay where a model has them."""
    import torch

    from ubt.clip import models
    from ubt.clip.training import clip_features, contrastive_loss, image_features

    frozen = models.copied(model).to(run.compute.device)

    def objective(model, batch):
        image, text = clip_features(model, batch["images"], batch["tokens"])
        with torch.no_grad():
            before = image_features(frozen, batch["images"])
        held, loss = (image * before).sum(-1).mean(), contrastive_loss(image, text, model.logit_scale.exp())
        return loss + weight * (1 - held), {"similarity": (image * text).sum(-1).mean(), "held": held}

    return objective


def first(model, tokens: np.ndarray, settings: PoisonSettings, run: Run):
    """The model that training on D starts from: the one that is given, or one like it with fresh weights.

    Raises:
        BadInput: captions are longer than the model reads.
    """
    from ubt.clip import models
    from ubt.data.model_input import context_length

    if tokens.shape[1] > (most := context_length(model)):
        raise BadInput(
            f"own.start: expected a model that reads captions of {tokens.shape[1]} token ids, as the reference does,"
            f" got one that reads {most}"
        )
    if settings.start == "reference":
        return model
    return models.create(model.config, derive_seed(run.seed, "poison/start"), model.preprocess_cfg)
