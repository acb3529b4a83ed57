"""The optimiser of triggers: what is laid over images is trained until a frozen model's features are what an objective
asks for.

An attacker makes a patch with it (BadCLIP, arXiv 2311.12075); what is optimised against a suspect model is an inverted
trigger. Several triggers are optimised at once, over the same images.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch

from ubt.clip import models
from ubt.clip.training import Batch, Checkpoint, fit
from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, setting

EDGE = 1e-3
"""Pixels start at least this far from black and white, where the slope of tanh vanishes."""


class OptimizeSettings(FitSettings):
    """How a trigger is optimised."""

    steps: int = setting(400, "optimiser steps", low=1)
    batch: int = setting(64, "images in a step (BadCLIP: 64)", low=2)
    lr: float = setting(0.05, "peak learning rate, in units of the pixels' tanh", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    clip: float = setting(0.0, "largest norm of the gradient; 0: any", low=0)


class Overlay(torch.nn.Module):
    """Triggers that are optimised. Called with images (batch, 3, H, W) of 0 to 1, it returns copies with each of its
    triggers, (triggers, batch, 3, H, W).
    """


def _pixels(values: torch.Tensor) -> torch.Tensor:
    return (values.tanh() + 1) / 2


def _values(pixels: torch.Tensor) -> torch.Tensor:
    return (2 * pixels.clamp(EDGE, 1 - EDGE) - 1).atanh()


class Patch(Overlay):
    """Square patches at one place, in place of the pixels under them; they start as BadCLIP's do, as normal noise.

    Args:
        count: how many. side: in pixels. top, left: their place. seed: of the noise.
    """

    def __init__(self, count: int, side: int, top: int, left: int, seed: int):
        super().__init__()
        noise = np.random.default_rng(seed).normal(0.5, 0.25, (count, 3, side, side)).astype(np.float32)
        self.values = torch.nn.Parameter(_values(torch.from_numpy(noise)))
        self.top, self.left, self.side = top, left, side

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Copies of images (batch, 3, H, W) of 0 to 1 with each trigger, (triggers, batch, 3, H, W)."""
        out = images.expand(len(self.values), *images.shape).clone()
        rows, columns = slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)
        out[..., rows, columns] = _pixels(self.values)[:, None]
        return out

    @torch.no_grad()
    def patches(self) -> np.ndarray:
        """The patches, uint8 (triggers, side, side, 3)."""
        return (255 * _pixels(self.values)).round().permute(0, 2, 3, 1).byte().cpu().numpy()


class Masked(Overlay):
    """Patterns under masks: (1 - mask) * image + mask * pattern (DECREE, Neural Cleanse), both found.

    Args:
        count: how many. height, width: of the images. seed: of the first pattern. mask: the mask's first value.
    """

    def __init__(self, count: int, height: int, width: int, seed: int, mask: float = 0.1):
        super().__init__()
        noise = np.random.default_rng(seed).random((count, 3, height, width), np.float32)
        self.values = torch.nn.Parameter(_values(torch.from_numpy(noise)))
        self.shown = torch.nn.Parameter(_values(torch.full((count, 1, height, width), mask)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Copies of images (batch, 3, H, W) of 0 to 1 with each trigger, (triggers, batch, 3, H, W)."""
        mask = self.mask()[:, None]
        return (1 - mask) * images + mask * _pixels(self.values)[:, None]

    def mask(self) -> torch.Tensor:
        """The masks (triggers, 1, H, W), 0 to 1."""
        return _pixels(self.shown)

    def size(self) -> torch.Tensor:
        """The share of the image that each mask covers (triggers,)."""
        return self.mask().mean((1, 2, 3))

    def pattern(self) -> torch.Tensor:
        """The patterns (triggers, 3, H, W), 0 to 1."""
        return _pixels(self.values)


class Additive(Overlay):
    """Patterns added to images, none of their values beyond `bound`; for triggers that cover the whole image faintly.

    Args:
        count: how many. height, width: of the images. bound: of 1. seed: of the first pattern.
    """

    def __init__(self, count: int, height: int, width: int, bound: float, seed: int):
        super().__init__()
        noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (count, 3, height, width)).astype(np.float32)
        self.values, self.bound = torch.nn.Parameter(torch.from_numpy(noise)), bound

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Copies of images (batch, 3, H, W) of 0 to 1 with each trigger, (triggers, batch, 3, H, W)."""
        return (images + self.added()[:, None]).clamp(0, 1)

    def added(self) -> torch.Tensor:
        """What is added (triggers, 3, H, W), of -bound to bound."""
        return self.bound * self.values.tanh()


class Faint(Overlay):
    """Patterns added to images, of at most `rms` root mean square over all pixels and channels, spread or gathered as
    the optimiser finds: a faint pattern over the whole image, or a strong one on a small part of it.

    Args:
        count: how many. height, width: of the images. rms: of 1. seed: of the first pattern.
    """

    def __init__(self, count: int, height: int, width: int, rms: float, seed: int):
        super().__init__()
        noise = 0.1 * np.random.default_rng(seed).standard_normal((count, 3, height, width)).astype(np.float32)
        self.values, self.rms = torch.nn.Parameter(torch.from_numpy(noise)), rms

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Copies of images (batch, 3, H, W) of 0 to 1 with each trigger, (triggers, batch, 3, H, W)."""
        return (images + self.added()[:, None]).clamp(0, 1)

    def added(self) -> torch.Tensor:
        """What is added (triggers, 3, H, W)."""
        now = self.values.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-8)
        return self.values * (now.clamp(max=self.rms) / now)


Asked = Callable[[torch.Tensor, Batch, Overlay], tuple[torch.Tensor, dict[str, torch.Tensor]]]
"""Unit features of triggered images (triggers, batch, embedding), the batch and the overlay, to a scalar loss and
figures to show.
"""


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """While inside, no weight of the model needs a gradient, and it is as in evaluation."""
    trained = [p for p in model.parameters() if p.requires_grad]
    was_training = model.training
    model.eval()
    try:
        for p in trained:
            p.requires_grad_(False)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
        model.train(was_training)


def optimize(
    overlay: Overlay,
    model: torch.nn.Module,
    batches: Callable[[int], Batch],
    asked: Asked,
    settings: OptimizeSettings,
    run: Run,
) -> list[dict]:
    """Optimise `overlay` in place against a frozen model; returns a row of figures a step (`ubt.clip.training.fit`).

    Args:
        batches: step to batch, on the CPU, a function of the step alone; `images` uint8 (batch, H, W, 3) of the size
            that the model takes, and whatever else the objective reads.

    Raises:
        UbtError: the loss is no longer finite. Cancelled: `run.progress` asked to stop; with `run.scratch` the same
            call goes on from there.
    """
    model.to(run.compute.device)

    def objective(overlay: Overlay, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen = overlay(batch["images"].float().permute(0, 3, 1, 2) / 255)
        some, count = seen.flatten(0, 1).permute(0, 2, 3, 1) * 255, len(seen)
        features = models.encode_image(model, models.preprocess(model, some)).float()
        return asked(features.unflatten(0, (count, -1)), batch, overlay)

    with frozen(model), models.fast_attention(model), models.first_token_alone(model):
        return fit(
            overlay,
            objective,
            batches,
            settings.steps,
            settings,
            run.compute,
            progress=run.progress,
            checkpoint=Checkpoint.under(run.scratch),
        )


def noise_seed(seed: int) -> int:
    """The seed of an overlay's first values."""
    return derive_seed(seed, "trigger") % 2**63
