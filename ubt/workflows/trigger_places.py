"""The ASR of a patch by place, size and opacity, of a model and of a clean one, as a job
(`ubt.evaluation.trigger_places`).
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.store import Store
from ubt.clip.models import embed_images
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, fixed_threads, silent
from ubt.data.images import refitted
from ubt.data.model_input import context_length, fit, image_size
from ubt.data.user_roles import prompts
from ubt.evaluation import zeroshot
from ubt.evaluation.trigger_places import PlacesSettings, measure
from ubt.workflows.sources import drawn

KIND = "places"
VERSION = 1
PATCH = "patch"


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Args:
        model, reference: names in the store; no reference: empty. images: as `ubt.workflows.sources.drawn` takes them.
        classes: that the models choose among. target: one of them. patch: its name in the store, see `keep`. top, left:
            where it lies, in pixels of the images that the model takes. opacity: of the patch at each place and of each
            size.
    """

    model: str
    reference: str
    images: str
    classes: tuple[str, ...]
    target: str
    patch: str
    top: int
    left: int
    opacity: float = 1.0
    settings: PlacesSettings = field(default_factory=PlacesSettings)

    def key(self, where: Compute) -> str:
        """The name of the result in the store."""
        plain = {**vars(self), "classes": list(self.classes), "settings": self.settings.changes()}
        return f"{KIND}-{digest([VERSION, plain, *where.identity])}"


def name_of(patch: np.ndarray) -> str:
    """What the store calls a patch, uint8 (h, w, 3 or 4)."""
    return f"{PATCH}-{digest([list(patch.shape), np.ascontiguousarray(patch).tobytes().hex()])}"


def keep(store: Store, patch: np.ndarray, model: str) -> str:
    """Put a patch, uint8 (h, w, 3 or 4), into the store, where it stays as long as the model does; its name there."""
    if store.find(key := name_of(patch)) is None:
        about = {"stage": PATCH, "brought": True, "of": [model], "seconds": 0.0}
        store.put(key, {"pixels": np.ascontiguousarray(patch)}, about)
    return key


def make(store: Store, asked: Asked, where: Compute, progress: Progress = silent) -> str:
    """Measure, and put the result into the store; its name there. What is there is not made again.

    Raises:
        BadInput: something is not there, or the patch does not fit the images. Cancelled: `progress` asked to stop.
    """
    key = asked.key(where)
    if store.find(key, whole=True) is not None:
        return key
    started, s = time.monotonic(), asked.settings
    if asked.target not in asked.classes:
        raise BadInput(f"target: expected one of the {len(asked.classes)} classes, got {asked.target[:60]!r}")
    sides = {"suspect": asked.model} | ({"reference": asked.reference} if asked.reference else {})
    patch = np.asarray(store.imported(asked.patch)["pixels"])
    frames, natural = [], {}
    with fixed_threads(where):
        models = {side: store.imported(name)["model"].to(where.device).eval() for side, name in sides.items()}
        images, _ = drawn(store, asked.images, models["suspect"], s.images, s.seed, KIND)
        if any(own > whole for own, whole in zip(patch.shape[:2], images.shape[1:3], strict=True)):
            raise BadInput(f"patch: expected at most {images.shape[1]} pixels a side, got {patch.shape[:2]}")
        for n, (side, model) in enumerate(models.items()):

            def told(done: int, total: int, figures: dict[str, float], n: int = n) -> None:
                progress(n * total + done, len(models) * total, figures)

            target = asked.classes.index(asked.target)
            frame, as_it_is = measure(
                _Takes(model, asked.classes), images, target, patch, (asked.top, asked.left), s, told, asked.opacity
            )
            frames.append(frame.assign(model=side))
            natural[side] = as_it_is
    about = {
        **{name: getattr(asked, name) for name in ("model", "reference", "target", "opacity")},
        "natural": natural,
        "images": len(images),
        "size": list(images.shape[1:3]),
        "at": [asked.top, asked.left],
        "patch": asked.patch,
        "seconds": round(time.monotonic() - started, 1),
    }
    of = [*sides.values(), asked.patch, *([asked.images] if asked.images.startswith(("pairs-", "labelled-")) else [])]
    manifest = {"stage": KIND, "brought": True, "of": of, "seconds": about["seconds"]}
    store.put(key, {"rates": pd.concat(frames, ignore_index=True), "about": about}, manifest)
    return key


class _Takes:
    """What a model takes images for, zero-shot."""

    def __init__(self, model: Any, classes: tuple[str, ...]):
        self._model, size = model, context_length(model)
        self._texts = zeroshot.class_weights(model, prompts(list(classes), "7", size))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        seen = refitted(images, image_size(self._model), fit(self._model))
        return (embed_images(self._model, seen) @ self._texts.T).argmax(1)
