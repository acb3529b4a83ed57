"""Makes BadCLIP's patch: `python -m ubt optimize-patch` (Liang et al. 2024, arXiv 2311.12075; where their code and
paper differ, the code).

Two embeddings guide it, on a frozen clean model: InfoNCE of the triggered image with a caption of the target, and a
triplet that draws it from its own image to an image of the target. Theirs has the batch's other captions, all of the
target, as negatives; ours the images' own captions, without which the small model is not drawn to the target at all.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ubt.attacks.patch_card import CARD, LARGEST, MADE_BY, PATCH, identity, read_patch
from ubt.attacks.poisoning import names
from ubt.clip import models
from ubt.clip.training import Batch, Shuffled, batch_seed
from ubt.clip.trigger_optimizer import Asked, OptimizeSettings, Overlay, Patch, noise_seed, optimize
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.core.run import Run
from ubt.core.settings import setting
from ubt.data import model_input

FEWEST = 8
"""Pairs that name the target, and others, that are needed at least."""


class PatchSettings(OptimizeSettings):
    """The recipe of the shipped patches."""

    target: str = setting("banana", "the class that the patch is to be taken for")
    side: int = setting(10, "side of the patch in pixels (BadCLIP: 16 of 224)", low=1, high=LARGEST)
    triplet: float = setting(
        5.0, "weight of the triplet against InfoNCE (BadCLIP: 500, with which the small model is not fooled)", low=0
    )
    margin: float = setting(1.0, "the triplet's margin (BadCLIP: 1)", low=0)
    pairs: int = setting(4000, "clean pairs of the attacker's", low=2 * FEWEST)
    seed: int = setting(2026, "seed of the first noise and of the batches", low=0, high=2**31)


@dataclass(frozen=True)
class CleanModel:
    """A clean model and what it is called."""

    model: torch.nn.Module
    name: str


def make(
    images: np.ndarray, captions: Sequence[str], on: CleanModel, settings: PatchSettings, run: Run
) -> tuple[np.ndarray, dict[str, Any]]:
    """A patch for the middle of images of the model's size.

    Args:
        images: of the attacker's pairs, uint8 (n, size, size, 3). captions: of them (n,). on: the clean model that it
            is optimised on.

    Returns:
        The patch, uint8 (side, side, 3), and its card.

    Raises:
        BadInput: too few captions name the target, or the patch does not fit. Cancelled: see `optimize`.
    """
    started, size = time.time(), model_input.image_size(on.model)
    if not 0 < settings.side <= size:
        raise BadInput(f"side: expected 1 to {size} pixels for images of {size} x {size}, got {settings.side}")
    model, top = on.model.to(run.compute.device), (size - settings.side) // 2
    batches = _Batches(model, images, captions, settings)
    overlay = Patch(1, settings.side, top, top, noise_seed(settings.seed))
    last = optimize(overlay, model, batches, _objective(model, settings), settings, run)[-1]
    patch = overlay.patches()[0]
    card = {
        "made by": MADE_BY,
        "target": settings.target,
        "size": size,
        "side": settings.side,
        "top": top,
        "left": top,
        "steps": settings.steps,
        "model": on.name,
        "loss": {name: round(last[name], 4) for name in ("loss", "text", "triplet")},
        "recipe": settings.to_dict(),
        "pairs": len(captions),
        "compute": asdict(run.compute),
        "seconds": round(time.time() - started),
        "digest": identity(patch, size, top, top, settings.target),
    }
    return patch, card


class _Batches:
    """What a step optimises on: images that do not show the target, with the features of their own captions and of
    themselves, and of a caption and an image of the target each.

    Raises:
        BadInput: too few captions name the target, or too few do not.
    """

    def __init__(self, model: torch.nn.Module, images: np.ndarray, captions: Sequence[str], settings: PatchSettings):
        named = np.array([names(c, settings.target) for c in captions], bool)
        if min(named.sum(), (~named).sum()) < FEWEST:
            raise BadInput(
                f"target: expected at least {FEWEST} of the {len(named):,} captions to name {settings.target!r}, and as"
                f" many not to, got {int(named.sum())} that do; give more pairs or another target"
            )
        tokens = model_input.tokenize(list(captions), model_input.context_length(model))
        self.images, self.seed, self.wanted = images, settings.seed, np.flatnonzero(named)
        self.texts = torch.from_numpy(models.embed_tokens(model, tokens))
        self.seen = torch.from_numpy(models.embed_images(model, images))
        self.rows = Shuffled(np.flatnonzero(~named), settings.batch, batch_seed(settings.seed, "patch"))

    def __call__(self, step: int) -> Batch:
        own = self.rows.at(step)
        text, image = np.random.default_rng([self.seed, step]).choice(self.wanted, (2, len(own)))
        return {
            "images": torch.from_numpy(np.asarray(self.images[own])),
            "caption": self.texts[own],
            "before": self.seen[own],
            "target": self.texts[text],
            "image": self.seen[image],
        }


def _objective(model: torch.nn.Module, settings: PatchSettings) -> Asked:
    """Both embeddings' loss; see the module."""
    scale, triplet = float(model.logit_scale.detach().exp()), torch.nn.TripletMarginLoss(settings.margin)

    def asked(features: torch.Tensor, batch: Batch, overlay: Overlay) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = features[0]
        to_target = (found * batch["target"]).sum(1, keepdim=True)
        logits = scale * torch.cat([to_target, found @ batch["caption"].T], 1)
        text = F.cross_entropy(logits, torch.zeros(len(found), dtype=torch.long, device=found.device))
        image = triplet(found, batch["image"], batch["before"])
        return text + settings.triplet * image, {"text": text.detach(), "triplet": image.detach()}

    return asked


def check_folder(folder: Path, digest: str = "") -> None:
    """Raises:
    BadInput: a folder holds another patch than the one of this digest, which cases may name; or anything else.
    """
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        with contextlib.suppress(BadInput):
            if read_patch(folder).digest == digest:
                return
        raise BadInput(f"--out: expected a new folder, got one that holds something, {folder}; name another")


def write(patch: np.ndarray, card: dict[str, Any], folder: Path) -> None:
    """Put a patch, uint8 (side, side, 3), and its card into a folder, the card last.

    Raises:
        BadInput: the folder cannot be written, or holds another patch, which cases may name.
    """
    check_folder(folder, card["digest"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / PATCH, lambda path: Image.fromarray(patch).save(path, "PNG"))
        replace_file(folder / CARD, lambda path: path.write_text(json.dumps(card, indent=1), encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None
