"""What methods of trigger inversion share: what they are given, what they answer, and the inversion for every class.

Inversion looks for what, laid over clean images, makes a model take them for a class. A model that was taught a trigger
gives way to less for its target than for other classes, and than a clean model does for the same class.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from ubt.clip import models
from ubt.clip.training import Batch, Shuffled, batch_seed
from ubt.clip.trigger_optimizer import Asked, OptimizeSettings, Overlay, frozen, noise_seed, optimize
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import replace_file, scrap
from ubt.core.run import Run, derive_seed
from ubt.core.settings import setting

SHARPNESS = 30.0
"""What similarities are multiplied by before the softmax over classes, the same for every model, so that models of
other temperature can be compared.
"""
LOUD = 1000.0
"""What losses are multiplied by: a pixel's gradient is as small as what AdamW adds to its norm, and would be damped."""
PIXELS = 1 << 21
"""Of all images of a step; classes beyond that are inverted after one another."""
KEPT = 64 << 20
"""Bytes of triggers that are kept, those of the likeliest targets first."""
LEAST_IMAGES, LEAST_CLASSES = 16, 2
HELD = 16
"""Images that are looked at in one go when triggers are measured."""


class InvertSettings(OptimizeSettings):
    """How triggers are looked for; AdamW forgets as fast as DECREE's Adam does."""

    betas: ClassVar[tuple[float, float]] = (0.5, 0.9)
    batch: int = setting(8, "images in a step, for each class", low=2)


@dataclass(frozen=True)
class Given:
    """What an inversion is given: a model, clean images without labels, uint8 (n, H, W, 3), to look for triggers on and
    `held` ones to measure them on, and the class weights (classes, embedding) of the model's own text tower. `only`:
    the classes that a trigger is looked for, by index; none: all.

    Raises:
        BadInput: there are too few images or classes, or the weights are not finite.
    """

    model: torch.nn.Module
    images: np.ndarray
    held: np.ndarray
    weights: np.ndarray
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(len(self.images), len(self.held)) < LEAST_IMAGES:
            raise BadInput(
                f"images: expected at least {2 * LEAST_IMAGES} that can be read, half of them held back, got"
                f" {len(self.images) + len(self.held)}"
            )
        if len(self.weights) < LEAST_CLASSES:
            raise BadInput(f"classes: expected at least {LEAST_CLASSES}, got {len(self.weights)}")
        if not np.isfinite(self.weights).all():
            raise BadInput("model: expected finite features of the classes' names, got NaN or infinity")


@dataclass(frozen=True)
class Trigger:
    """A trigger: `pattern` (H, W, 3) under `mask` (H, W), both 0 to 1; without a mask the pattern is added. `target`:
    the index of its class, -1 where none was asked for.
    """

    target: int
    pattern: np.ndarray
    mask: np.ndarray | None = None

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Copies of uint8 images (n, H, W, 3) with the trigger."""
        x = images.astype(np.float32) / 255
        if self.mask is None:
            x = x + self.pattern
        else:
            x = (1 - self.mask[..., None]) * x + self.mask[..., None] * self.pattern
        return np.rint(255 * x.clip(0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Inverted:
    """What an inversion found: `measures`, a row a class (or a trigger, without a target): class (its index), `asr`
    (percent of held images of other classes), `margin` (mean cosine similarity to the target above that to the
    likeliest other class), `size` (share of the image that a mask covers; NaN without a mask), `evidence` (higher: the
    class gives way to less); and the `triggers` of the likeliest targets, these first.
    """

    measures: pd.DataFrame
    triggers: tuple[Trigger, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """As entries of an artefact."""
        masks = [t.mask for t in self.triggers if t.mask is not None]
        return {
            "measures": self.measures,
            "targets": np.array([t.target for t in self.triggers], np.int64),
            "patterns": np.array([t.pattern for t in self.triggers], np.float32),
        } | ({"masks": np.array(masks, np.float32)} if masks else {})

    @classmethod
    def read(cls, entries: Any) -> "Inverted":
        """From the entries of an artefact."""
        masks = entries["masks"] if "masks" in entries else None  # noqa: SIM401 (no dictionary)
        found = [
            Trigger(int(target), pattern, None if masks is None else masks[i])
            for i, (target, pattern) in enumerate(zip(entries["targets"], entries["patterns"], strict=True))
        ]
        return cls(entries["measures"], tuple(found))


@dataclass(frozen=True)
class Sought:
    """What tells one method from another: the overlay for so many classes, by seed; what its size costs, a number for
    each trigger; and the `evidence` of each class by its measures.
    """

    overlay: Callable[[int, int], Overlay]
    cost: Callable[[Overlay], torch.Tensor | float]
    evidence: Callable[[pd.DataFrame], pd.Series]


def by_class(given: Given, sought: Sought, settings: InvertSettings, run: Run) -> Inverted:
    """Look for a trigger of every class; several classes at once, as many as `PIXELS` allow.

    Raises:
        UbtError: the loss is not finite. Cancelled: `run.progress` asked to stop; with `run.scratch` the same call goes
            on from there.
    """
    classes = np.array(given.only or range(len(given.weights)))
    together = max(1, PIXELS // (settings.batch * given.images.shape[1] * given.images.shape[2]))
    parts = [classes[i : i + together] for i in range(0, len(classes), together)]
    found = [_part(given, sought, part, settings, run, (n, len(parts))) for n, part in enumerate(parts)]
    measures = pd.concat([m for m, _, _ in found], ignore_index=True)
    measures["evidence"] = sought.evidence(measures)
    patterns, masks = np.concatenate([p for _, p, _ in found]), [m for _, _, m in found if m is not None]
    whole = np.concatenate(masks) if masks else None
    kept = max(1, KEPT // patterns[0].nbytes)
    first = measures["evidence"].sort_values(ascending=False, kind="stable").index[:kept]
    return Inverted(
        measures, tuple(Trigger(int(classes[i]), patterns[i], None if whole is None else whole[i]) for i in first)
    )


_Part = tuple[pd.DataFrame, np.ndarray, np.ndarray | None]


def _part(
    given: Given, sought: Sought, classes: np.ndarray, settings: InvertSettings, run: Run, at: tuple[int, int]
) -> _Part:
    """The measures, patterns and masks of some classes; those that a call before this one finished are read."""
    done = None if run.scratch is None else run.scratch / f"part-{at[0]}.npz"
    if done is not None and (kept := _read(done, classes)) is not None:
        return kept

    def progress(step: int, total: int, figures: dict[str, float]) -> None:
        run.progress(at[0] * total + step, at[1] * total, figures)

    overlay = sought.overlay(len(classes), noise_seed(derive_seed(run.seed, f"part {at[0]}") if at[0] else run.seed))
    own = None if run.scratch is None else run.scratch / f"part-{at[0]}"
    optimize(
        overlay,
        given.model,
        Batches(given.images, settings.batch, run.seed),
        _towards(given, classes, sought),
        settings,
        Run(run.seed, run.compute, progress, own),
    )
    found = _as_arrays(overlay, measured(given, overlay, classes))
    if done is not None and own is not None:
        done.parent.mkdir(parents=True, exist_ok=True)
        table, patterns, masks = found
        arrays = {"classes": classes, "patterns": patterns, **{c: table[c].to_numpy() for c in table}}
        arrays |= {} if masks is None else {"masks": masks}
        replace_file(done, lambda path: _save(path, arrays))
        scrap(own)
    return found


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as f:
        np.savez(f, **arrays)


def _read(path: Path, classes: np.ndarray) -> _Part | None:
    """A part that is whole on disk, and of these classes."""
    with (
        contextlib.suppress(OSError, ValueError, KeyError, EOFError, BadZipFile),
        np.load(path, allow_pickle=False) as kept,
    ):
        if np.array_equal(kept["classes"], classes):
            table = pd.DataFrame({name: kept[name] for name in ("class", "asr", "margin", "size")})
            return table, kept["patterns"], kept.get("masks")
    return None


class Batches:
    """Images, a function of the step alone."""

    def __init__(self, images: np.ndarray, batch: int, seed: int):
        self.images = images
        self.rows = Shuffled(np.arange(len(images)), batch, batch_seed(seed, "inversion"))

    def __call__(self, step: int) -> Batch:
        return {"images": torch.from_numpy(self.images[self.rows.at(step)])}


def _towards(given: Given, classes: np.ndarray, sought: Sought) -> Asked:
    """Cross-entropy with each trigger's class among all classes, and what its size costs, of all triggers together."""
    weights, targets = torch.from_numpy(given.weights), torch.from_numpy(classes)

    def asked(features: torch.Tensor, batch: Batch, overlay: Overlay) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        triggers, images, _ = features.shape
        logits = SHARPNESS * features @ weights.to(features.device).T
        wanted = targets.to(features.device).repeat_interleave(images)
        towards = F.cross_entropy(logits.flatten(0, 1), wanted, reduction="sum") / images
        cost = sought.cost(overlay)
        total = towards + (cost.sum() if isinstance(cost, torch.Tensor) else cost)
        return LOUD * total, {"towards": (towards / triggers).detach()}

    return asked


@contextlib.contextmanager
def looking(model: torch.nn.Module) -> Iterator[None]:
    """While inside, the model is only looked at, as fast as can be."""
    with torch.no_grad(), frozen(model), models.fast_attention(model), models.first_token_alone(model):
        yield


def features(model: torch.nn.Module, overlay: Overlay, images: np.ndarray) -> torch.Tensor:
    """Unit features (triggers, n, embedding), fp32, of uint8 images (n, H, W, 3) with each trigger."""
    device = next(model.parameters()).device
    seen = overlay(torch.from_numpy(images).to(device).float().permute(0, 3, 1, 2) / 255)
    some = seen.flatten(0, 1).permute(0, 2, 3, 1) * 255
    return models.encode_image(model, models.preprocess(model, some)).float().unflatten(0, seen.shape[:2])


def measured(given: Given, overlay: Overlay, classes: np.ndarray) -> pd.DataFrame:
    """What triggers for `classes` (triggers,) do to held images that the model takes for another class without them:
    class, asr, margin, size.

    Raises:
        UbtError: the model's features are not finite.
    """
    plain = models.embed_images(given.model, given.held) @ given.weights.T
    if not np.isfinite(plain).all():
        raise UbtError("model: expected finite features of the images, got NaN or infinity; it cannot be scanned")
    own, hits, above = plain.argmax(1), [], []
    with looking(given.model):
        for start in range(0, len(given.held), HELD):
            seen = features(given.model, overlay, given.held[start : start + HELD]).cpu().numpy() @ given.weights.T
            target = np.take_along_axis(seen, classes[:, None, None], 2)[..., 0]
            np.put_along_axis(seen, classes[:, None, None], -np.inf, 2)
            above.append(target - seen.max(2))
            hits.append(above[-1] > 0)
        size = overlay.size().cpu().numpy() if hasattr(overlay, "size") else np.full(len(classes), np.nan)
    other = own[None] != classes[:, None]
    count = np.maximum(other.sum(1), 1)
    asr = 100 * (np.concatenate(hits, 1) & other).sum(1) / count
    margin = np.where(other, np.concatenate(above, 1), 0).sum(1) / count
    return pd.DataFrame({"class": classes, "asr": asr, "margin": margin, "size": size.astype(np.float64)})


def _as_arrays(overlay: Overlay, measures: pd.DataFrame) -> _Part:
    with torch.no_grad():
        pattern = overlay.pattern() if hasattr(overlay, "mask") else overlay.added()
        masks = overlay.mask()[:, 0].cpu().numpy() if hasattr(overlay, "mask") else None
        return measures, pattern.permute(0, 2, 3, 1).cpu().numpy(), masks
