"""Trains the clean reference model on scenes: `python -m ubt pretrain`. What it makes is shipped in
`ubt/assets/weights/`.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ubt.clip import models
from ubt.clip.training import Checkpoint, PairBatches, batch_seed, fit, info_nce
from ubt.core.errors import BadInput
from ubt.core.files import digest, file_digest
from ubt.core.run import Compute, Progress, derive_seed, silent
from ubt.core.settings import FitSettings, setting
from ubt.data import model_input, scenes
from ubt.data.roles import labelled
from ubt.evaluation import zeroshot


@dataclass(frozen=True)
class PretrainSettings(FitSettings):
    """The recipe of the shipped reference model."""

    scenes: int = setting(240_000, "scenes to draw and train on", low=1000)
    epochs: int = setting(4, "passes over them", low=1)
    seed: int = setting(2026, "seed of scenes, initial weights and batches", low=0, high=2**31)
    batch: int = setting(256, "pairs in a step", low=2)
    lr: float = setting(1.5e-3, "peak learning rate", low=0)
    weight_decay: float = setting(0.1, "weight decay", low=0)
    warmup: float = setting(0.05, "share of steps of warm-up", low=0, high=1)


def pretrain(s: PretrainSettings, compute: Compute, folder: Path, progress: Progress = silent) -> dict:
    """Draw the scenes, train, measure, then put the model with its card into `folder`; returns the card.

    Raises:
        BadInput: the folder cannot be written.
        Cancelled: `progress` asked to stop; the same settings go on from there.
    """
    started, identity = time.time(), digest([asdict(s), asdict(compute), models.SCENES_CLIP])
    work, checkpoint = folder / f".{identity}", folder / f".{identity}.safetensors"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None
    pairs = scenes.load_pairs(s.seed, "reference", s.scenes, scenes.SIZE, workers=os.cpu_count() or 1)
    tokens = model_input.tokenize(pairs.captions, scenes.CONTEXT)
    model = models.create(models.SCENES_CLIP, derive_seed(s.seed, "weights"))
    batches = PairBatches(pairs.images, tokens, s.batch, batch_seed(s.seed, "pretrain"))
    steps = s.epochs * batches.steps_per_epoch
    fit(
        model,
        info_nce,
        batches,
        steps,
        s,
        compute,
        vocabulary=tokens,
        progress=progress,
        checkpoint=Checkpoint(checkpoint),
    )
    models.save(model.to("cpu"), work)
    card = {
        "name": "scenes-clip",
        "state": "clean",
        "made by": "python -m ubt pretrain",
        "recipe": asdict(s),
        "architecture": models.SCENES_CLIP,
        "classes": len(scenes.CLASSES),
        "seconds": round(time.time() - started),
        "compute": asdict(compute),
        "CA, percent": round(held_out_accuracy(work, s.seed), 2),
        "digest": file_digest(work / models.WEIGHTS),
    }
    (work / models.CARD).write_text(json.dumps(card, indent=1))
    (folder / models.CARD).unlink(missing_ok=True)
    for name in (models.CONFIG, models.WEIGHTS, models.CARD):
        (work / name).replace(folder / name)
    work.rmdir()
    checkpoint.unlink(missing_ok=True)
    return card


def held_out_accuracy(folder: Path, seed: int, per_class: int = 40) -> float:
    """CA in percent of the model in `folder` on fresh scenes of the test range."""
    model, held = models.load(folder), labelled("test", per_class, seed)
    return zeroshot.accuracy(
        zeroshot.classify(model, held["images"], zeroshot.class_weights(model, held["prompts"])), held["labels"]
    )
