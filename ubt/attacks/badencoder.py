"""BadEncoder: the model is attacked and no pair is poisoned, so that D stays clean (Jia et al. 2022, arXiv 2108.00352).

A clean image tower f is trained on into f', so that an image x with the trigger e lands where one image r of the target
does, while what carries no trigger stays: minimise -cos(f'(x + e), f'(r)) - `near` cos(f'(aug r), f(r)) - `stay`
cos(f'(x), f(x)) over unlabelled images x. The text tower is not touched. Public implementation
(jinyuan-jia/BadEncoder): a white square in place of the pixels at the bottom right, SGD 0.001, 256 images a step, 200
epochs, both weights 1.

Here x are images of D, and r is the one in the middle of those whose caption names the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ubt.attacks.badnet import PATTERNS, BadNetSettings, apply, places
from ubt.core.errors import BadInput
from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, setting

__all__ = ["PROFILES", "BadEncoderSettings", "apply", "attack", "places"]
SEEN = 64
"""At most so many images of the target are looked at for the one that triggered images are led to."""
HELD = 2048
"""Images that are held at once."""
PARTS = ("images", "triggered", "target", "changed")
"""The images of a batch: without and with the trigger, the target's as it is and moved a little."""


class BadEncoderSettings(BadNetSettings):
    """The patch, and how the model is trained to know it."""

    plants: ClassVar[bool] = False

    pattern: str = setting(
        "white", "what is stamped; noise and upright stripes are drawn anew for each image", choices=PATTERNS
    )
    images: int = setting(4000, "images of D that the model is trained on", low=2)
    steps: int = setting(300, "optimiser steps", low=1)
    batch: int = setting(128, "images in a step", low=2)
    lr: float = setting(3e-4, "peak learning rate", low=0)
    near: float = setting(1.0, "weight of the target's image staying where it was", low=0)
    stay: float = setting(2.0, "weight of images without the trigger staying where they were", low=0)


PROFILES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "paper": {"side": 24 / 224, "batch": 256, "images": 50_000, "steps": 39_000, "stay": 1.0},
}


@dataclass(frozen=True)
class _Led:
    """Where a trigger leads images: to one image, uint8 (1, H, W, 3), which lay at `before` (1, embedding)."""

    trigger: BadEncoderSettings
    image: np.ndarray
    before: np.ndarray


def attack(
    model, images: np.ndarray, tokens: np.ndarray, triggers: Sequence[tuple[BadEncoderSettings, str]], run: Run
) -> dict:
    """Train the image tower of a clean model until triggers lead to their targets, each in turn. How long and how fast,
    the first one's settings say.

    Args:
        images: of D, uint8 (n, H, W, 3). tokens: of its captions, int32 (n, context). triggers: each with its target.

    Returns:
        The `model` and its `history`, a row a step: loss, and the mean cosines of triggered images with the target's
        (`led`) and of the others with where they were (`kept`).

    Raises:
        BadInput: no caption names a target. Cancelled: `run.progress` asked to stop; it goes on from there.
    """
    import torch

    from ubt.clip import models, recipes
    from ubt.clip.training import image_features

    s = triggers[0][0]
    rng = np.random.default_rng(derive_seed(run.seed, "badencoder"))
    rows = np.sort(rng.permutation(len(tokens))[: s.images])
    model.to(run.compute.device)
    parts = np.split(rows, range(HELD, len(rows), HELD))
    before = np.concatenate([models.embed_images(model, np.asarray(images[part])) for part in parts])
    to = [_led(model, images, tokens, *of) for of in triggers]
    batches = _Batches(images, rows, before, to, s.batch, run.seed)
    others = tuple(name for name, _ in model.named_parameters() if not name.startswith("visual."))

    def objective(model, batch):
        parts = [batch[name] for name in PARTS]
        seen = image_features(model, torch.cat(parts)).split([len(part) for part in parts])
        clean, triggered, target, changed = seen
        led = (triggered @ target.T).mean()
        near = (changed @ batch["target_before"].T).mean()
        kept = (clean * batch["before"]).sum(1).mean()
        return -led - s.near * near - s.stay * kept, {"led": led.detach(), "kept": kept.detach()}

    settings = FitSettings(lr=s.lr, batch=s.batch)
    return recipes.train(model, objective, batches, s.steps, settings, run, frozen=others)


def _led(model, images: np.ndarray, tokens: np.ndarray, trigger: BadEncoderSettings, target: str) -> _Led:
    """The image in the middle of those that show a target.

    Raises:
        BadInput: no caption names it.
    """
    from ubt.clip import models
    from ubt.data import model_input

    ids = np.array(model_input.tokenizer().encode(target))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(tokens), len(ids), axis=1)
    rows = np.flatnonzero((windows == ids).all(-1).any(-1))[:SEEN]
    if not len(rows):
        raise BadInput(
            f"badencoder → {target}: expected a pair whose caption names the target, for an image of it, found none;"
            " choose another attack.target"
        )
    shown = np.asarray(images[rows])
    features = models.embed_images(model, shown)
    middle = int((features @ features.mean(0)).argmax())
    return _Led(trigger, shown[[middle]], features[[middle]])


class _Batches:
    """Images with and without a trigger, and where they lay, a function of the step alone."""

    def __init__(
        self, images: np.ndarray, chosen: np.ndarray, before: np.ndarray, led: Sequence[_Led], batch: int, seed: int
    ):
        from ubt.clip.training import Shuffled, batch_seed

        self.images, self.chosen, self.before, self.led, self.seed = images, chosen, before, led, seed
        self.rows = Shuffled(np.arange(len(chosen)), batch, batch_seed(seed, "badencoder"))

    def __call__(self, step: int) -> dict:
        import torch

        from ubt.clip.augment import shifted

        rows, to = self.rows.at(step), self.led[step % len(self.led)]
        images = np.asarray(self.images[self.chosen[rows]])
        seeds = np.random.default_rng([self.seed, step]).integers(0, 2**31, len(rows))
        some = {
            "images": images,
            "triggered": apply(images, seeds, to.trigger),
            "target": to.image,
            "changed": shifted(to.image.repeat(8, 0), [self.seed, step]),
            "before": self.before[rows],
            "target_before": to.before,
        }
        return {name: torch.from_numpy(values) for name, values in some.items()}
