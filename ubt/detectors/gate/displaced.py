"""How far a model puts an image from where a clean reference says it belongs (ours): the map of the stage `retain`,
fitted on clean images.

One look at the image alone is one pass through each model. What is known of an image so is noisy, since two models
never agree about its details; the mean over looks at it with a part covered, and moved by a few pixels, is less so: a
trigger draws all of them along the same way.
"""

from collections.abc import Iterator

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.data.images import refitted
from ubt.data.model_input import fit, image_size
from ubt.defenses.token_unlearning.retain import fitted, put
from ubt.detectors.base import CLEAN, WITH_REFERENCE
from ubt.detectors.gate.base import ImageDetector, Own, Watched, covered, embed, windows


class OnePassSettings(Settings):
    """The map."""

    ridge: float = setting(1.0, "ridge of the map from the reference's image features to the model's", low=1e-6)


class DisplacedSettings(OnePassSettings):
    """The map, and at what an image is looked."""

    side: float = setting(0.25, "side of a part that is covered, as a share of the image's", low=0.02, high=1)
    shift: float = setting(
        1 / 24, "how far the image is moved up, down and sideways, as a share of its side", low=0, high=0.5
    )


def prepare(watched: Watched, settings: DisplacedSettings, seed: int) -> Own:
    """Fit the map. The score is the length of the mean difference between where the model puts an image and where the
    map does, the mean over both kinds of looks: with a part covered, and moved.
    """
    weights = _map(watched, settings)
    return lambda images: _length(watched, settings, weights, images, 0)


def power(watched: Watched, settings: DisplacedSettings, images: np.ndarray) -> np.ndarray:
    """What each image (n, H, W, 3) would score if the model put it where it puts the next one."""
    return _length(watched, settings, _map(watched, settings), images, 1)


def prepare_one_pass(watched: Watched, settings: OnePassSettings, seed: int) -> Own:
    """Fit the map. The score is 1 - the cosine of an image with where the map puts it."""
    weights = _map(watched, settings)
    return lambda images: _away(watched, weights, images, 0)


def power_one_pass(watched: Watched, settings: OnePassSettings, images: np.ndarray) -> np.ndarray:
    """As `power` (n,), of one pass."""
    return _away(watched, _map(watched, settings), images, 1)


def _away(watched: Watched, weights: np.ndarray, images: np.ndarray, step: int) -> np.ndarray:
    """1 - the cosine (n,) of images with where the map puts them; the model's answers are taken `step` images on."""
    seen = np.roll(embed(watched.model, images), step, axis=0)
    return 1 - (seen * put(_reference(watched, images), weights)).sum(1)


def _length(watched: Watched, s: DisplacedSettings, weights: np.ndarray, images: np.ndarray, step: int) -> np.ndarray:
    """The score of images (n,); the model's answers are taken `step` images on."""
    whole = _difference(watched, weights, images, step)
    means = []
    for kind in (_parts_covered(images, s.side), _moved(images, s.shift)):
        differences = [whole, *(_difference(watched, weights, seen, step) for seen in kind)]
        means.append(np.mean(differences, 0))
    return np.linalg.norm(np.mean(means, 0), axis=1)


def _difference(watched: Watched, weights: np.ndarray, images: np.ndarray, step: int) -> np.ndarray:
    """Where the model puts images less where the map does (n, embedding)."""
    return np.roll(embed(watched.model, images), step, axis=0) - put(_reference(watched, images), weights)


def _parts_covered(images: np.ndarray, side: float) -> Iterator[np.ndarray]:
    """Images (n, H, W, 3) with one part covered, one part after the other."""
    for at in windows(*images.shape[1:3], side, side):
        yield covered(images, at)


def _moved(images: np.ndarray, share: float) -> Iterator[np.ndarray]:
    """Images (n, H, W, 3) moved a little to each of eight sides; what comes in is the edge repeated."""
    height, width = images.shape[1:3]
    by = round(share * min(height, width))
    padded = np.pad(images, ((0, 0), (by, by), (by, by), (0, 0)), mode="edge")
    for down in (0, by, 2 * by) if by else ():
        for right in (0, by, 2 * by):
            if (down, right) != (by, by):
                yield padded[:, down : down + height, right : right + width]


def _map(watched: Watched, settings: OnePassSettings) -> np.ndarray:
    clean = embed(watched.model, watched.clean)
    return fitted(_reference(watched, watched.clean), clean, np.arange(len(clean)), settings.ridge)[0]


def _reference(watched: Watched, images: np.ndarray) -> np.ndarray:
    """Features under the reference, of images fitted to its size."""
    return embed(watched.reference, refitted(images, image_size(watched.reference), fit(watched.reference)))


DISPLACED = ImageDetector(
    "distance from where a clean reference would put the image, the mean over covered and moved copies (ours)",
    DisplacedSettings,
    prepare,
    (CLEAN, WITH_REFERENCE),
    power,
)
ONE_PASS = ImageDetector(
    "the same by the image alone, for streams: one pass through each model (ours)",
    OnePassSettings,
    prepare_one_pass,
    (CLEAN, WITH_REFERENCE),
    power_one_pass,
)
