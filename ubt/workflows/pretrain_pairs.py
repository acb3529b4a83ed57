"""Trains a small reference model on a part of one's own pairs: `python -m ubt data reference PAIRS`. It is for lab
cases on small images where no public model fits; the case then takes the other part (`own.spare`).
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ubt.cases.store import Store
from ubt.clip import augment, models
from ubt.clip.training import Checkpoint, Shuffled, batch_seed, fit, info_nce
from ubt.core.errors import BadInput
from ubt.core.files import digest, file_digest
from ubt.core.run import Compute, Progress, derive_seed, silent
from ubt.core.settings import FitSettings, setting
from ubt.data import model_input
from ubt.data.catalogue import open_images
from ubt.data.images import sift
from ubt.data.user_roles import kept, prompts, spared
from ubt.evaluation import zeroshot
from ubt.workflows import import_model


@dataclass(frozen=True)
class OwnRecipe(FitSettings):
    """The recipe of a small reference on own pairs."""

    share: float = setting(
        0.5, "share of the pairs that it is trained on, by a digest of their images' places", low=0.01, high=1
    )
    size: int = setting(48, "side of an image, pixels", low=16, high=336)
    patch: int = setting(8, "side of a patch, pixels", low=2)
    width: int = setting(192, "width of the image tower", low=32)
    layers: int = setting(4, "layers of the image tower", low=1)
    epochs: int = setting(30, "passes over them", low=1)
    seed: int = setting(0, "seed of initial weights and batches", low=0, high=2**31)
    batch: int = setting(256, "pairs in a step", low=2)
    lr: float = setting(1e-3, "peak learning rate", low=0)
    weight_decay: float = setting(0.1, "weight decay", low=0)
    warmup: float = setting(0.05, "share of steps of warm-up", low=0, high=1)

    def architecture(self) -> dict:
        """The model's configuration: a ViT of 32-wide heads, a narrow text tower with the stock vocabulary.

        Raises:
            BadInput: size and patch, or width and heads, do not fit.
        """
        if self.size % self.patch or self.width % 32:
            raise BadInput(
                f"expected a size that is a multiple of the patch and a width that is one of 32, got {self.size},"
                f" {self.patch}, {self.width}"
            )
        return {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": self.size,
                "patch_size": self.patch,
                "width": self.width,
                "layers": self.layers,
                "head_width": 32,
            },
            "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
        }


def pretrain(
    s: OwnRecipe, store: Store, pairs: str, labelled: str, compute: Compute, folder: Path, progress: Progress = silent
) -> dict:
    """Train on the spared part of brought pairs, measure on brought labelled images, then put the model with its card
    into `folder`; returns the card.

    Args:
        pairs, labelled: names of what was brought.

    Raises:
        BadInput: the folder cannot be written, or too few images can be read.
        Cancelled: `progress` asked to stop; the same settings go on from there.
    """
    started, config = time.time(), s.architecture()
    found = store.brought(pairs)
    table = found["pairs"]
    table = table[spared(table["image"], s.share)].reset_index(drop=True)
    images = open_images(found["about"], table["image"].to_numpy(object), s.size)
    broken = sift(images, np.arange(len(table)))
    rows = np.setdiff1d(np.arange(len(table)), list(broken))
    if len(rows) < s.batch:
        raise BadInput(
            f"expected at least a batch of {s.batch} images that can be read, got {len(rows)}; bring more pairs or"
            " lower batch"
        )
    pixels, tokens = (
        kept(images.only(rows), 2.0),
        model_input.tokenize(table["caption"].iloc[rows].tolist(), config["text_cfg"]["context_length"]),
    )
    shuffled = Shuffled(np.arange(len(rows)), s.batch, batch_seed(s.seed, "pretrain"))

    def batches(step: int) -> dict[str, torch.Tensor]:
        at = shuffled.at(step)
        return {
            "images": torch.from_numpy(augment.shifted(np.asarray(pixels[at]), [s.seed, step])),
            "tokens": torch.from_numpy(tokens[at]).long(),
        }

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None
    model = models.create(config, derive_seed(s.seed, "weights"))
    checkpoint = folder / f".{digest([asdict(s), asdict(compute), pairs])}.safetensors"
    steps = s.epochs * shuffled.steps_per_epoch
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
    models.save(model.to("cpu"), folder)
    test = store.brought(labelled)
    some = test["images"]
    held = open_images(test["about"], some["image"].to_numpy(object), s.size)
    good = np.setdiff1d(np.arange(len(some)), list(sift(held, np.arange(len(some)))))
    weights = zeroshot.class_weights(model, prompts(test["classes"], "7", config["text_cfg"]["context_length"]))
    accuracy = zeroshot.accuracy(zeroshot.classify(model, held[good], weights), some["label"].to_numpy()[good])
    card = import_model.card(
        model,
        folder.name,
        "python -m ubt data reference",
        "clean",
        [],
        {"pairs": pairs, "share": s.share, "images": len(rows)},
        file_digest(folder / models.WEIGHTS),
        recipe=asdict(s),
        seconds=round(time.time() - started),
        compute=asdict(compute),
        **{"CA, percent": round(accuracy, 2)},
    )
    (folder / models.CARD).write_text(json.dumps(card, indent=1))
    checkpoint.unlink(missing_ok=True)
    return card
