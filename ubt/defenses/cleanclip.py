"""CleanCLIP (Bansal et al., ICCV 2023): fine-tune M_bd on clean pairs with InfoNCE and self-supervision within each
modality.
"""

from typing import Any

import numpy as np
import pandas as pd

from ubt.clip.cost import DRAWN, trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import Stage, takes
from ubt.defenses.base import Defense, PaperScale
from ubt.evaluation.stages import trained_stages


class CleanClipSettings(FitSettings):
    """Paper: 100K clean pairs, batch 64, lr 1e-5, 10 epochs, 50 warm-up steps, weight 1. The rate is scaled: the best
    of eight trials by CA - ASR (`ubt.reports.paper.tuning`), as for every baseline.
    """

    epochs: int = setting(10, "passes over the clean pairs (paper: 10)", low=1)
    batch: int = setting(64, "pairs in a step (paper: 64)", low=2)
    lr: float = setting(4e-3, "peak learning rate (paper: 1e-5)", low=0)
    weight: float = setting(1.0, "weight of self-supervision (paper: 1)", low=0)


def terms(image, text, other_image, other_text, scale) -> tuple:
    """InfoNCE across the modalities, of images with their augmented copies, and of captions with their edited copies;
    features normalised, (batch, embedding). The two within a modality are symmetric, as the one across is.
    """
    from ubt.clip.training import contrastive_loss

    return (
        contrastive_loss(image, text, scale),
        contrastive_loss(image, other_image, scale),
        contrastive_loss(text, other_text, scale),
    )


def cleanclip(
    model, clean_images: np.ndarray, clean_pairs: pd.DataFrame, settings: CleanClipSettings, run: Run
) -> dict:
    """InfoNCE, plus `weight` / 2 times InfoNCE of images with their augmented copies and of captions with their edited
    copies.

    Returns:
        the purified `model` and its `history`: loss, and the three terms.
    """
    import torch

    from ubt.clip import augment, recipes, training
    from ubt.data import model_input

    seed, captions = training.batch_seed(run.seed, "cleanclip"), clean_pairs["caption"].to_numpy(object)
    shuffled = training.Shuffled(np.arange(len(captions)), settings.batch, seed)

    def tokens(texts) -> torch.Tensor:
        return torch.from_numpy(model_input.tokenize(list(texts), model.context_length)).long()

    def batches(step: int):
        rows = shuffled.at(step)
        images, texts = np.asarray(clean_images[rows]), captions[rows]
        batch = {"images": torch.from_numpy(images), "tokens": tokens(texts)}
        if settings.weight:
            batch |= {
                "other_images": augment.images(images, [seed, step, 0]),
                "other_tokens": tokens(augment.captions(texts, [seed, step, 1])),
            }
        return batch

    def objective(model, batch):
        if not settings.weight:
            return training.info_nce(model, batch)
        own = training.clip_features(model, batch["images"], batch["tokens"])
        other = training.clip_features(model, batch["other_images"], batch["other_tokens"])
        across, images, texts = terms(*own, *other, model.logit_scale.exp())
        return across + settings.weight * (images + texts) / 2, {"across": across, "images": images, "texts": texts}

    steps = settings.epochs * shuffled.steps_per_epoch
    return recipes.train(model, objective, batches, steps, settings, run, augment.vocabulary(captions))


STAGES: tuple[Stage, ...] = (
    Stage(
        "clean",
        "clean pairs of the defender's own, none of them in D",
        "ubt.data.roles:clean",
        settings={"settings": "clean"},
        cost=lambda s: DRAWN * s.clean.pairs,
        gives=("pairs", "images"),
    ),
    *trained_stages(
        "cleanclip",
        "the model purified by CleanCLIP",
        "fine-tuned on clean pairs with self-supervision (CleanCLIP)",
        "ubt.defenses.cleanclip:cleanclip",
        takes("poison.model", clean_images="clean.images", clean_pairs="clean.pairs"),
        {"settings": "cleanclip"},
        lambda s: trained(s.cleanclip.epochs, (1 + (s.cleanclip.weight > 0)) * s.clean.pairs),
    ),
)


def _paper(scale: PaperScale) -> dict[str, Any]:
    steps = 10 * (scale.pairs // 5) // scale.batch
    return {"epochs": 10, "batch": scale.batch, "lr": 1e-5, "weight": 1.0, "warmup": min(1.0, 50 / max(1, steps))}


DEFENSE = Defense(
    "CleanCLIP",
    STAGES,
    "evaluate_cleanclip",
    "clean pairs",
    settings={"cleanclip": CleanClipSettings},
    paper=lambda scale: {f"cleanclip.{name}": value for name, value in _paper(scale).items()},
    toy={"cleanclip.epochs": 1, "cleanclip.batch": 16},
    look=("#2E86C1", "square", "solid"),
)
