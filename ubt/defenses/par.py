"""PAR, perturb and recover (arXiv 2412.00727): fine-tune M_bd on clean or generated pairs with InfoNCE while its
features are driven away from what M_bd's own are, so that a shortcut is left behind and the rest is learned again.
"""

from typing import Any

import numpy as np
import pandas as pd

from ubt.clip.cost import trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import takes
from ubt.defenses.base import Defense, PaperScale
from ubt.evaluation.stages import trained_stages


class ParSettings(FitSettings):
    """Paper: 250K pairs, lr 3e-5 falling to 3e-6, 2 epochs, weight decay 1e-4, betas (0.9, 0.98), weight 0.5, bound
    2.15; its code: 2,048 pairs in a step. Rate and epochs are scaled: the best of eight trials by CA - ASR
    (`ubt.reports.paper.tuning`). Other than in its code the rate warms up and falls by cosine, the temperature is
    trained, and the part that is erased is black and of any shape.
    """

    epochs: int = setting(5, "passes over the clean pairs (paper: 2)", low=1)
    batch: int = setting(64, "pairs in a step (its code: 2,048)", low=2)
    lr: float = setting(1e-3, "peak learning rate (paper: 3e-5)", low=0)
    weight_decay: float = setting(1e-4, "weight decay (paper: 1e-4)", low=0)
    weight: float = setting(0.5, "weight of the distance from M_bd's own features (paper: 0.5)", low=0)
    bound: float = setting(
        2.15, "squared distance of unit features, a batch's mean, above which they are pushed no farther", low=0, high=4
    )


def par(model, clean_images: np.ndarray, clean_pairs: pd.DataFrame, settings: ParSettings, run: Run) -> dict:
    """InfoNCE on pairs whose images are disturbed (`ubt.clip.augment.disturbed`), minus `weight` times the mean squared
    distance of features from M_bd's own, of images and of captions, each as long as it is within `bound`.

    Returns:
        the purified `model` and its `history`: loss, and the three terms.
    """
    import torch

    from ubt.clip import augment, models, recipes, training
    from ubt.data import model_input

    seed = training.batch_seed(run.seed, "par")
    tokens = model_input.tokenize(clean_pairs["caption"].tolist(), model_input.context_length(model))
    shuffled = training.Shuffled(np.arange(len(tokens)), settings.batch, seed)
    frozen = models.copied(model).to(run.compute.device)

    def batches(step: int):
        rows = shuffled.at(step)
        images = augment.disturbed(np.asarray(clean_images[rows]), [seed, step])
        return {"images": images, "tokens": torch.from_numpy(tokens[rows]).long()}

    def objective(model, batch):
        own = training.clip_features(model, batch["images"], batch["tokens"])
        with torch.no_grad():
            before = training.clip_features(frozen, batch["images"], batch["tokens"])
        across = training.contrastive_loss(*own, model.logit_scale.exp())
        moved = [(a - b).square().sum(1).mean() for a, b in zip(own, before, strict=True)]
        pushed = sum(m * (m < settings.bound) for m in moved)
        return across - settings.weight * pushed, {"across": across, "images": moved[0], "texts": moved[1]}

    steps = settings.epochs * shuffled.steps_per_epoch
    return recipes.train(model, objective, batches, steps, settings, run, tokens)


STAGES = trained_stages(
    "par",
    "the model purified by PAR",
    "fine-tuned on clean pairs away from M_bd's features (PAR)",
    "ubt.defenses.par:par",
    takes("poison.model", clean_images="clean.images", clean_pairs="clean.pairs"),
    {"settings": "par"},
    lambda s: 1.3 * trained(s.par.epochs, s.clean.pairs),
)


def _paper(scale: PaperScale) -> dict[str, Any]:
    return {"par.epochs": 2, "par.batch": 2048, "par.lr": 3e-5}


DEFENSE = Defense(
    "PAR",
    STAGES,
    "evaluate_par",
    "clean pairs",
    settings={"par": ParSettings},
    paper=_paper,
    toy={"par.epochs": 1, "par.batch": 16},
    look=("#D0632E", "star", "dash"),
)
