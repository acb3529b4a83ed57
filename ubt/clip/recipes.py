"""Recipes of training that several rooms share: a model trained on pairs with InfoNCE, and a model trained from nothing
that is put into a folder with its card.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ubt.clip import models
from ubt.clip.training import Batch, Checkpoint, Objective, PairBatches, batch_seed, fit, info_nce
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, Run
from ubt.core.settings import FitSettings, setting


class ReferenceSettings(FitSettings):
    """What all recipes of a small reference model have; each says for itself how much it trains."""

    batch: int = setting(256, "pairs in a step", low=2)
    weight_decay: float = setting(0.1, "weight decay", low=0)
    warmup: float = setting(0.05, "share of steps of warm-up", low=0, high=1)


def train(
    model: torch.nn.Module,
    objective: Objective,
    batches: Callable[[int], Batch],
    steps: int,
    settings: FitSettings,
    run: Run,
    vocabulary: np.ndarray | None = None,
    frozen: tuple[str, ...] = (),
) -> dict:
    """A stage that trains `model`, as `ubt.clip.training.fit` does.

    Args:
        vocabulary: token ids that occur, of any shape.

    Returns:
        The `model` and its `history`, a row of figures a step.
    """
    checkpoint = Checkpoint.under(run.scratch)
    watched = {"progress": run.progress, "checkpoint": checkpoint, "observe": run.observe}
    history = fit(
        model, objective, batches, steps, settings, run.compute, vocabulary=vocabulary, frozen=frozen, **watched
    )
    return {"model": model, "history": pd.DataFrame(history)}


def train_on_pairs(
    model: torch.nn.Module,
    images: np.ndarray,
    tokens: np.ndarray,
    settings: FitSettings,
    run: Run,
    order: str,
    rows: np.ndarray | None = None,
    steps: int | None = None,
    shifts: bool = False,
    objective: Objective = info_nce,
) -> dict:
    """A stage that trains `model` on pairs, with InfoNCE if no other objective is named (Eqs. 1 and 2).

    Args:
        images: uint8 (n, H, W, 3). tokens: int32 (n, context).
        order: names the random order of the batches.
        rows: which pairs to train on; all of them if None. steps: how many; `settings.epochs` over the pairs if None.
        shifts: whether images are moved and flipped, anew in each step.

    Returns:
        The `model` and its `history`, a row a step: loss and mean similarity.
    """
    seed = batch_seed(run.seed, order)
    batches = PairBatches(images, tokens, settings.batch, seed, rows, run.seed if shifts else None)
    steps = settings.epochs * batches.steps_per_epoch if steps is None else steps
    return train(model, objective, batches, steps, settings, run, np.asarray(tokens))


class ModelFolder:
    """The folder for a model that is trained from nothing. The model and its card appear together, when it is done; an
    interrupted training with the same settings goes on where it stopped.

    Args:
        folder: made if it is not there. settings: the recipe. identity: plain values that tell this training from
            others with the same settings.

    Raises:
        BadInput: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: FitSettings, compute: Compute, *identity: Any):
        self.folder, self.settings, self.compute, self.started = folder, settings, compute, time.time()
        name = digest([settings.to_dict(), *compute.identity, *identity])
        self.work, self.checkpoint = folder / f".{name}", folder / f".{name}.safetensors"
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None

    def fit(
        self,
        model: torch.nn.Module,
        objective: Objective,
        batches: Callable[[int], Batch],
        steps: int,
        progress: Progress,
        vocabulary: np.ndarray | None = None,
    ) -> None:
        """Train `model` in place; see `ubt.clip.training.fit`. `vocabulary`: token ids in use (n,)."""
        more = {"vocabulary": vocabulary, "progress": progress, "checkpoint": Checkpoint(self.checkpoint)}
        fit(model, objective, batches, steps, self.settings, self.compute, **more)

    def finish(self, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Put the model's files and its card in place; returns the card.

        Args:
            write: writes the model's files into a folder and returns what its card says of it, beside the recipe, the
                seconds and the device.
        """
        said = write(self.work)
        card = said | {
            "recipe": self.settings.to_dict(),
            "seconds": round(time.time() - self.started),
            "compute": asdict(self.compute),
        }
        files = list(self.work.iterdir())
        (self.work / models.CARD).write_text(json.dumps(card, indent=1))
        # the card goes first and comes last, so that a folder whose card fits is a whole one
        (self.folder / models.CARD).unlink(missing_ok=True)
        for file in (*files, self.work / models.CARD):
            file.replace(self.folder / file.name)
        self.work.rmdir()
        self.checkpoint.unlink(missing_ok=True)
        return card
