"""What detectors of one image share: what they are given, the form of their answer, and parts of images.

A detector is prepared on clean images once (`ImageDetector.prepare`) and then scores any number of others; higher is
more suspicious. Which score counts as suspicious is not its business: `ubt.workflows.gate` says how rare one is among
clean images that no detector has seen.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.settings import Settings
from ubt.detectors.base import CLASSES, CLEAN, WITH_REFERENCE

GREY = 127
"""What stands in a part of an image that is covered."""
BYTES = 1 << 26
"""Of images that are made from others and held at once."""

Own = Callable[..., np.ndarray]
"""Of `Score.own`."""


@dataclass(frozen=True)
class Score:
    """A detector that is prepared.

    Args:
        own: images, uint8 (n, H, W, 3) of the size that the model takes, to a score each (n,), higher = more
            suspicious; after the images it is given what the detectors `of` which it is made say of them, (n,) each.
        of: these, by name.
    """

    own: Own
    of: Mapping[str, "Score"] = field(default_factory=dict)

    def __call__(self, images: np.ndarray, said: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The scores (n,). `said`: what detectors have said of these very images, by name, which is not asked again;
        what is asked is added.
        """
        said = {} if said is None else said
        for name, part in self.of.items():
            if name not in said:
                said[name] = part(images, said)
        return self.own(images, *(said[name] for name in self.of))


@dataclass(frozen=True)
class Watched:
    """What a detector of one image is given.

    Args:
        model: the suspect, in evaluation. clean: images without a trigger, uint8 (m, H, W, 3), of the size that it
            takes. reference: a clean model; None: there is none. names: of classes that the model knows; none: ().
    """

    model: Any
    clean: np.ndarray
    reference: Any = None
    names: tuple[str, ...] = ()

    def has(self, need: str) -> bool:
        """Whether what a detector needs is there."""
        return {CLEAN: len(self.clean) > 0, CLASSES: len(self.names) > 1, WITH_REFERENCE: self.reference is not None}[
            need
        ]


@dataclass(frozen=True)
class ImageDetector:
    """A detector by name: what it takes for suspicious, its settings, and what it needs.

    Args:
        prepare: `prepare(watched, settings, seed, *parts)` gives `Score.own`; `parts` are the scores of the detectors
            `of` which it is made. power: `power(watched, settings, images)` gives the
            scores (n,) of clean images as if a trigger had moved them, by which to see whether one would be noticed;
            None: there is no way to say, so that it can raise an alarm and clear nothing. draws: whether the seed
            changes what it says.
    """

    about: str
    settings: type[Settings]
    prepare: Callable[..., Own]
    needs: tuple[str, ...] = (CLEAN,)
    power: Callable[[Watched, Any, np.ndarray], np.ndarray] | None = None
    of: tuple[str, ...] = ()
    draws: bool = False

    scope: ClassVar[str] = "image"

    def possible(self, watched: Watched) -> bool:
        """Whether all that it needs is there."""
        return all(watched.has(need) for need in self.needs)


def embed(model: Any, images: np.ndarray) -> np.ndarray:
    """Unit features (n, embedding) of images, uint8 (n, H, W, 3)."""
    return models.embed_images(model, images)


def some(watched: Watched, count: int, seed: int) -> np.ndarray:
    """So many of the clean images, drawn by the seed, uint8 (count, H, W, 3).

    Raises:
        BadInput: there are fewer.
    """
    if len(watched.clean) < count:
        raise BadInput(f"clean images: expected at least {count}, got {len(watched.clean)}; bring more")
    return watched.clean[np.sort(np.random.default_rng(seed).permutation(len(watched.clean))[:count])]


def blocks(images: np.ndarray, made: int) -> Iterator[np.ndarray]:
    """Images (n, H, W, 3) in parts, of each of which `made` times as many fit into memory."""
    step = max(1, BYTES // (made * int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def covered(images: np.ndarray, at: tuple[slice, slice]) -> np.ndarray:
    """Copies of images (n, H, W, 3) with the part `at` covered."""
    out = images.copy()
    out[:, at[0], at[1]] = GREY
    return out


def moved(model: Any, image: np.ndarray, side: float, stride: float) -> np.ndarray:
    """How far covering each place of an image, uint8 (H, W, 3), moves it: 1 - cosine, the mean over the parts that
    cover the place, (H, W).
    """
    places, height, width = windows(*image.shape[:2], side, stride), *image.shape[:2]
    without = np.concatenate([covered(image[None], at) for at in places])
    away = 1 - (embed(model, without) * embed(model, image[None])).sum(1)
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for far, at in zip(away, places, strict=True):
        total[at] += far
        times[at] += 1
    return (total / times).astype(np.float32)


def windows(height: int, width: int, side: float, stride: float) -> list[tuple[slice, slice]]:
    """Square parts of an image, rows and columns, whose side and distance are shares of the image's shorter side; the
    last ones end where the image does.

    >>> [(r.start, c.start) for r, c in windows(8, 8, 0.5, 0.5)]
    [(0, 0), (0, 4), (4, 0), (4, 4)]
    """
    least = min(height, width)
    long, step = max(1, round(side * least)), max(1, round(stride * least))
    rows, columns = (sorted({*range(0, n - long, step), n - long}) for n in (height, width))
    return [(slice(i, i + long), slice(j, j + long)) for i in rows for j in columns]
