"""Trains the clean reference model on scenes: `python -m ubt pretrain`. What it makes is shipped in
`ubt/assets/weights/`.
"""

import os
from pathlib import Path
from typing import Any

from ubt.clip import models
from ubt.clip.recipes import ModelFolder, ReferenceSettings
from ubt.clip.training import PairBatches, batch_seed, info_nce
from ubt.core.files import file_digest
from ubt.core.run import Compute, Progress, derive_seed, silent
from ubt.core.settings import setting
from ubt.data import model_input, scenes
from ubt.data.roles import labelled
from ubt.evaluation import zeroshot


class PretrainSettings(ReferenceSettings):
    """The recipe of the shipped reference model."""

    scenes: int = setting(240_000, "scenes to draw and train on", low=1000)
    epochs: int = setting(4, "passes over them", low=1)
    seed: int = setting(2026, "seed of scenes, initial weights and batches", low=0, high=2**31)
    lr: float = setting(1.5e-3, "peak learning rate", low=0)


def pretrain(
    s: PretrainSettings,
    compute: Compute,
    folder: Path,
    progress: Progress = silent,
    architecture: dict[str, Any] | None = None,
) -> dict:
    """Draw the scenes, train, measure, then put the model with its card into `folder`; returns the card.

    Args:
        architecture: open_clip's configuration of the model; None: the shipped reference's.

    Raises:
        BadInput: the folder cannot be written.
        Cancelled: `progress` asked to stop; the same settings go on from there.
    """
    config = architecture or models.SCENES_CLIP
    made = ModelFolder(folder, s, compute, config)
    model = models.create(config, derive_seed(s.seed, "weights"))
    size, workers = model_input.image_size(model), os.cpu_count() or 1
    pairs = scenes.load_pairs(s.seed, "reference", s.scenes, size, workers=workers)
    tokens = model_input.tokenize(pairs.captions, scenes.CONTEXT)
    batches = PairBatches(pairs.images, tokens, s.batch, batch_seed(s.seed, "pretrain"))
    made.fit(model, info_nce, batches, s.epochs * batches.steps_per_epoch, progress, tokens)

    def write(work: Path) -> dict:
        models.save(model.to("cpu"), work)
        return {
            "name": "scenes-clip",
            "state": "clean",
            "made by": "python -m ubt pretrain",
            "architecture": config,
            "classes": len(scenes.CLASSES),
            "CA, percent": round(held_out_accuracy(work, s.seed), 2),
            "digest": file_digest(work / models.WEIGHTS),
        }

    return made.finish(write)


def held_out_accuracy(folder: Path, seed: int, per_class: int = 40) -> float:
    """CA in percent of the model in `folder` on fresh scenes of the test range."""
    model, held = models.load(folder), labelled("test", per_class, seed)
    return zeroshot.accuracy(
        zeroshot.classify(model, held["images"], zeroshot.class_weights(model, held["prompts"])), held["labels"]
    )
