"""How far a model puts an image from where a clean reference says it belongs (ours): the map of the stage `retain`,
fitted on clean images. One pass through each model.
"""

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.data.images import refitted
from ubt.data.model_input import fit, image_size
from ubt.defenses.token_unlearning.retain import fitted, put
from ubt.detectors.gate.base import CLEAN, REFERENCE, ImageDetector, Score, Watched, embed


class DisplacedSettings(Settings):
    """The map."""

    ridge: float = setting(1.0, "ridge of the map from the reference's image features to the model's", low=1e-6)


def prepare(watched: Watched, settings: DisplacedSettings, seed: int) -> Score:
    """Fit the map. The score is 1 - the cosine of an image with where the map puts it."""
    weights = _map(watched, settings)

    def score(images: np.ndarray) -> np.ndarray:
        return 1 - (embed(watched.model, images) * put(_seen(watched, images), weights)).sum(1)

    return score


def power(watched: Watched, settings: DisplacedSettings, images: np.ndarray) -> np.ndarray:
    """What each image (n, H, W, 3) would score if the model put it where it puts the next one."""
    elsewhere = np.roll(embed(watched.model, images), 1, axis=0)
    return 1 - (elsewhere * put(_seen(watched, images), _map(watched, settings))).sum(1)


def _map(watched: Watched, settings: DisplacedSettings) -> np.ndarray:
    clean = embed(watched.model, watched.clean)
    return fitted(_seen(watched, watched.clean), clean, np.arange(len(clean)), settings.ridge)[0]


def _seen(watched: Watched, images: np.ndarray) -> np.ndarray:
    """Features under the reference, of images fitted to its size."""
    return embed(watched.reference, refitted(images, image_size(watched.reference), fit(watched.reference)))


DISPLACED = ImageDetector(
    "distance from where a clean reference would put the image (ours)",
    DisplacedSettings,
    prepare,
    (CLEAN, REFERENCE),
    power,
)
