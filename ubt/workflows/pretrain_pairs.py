"""Trains a small reference model on one's own pairs, for want of a public model that knows such images: a part of them,
and a case then takes the other part (`own.spare`; `python -m ubt data reference PAIRS`), or all of a set of clean ones
(the page *Check*).
"""

from pathlib import Path

import numpy as np
import torch

from ubt.cases.litter import TRAINED
from ubt.cases.store import Store
from ubt.clip import models
from ubt.clip.recipes import ModelFolder, ReferenceSettings
from ubt.clip.training import PairBatches, batch_seed, info_nce
from ubt.core.errors import BadInput
from ubt.core.files import digest, file_digest, scrap
from ubt.core.run import Compute, Progress, derive_seed, fixed_threads, silent
from ubt.core.settings import setting
from ubt.data import model_input
from ubt.data.catalogue import open_images
from ubt.data.images import Images, sift
from ubt.data.user_roles import kept, prompts, spared
from ubt.evaluation import zeroshot
from ubt.workflows import import_model


class OwnRecipe(ReferenceSettings):
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
    lr: float = setting(1e-3, "peak learning rate", low=0)

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
    """Train on the spared part of imported pairs, measure on imported labelled images, then put the model with its card
    into `folder`; returns the card.

    Args:
        pairs, labelled: their names in the store; `labelled` may be empty, then CA is not measured.

    Raises:
        BadInput: the folder cannot be written, or too few images can be read.
        Cancelled: `progress` asked to stop; the same settings go on from there.
    """
    config = s.architecture()
    context = config["text_cfg"]["context_length"]
    pixels, captions = _readable(store.imported(pairs), s)
    tokens = model_input.tokenize(captions, context)
    made = ModelFolder(folder, s, compute, pairs)
    model = models.create(config, derive_seed(s.seed, "weights"))
    batches = PairBatches(pixels, tokens, s.batch, batch_seed(s.seed, "pretrain"), shifts=s.seed)
    made.fit(model, info_nce, batches, s.epochs * batches.steps_per_epoch, progress, tokens)

    def write(work: Path) -> dict:
        models.save(model.to("cpu"), work)
        right = _accuracy(model, store.imported(labelled), s.size, context) if labelled else None
        return import_model.card(
            model,
            folder.name,
            "python -m ubt data reference",
            "clean",
            [],
            {"pairs": pairs, "share": s.share, "images": len(tokens)},
            file_digest(work / models.WEIGHTS),
            **({} if right is None else {"CA, percent": round(right, 2)}),
        )

    return made.finish(write)


def train_here(
    s: OwnRecipe, store: Store, pairs: str, labelled: str, compute: Compute, progress: Progress = silent
) -> str:
    """Train a clean reference on imported pairs and put it into the store, as what it was trained on; returns its name.
    An interrupted one goes on where it stopped. Otherwise as `pretrain`.
    """
    work = f"{TRAINED}{digest([s.to_dict(), *compute.identity, pairs])}"
    with store.lock(work), store.step(work) as folder, fixed_threads(compute):
        said = pretrain(s, store, pairs, labelled, compute, folder, progress)
        model = models.load(folder)
        found = store.imported(pairs)["about"]
        about = {"trained_on": {"pairs": pairs, "share": s.share}, "images": said["made_from"]["images"]}
        more = {n: said[n] for n in ("recipe", "seconds", "compute", "CA, percent") if n in said}
        card = import_model.card(
            model,
            f"trained on {Path(found['path']).name}"[:80],
            "trained here",
            "clean",
            [],
            about,
            said["digest"],
            **more,
        )
        key = f"{import_model.KEY}{digest([said['digest'], 'trained here'])}"
        store.put(key, {"model": model, "card": card}, {"stage": "model", "brought": True, "seconds": said["seconds"]})
        scrap(folder)
    return key


def _readable(found: dict, s: OwnRecipe) -> tuple[np.ndarray | Images, list[str]]:
    """The images and captions of the spared pairs, without those whose image cannot be read."""
    table = found["pairs"]
    table = table[spared(table["image"], s.share)].reset_index(drop=True)
    images = open_images(found["about"], table["image"].to_numpy(object), s.size)
    rows = np.setdiff1d(np.arange(len(table)), list(sift(images, np.arange(len(table)))))
    if len(rows) < s.batch:
        raise BadInput(
            f"expected at least a batch of {s.batch} images that can be read, got {len(rows)}; import more pairs or"
            " lower batch"
        )
    return kept(images.only(rows), 2.0), table["caption"].iloc[rows].tolist()


def _accuracy(model: torch.nn.Module, labelled: dict, size: int, context: int) -> float:
    """CA in percent on the labelled images that can be read."""
    table = labelled["images"]
    images = open_images(labelled["about"], table["image"].to_numpy(object), size)
    good = np.setdiff1d(np.arange(len(table)), list(sift(images, np.arange(len(table)))))
    weights = zeroshot.class_weights(model, prompts(labelled["classes"], "7", context))
    return zeroshot.accuracy(zeroshot.classify(model, images[good], weights), table["label"].to_numpy()[good])
