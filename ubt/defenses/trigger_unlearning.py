"""Unlearn a trigger without D: images with an inverted trigger are led back to where the model puts them without it.

Nothing of the training data is needed, and nothing of the true trigger: what is laid over the images is what inversion
found, moved and weakened anew in each step, so that what resembles it is unlearned too.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ubt.clip.training import Batch, Checkpoint, Shuffled, batch_seed, fit, image_features
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting

Laid = Callable[[np.ndarray], np.ndarray]
"""uint8 images (n, H, W, 3) in, copies with a trigger out."""


class TriggerUnlearnSettings(FitSettings):
    """How a trigger is unlearned."""

    steps: int = setting(120, "optimiser steps of each round", low=1)
    batch: int = setting(64, "images in a step", low=2)
    lr: float = setting(4e-4, "peak learning rate", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    keep: float = setting(15.0, "weight of what images without the trigger keep", low=0)
    shift: float = setting(0.05, "how far a trigger is moved at most, as a share of the image's side", low=0, high=1)
    weakest: float = setting(0.8, "the least strength that it is laid with, of 1", low=0, high=1)


def unlearn(
    model: torch.nn.Module,
    images: np.ndarray,
    before: np.ndarray,
    triggers: Sequence[Laid],
    settings: TriggerUnlearnSettings,
    run: Run,
) -> list[dict]:
    """Train the image tower in place, so that triggers move images nowhere; returns a row of figures a step.

    Args:
        images: clean ones, uint8 (n, H, W, 3), of the size that the model takes. before: unit features (n, embedding)
            of them under the model as it came. triggers: what was found.

    Raises:
        BadInput: there are no triggers. Cancelled: `run.progress` asked to stop; see `ubt.clip.training.fit`.
    """
    if not triggers:
        raise BadInput("triggers: expected at least one to unlearn, got none")
    batches = _Batches(images, before, triggers, settings, run.seed)
    others = tuple(name for name, _ in model.named_parameters() if not name.startswith("visual."))

    def objective(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen = image_features(model, torch.cat([batch["triggered"], batch["images"]]))
        led, kept = seen.chunk(2)
        back = (led - batch["before"]).square().sum(1).mean()
        stays = (kept - batch["before"]).square().sum(1).mean()
        return back + settings.keep * stays, {"back": back.detach(), "stays": stays.detach()}

    return fit(
        model,
        objective,
        batches,
        settings.steps,
        settings,
        run.compute,
        frozen=others,
        progress=run.progress,
        checkpoint=Checkpoint.under(run.scratch),
    )


class _Batches:
    """Images, their features under the model as it came, and copies with a trigger, a function of the step alone."""

    def __init__(
        self,
        images: np.ndarray,
        before: np.ndarray,
        triggers: Sequence[Laid],
        settings: TriggerUnlearnSettings,
        seed: int,
    ):
        self.images, self.before, self.triggers, self.settings, self.seed = images, before, triggers, settings, seed
        self.rows = Shuffled(np.arange(len(images)), settings.batch, batch_seed(seed, "trigger unlearning"))

    def __call__(self, step: int) -> Batch:
        rows, rng = self.rows.at(step), np.random.default_rng([self.seed, step])
        images = self.images[rows]
        laid = self.triggers[step % len(self.triggers)](images)
        return {
            "images": torch.from_numpy(images),
            "triggered": torch.from_numpy(self.moved(images, laid, rng)),
            "before": torch.from_numpy(self.before[rows]),
        }

    def moved(self, images: np.ndarray, laid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What a trigger changes, moved a little and weakened, the same in all images of a step."""
        most = round(self.settings.shift * images.shape[1])
        change = laid.astype(np.float32) - images
        change = np.roll(change, rng.integers(-most, most + 1, 2), (1, 2))
        change *= rng.uniform(self.settings.weakest, 1.0)
        return np.rint((images + change).clip(0, 255)).astype(np.uint8)
