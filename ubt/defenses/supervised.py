"""Supervised fine-tuning (the CleanCLIP paper's other defence): M_bd's image encoder on labelled clean images."""

import numpy as np

from ubt.clip.cost import DRAWN, classes, trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import Stage, takes
from ubt.defenses.base import Defense
from ubt.evaluation.stages import trained_stages


class SupervisedSettings(FitSettings):
    """Paper: 50 images a class of ImageNet, lr 1e-4, 10 epochs, batch 64. The rate is scaled: the best of eight trials
    by CA - ASR (`ubt.reports.paper.tuning`).
    """

    epochs: int = setting(10, "passes over the labelled images (paper: 10)", low=1)
    batch: int = setting(64, "images in a step (paper: 64)", low=2)
    lr: float = setting(6e-3, "peak learning rate (paper: 1e-4)", low=0)


def supervised(
    model, images: np.ndarray, labels: np.ndarray, prompts: np.ndarray, settings: SupervisedSettings, run: Run
) -> dict:
    """Cross entropy of images against the zero-shot class weights, which stay as M_bd has them: only the image encoder
    moves.

    Returns:
        the purified `model` and its `history`.
    """
    import torch
    import torch.nn.functional as F

    from ubt.clip import recipes, training
    from ubt.evaluation.zeroshot import class_weights

    model = model.to(run.compute.device)
    weights = torch.from_numpy(class_weights(model, prompts)).to(run.compute.device)
    labels = np.asarray(labels)
    shuffled = training.Shuffled(np.arange(len(labels)), settings.batch, training.batch_seed(run.seed, "supervised"))

    def batches(step: int):
        rows = shuffled.at(step)
        return {"images": torch.from_numpy(np.asarray(images[rows])), "labels": torch.from_numpy(labels[rows]).long()}

    def objective(model, batch):
        image = training.image_features(model, batch["images"])
        logits = model.logit_scale.exp() * image @ weights.T
        return F.cross_entropy(logits, batch["labels"]), {
            "accuracy": (logits.argmax(1) == batch["labels"]).float().mean()
        }

    frozen = tuple(name for name, _ in model.named_parameters() if not name.startswith("visual."))
    steps = settings.epochs * shuffled.steps_per_epoch
    return recipes.train(model, objective, batches, steps, settings, run, frozen=frozen)


STAGES: tuple[Stage, ...] = (
    Stage(
        "labelled",
        "labelled clean images of the defender's own",
        "ubt.data.roles:labelled_clean",
        settings={"settings": "clean"},
        cost=lambda s: DRAWN * s.clean.per_class * classes(s),
        gives=("images", "labels", "prompts", "classes"),
    ),
    *trained_stages(
        "supervised",
        "the model purified by supervised fine-tuning",
        "image encoder fine-tuned on labelled clean images",
        "ubt.defenses.supervised:supervised",
        takes("poison.model", "labelled.images", "labelled.labels", "labelled.prompts"),
        {"settings": "supervised"},
        lambda s: trained(s.supervised.epochs, s.clean.per_class * classes(s)),
    ),
)

DEFENSE = Defense(
    "supervised fine-tuning",
    STAGES,
    "evaluate_supervised",
    "labelled images",
    settings={"supervised": SupervisedSettings},
    paper=lambda scale: {"supervised.epochs": 10, "supervised.batch": scale.batch, "supervised.lr": 1e-4},
    look=("#2F95A8", "pentagon", "dash"),
)
