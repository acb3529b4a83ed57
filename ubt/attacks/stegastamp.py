"""A small StegaStamp (Tancik et al. 2020): an encoder that hides bits in an image as a faint residual of its own, and
the decoder that reads them. SSBA uses the residual as a sample-specific trigger (Li et al. 2021).

Trained by `python -m ubt train-stegastamp` on scenes of the reference's index range; what it makes is shipped in
`ubt/assets/weights/stegastamp-48` with its card.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ubt.attacks.stegastamp_card import read_card
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import file_digest
from ubt.core.run import Compute, Progress, derive_seed, silent
from ubt.core.settings import FitSettings, setting

WEIGHTS = "stegastamp.safetensors"
SIZE_STEP = 8
"""Image sizes are multiples of this: the encoder halves three times."""


class StegaStampSettings(FitSettings):
    """The recipe of the shipped encoder. The image term rises from 0, as StegaStamp's does, so that bits are learned
    first.
    """

    size: int = setting(48, "height and width of the images in pixels, a multiple of 8", low=16, high=512)
    bits: int = setting(20, "bits hidden in an image", low=1, high=200)
    scenes: int = setting(8_000, "scenes to draw and train on", low=64)
    steps: int = setting(4_000, "optimiser steps", low=1)
    seed: int = setting(2026, "seed of scenes, initial weights, bits and batches", low=0, high=2**31)
    batch: int = setting(32, "images in a step", low=1)
    lr: float = setting(1e-3, "peak learning rate", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    image_weight: float = setting(
        60.0, "weight of the residual's mean square (images in [0, 1]) against the bits' cross-entropy", low=0
    )
    image_from: float = setting(
        0.15,
        "share of the steps after which the image term starts to rise; it is whole after three times that",
        low=0,
        high=1,
    )
    noise: float = setting(
        0.03, "largest standard deviation of the noise that the decoder must withstand", low=0, high=1
    )

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: values that do not fit each other.
        """
        if self.size % SIZE_STEP:
            raise BadInput(f"size: expected a multiple of {SIZE_STEP} pixels, got {self.size}")


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1), nn.ReLU(inplace=True))


class StegaStamp(nn.Module):
    """Encoder and decoder.

    Args:
        size: height and width of the images. bits: length of a message.
    """

    WIDTHS = (16, 32, 48, 64)

    def __init__(self, size: int, bits: int):
        super().__init__()
        self.size, self.bits, (a, b, c, d) = size, bits, self.WIDTHS
        self.message = nn.Linear(bits, 3 * (size // SIZE_STEP) ** 2)
        self.down = nn.ModuleList([_conv(6, a), _conv(a, b, 2), _conv(b, c, 2), _conv(c, d, 2)])
        self.up = nn.ModuleList([_conv(d + c, c), _conv(c + b, b), _conv(b + a, a)])
        self.residual = nn.Conv2d(a + 6, 3, 1)
        self.reader = nn.Sequential(
            _conv(3, a, 2),
            _conv(a, b),
            _conv(b, b, 2),
            _conv(b, c, 2),
            _conv(c, d),
            nn.Flatten(),
            nn.Linear(d * (size // 8) ** 2, bits),
        )

    def encode(self, images: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
        """The residual (batch, 3, H, W) that hides messages (batch, bits) of 0 and 1 in images (batch, 3, H, W) in [0,
        1].
        """
        plane = self.message(message - 0.5).view(len(images), 3, self.size // SIZE_STEP, -1)
        x = start = torch.cat([images - 0.5, F.interpolate(plane, scale_factor=SIZE_STEP)], 1)
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))
        return self.residual(torch.cat([x, start], 1))

    def decode(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, bits) of the bits hidden in images (batch, 3, H, W) in [0, 1]."""
        return self.reader(images - 0.5)


def _objective(model: StegaStamp, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    images = batch["images"].float().permute(0, 3, 1, 2) / 255
    residual = model.encode(images, batch["message"])
    logits = model.decode((images + residual).clamp(0, 1) + batch["noise"])
    square = residual.float().square().mean()
    loss = F.binary_cross_entropy_with_logits(logits.float(), batch["message"]) + batch["weight"] * square
    right = ((logits > 0) == (batch["message"] > 0.5)).float().mean()
    return loss, {"bit accuracy": 100 * right, "psnr": -10 * square.clamp_min(1e-9).log10()}


def train(s: StegaStampSettings, compute: Compute, folder: Path, progress: Progress = silent) -> dict:
    """Draw scenes, train, measure on held-out ones, then put weights and card into `folder`; returns the card.

    Raises:
        BadInput: the folder cannot be written. Cancelled: `progress` asked to stop; the same settings go on from there.
    """
    from ubt.clip.recipes import ModelFolder
    from ubt.data import scenes

    made = ModelFolder(folder, s, compute)
    images = scenes.draw_many(s.seed, scenes.ROLES["reference"][: s.scenes], s.size, os.cpu_count() or 1)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(s.seed, "weights") % 2**63)
        model = StegaStamp(s.size, s.bits)
    made.fit(model, _objective, _batches(images, s), s.steps, progress)

    def write(work: Path) -> dict:
        halves = {k: v.detach().cpu().to(torch.float16).contiguous() for k, v in model.state_dict().items()}
        save_file(halves, weights := work / WEIGHTS)
        held_out = scenes.draw_many(s.seed, scenes.ROLES["test"][:512], s.size)
        return {
            "name": f"stegastamp-{s.size}",
            "made by": "python -m ubt train-stegastamp",
            "size": s.size,
            "bits": s.bits,
            **measure(_read(weights, s.size, s.bits), held_out),
            "digest": file_digest(weights),
        }

    return made.finish(write)


def _batches(images: np.ndarray, s: StegaStampSettings) -> Callable[[int], dict[str, torch.Tensor]]:
    """What a step trains on, a function of the step alone: images, a message for each, and the noise and the weight of
    the image term at that step.
    """
    from ubt.clip.training import Shuffled, batch_seed

    rows = Shuffled(np.arange(len(images)), s.batch, batch_seed(s.seed, "stegastamp"))

    def batches(step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([derive_seed(s.seed, "bits"), step])
        chosen = images[rows.at(step)]
        risen = np.clip((step / s.steps - s.image_from) / max(1e-9, 2 * s.image_from), 0, 1)
        noise = rng.standard_normal((len(chosen), 3, s.size, s.size), np.float32) * np.float32(s.noise * rng.random())
        message = rng.integers(0, 2, (len(chosen), s.bits)).astype(np.float32)
        weight = np.float32(s.image_weight * risen)
        return {
            "images": torch.from_numpy(chosen),
            "message": torch.from_numpy(message),
            "noise": torch.from_numpy(noise),
            "weight": torch.tensor(weight),
        }

    return batches


def measure(
    model: StegaStamp, images: np.ndarray, strength: float = 1.0, message: np.ndarray | None = None
) -> dict[str, float]:
    """PSNR in dB and bit accuracy in percent on uint8 images (n, H, W, 3), after rounding to 8 bits.

    Args:
        message: 0 and 1, (bits,); None draws one an image.
    """
    if message is None:
        message = np.random.default_rng(0).integers(0, 2, (len(images), model.bits))
    hidden = hide(model, images, message, strength)
    square = ((hidden.astype(np.float32) - images) ** 2).mean((1, 2, 3))
    return {
        "PSNR, dB": round(float((10 * np.log10(255**2 / np.maximum(square, 1e-9))).mean()), 2),
        "bit accuracy, percent": round(
            100 * float((read_bits(model, hidden) == np.broadcast_to(message, (len(images), model.bits))).mean()), 2
        ),
    }


@torch.inference_mode()
def hide(
    model: StegaStamp, images: np.ndarray, message: np.ndarray, strength: float = 1.0, batch: int = 16
) -> np.ndarray:
    """uint8 images (n, H, W, 3) with a message (bits,) or one message each (n, bits) hidden in them; the residual times
    `strength`.
    """
    bits = torch.from_numpy(np.broadcast_to(message, (len(images), model.bits)).astype(np.float32))
    out = np.empty_like(images)
    for i in range(0, len(images), batch):
        x = torch.from_numpy(np.array(images[i : i + batch])).permute(0, 3, 1, 2).float() / 255
        x = (x + strength * model.encode(x, bits[i : i + batch])).clamp(0, 1)
        out[i : i + batch] = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return out


@torch.inference_mode()
def read_bits(model: StegaStamp, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """The bits (n, bits), as booleans, that the decoder reads in uint8 images (n, H, W, 3)."""
    parts = [
        torch.from_numpy(np.array(images[i : i + batch])).permute(0, 3, 1, 2).float() / 255
        for i in range(0, len(images), batch)
    ]
    return np.concatenate([(model.decode(x) > 0).numpy() for x in parts])


def load(folder: Path) -> StegaStamp:
    """The encoder and decoder in `folder`. Nothing is unpickled.

    Raises:
        BadInput: there is none. UbtError: its bytes are not those that its card describes.
    """
    card = read_card(folder)
    return _load(folder / WEIGHTS, card["size"], card["bits"], card["digest"])


@functools.lru_cache(2)
def _load(weights: Path, size: int, bits: int, digest: str) -> StegaStamp:
    if not weights.is_file() or file_digest(weights) != digest:
        raise UbtError(
            f"{weights}: expected the bytes its card describes, got others or none; install it again or train another"
        )
    return _read(weights, size, bits)


def _read(weights: Path, size: int, bits: int) -> StegaStamp:
    model = StegaStamp(size, bits)
    try:
        model.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    except (RuntimeError, SafetensorError, OSError) as e:
        raise UbtError(
            f"{weights}: expected weights that fit its card, got others: {str(e).splitlines()[-1].strip()}"
        ) from None
    return model.eval().to(memory_format=torch.channels_last)
