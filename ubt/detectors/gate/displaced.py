"""How far a model puts an image from where a clean reference says it belongs (ours): the map of the stage `retain`,
fitted on clean images. One pass through each model.
"""

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.data.images import refitted
from ubt.data.model_input import fit, image_size
from ubt.defenses.token_unlearning.retain import fitted, put
from ubt.detectors.gate.base import REFERENCE, ImageDetector, Score, Watched, embed


class DisplacedSettings(Settings):
    """The map."""

    ridge: float = setting(1.0, "ridge of the map from the reference's image features to the model's", low=1e-6)


def prepare(watched: Watched, settings: DisplacedSettings, seed: int) -> Score:
    """Fit the map. The score is 1 - the cosine of an image with where the map puts it."""
    reference = watched.reference
    size, how = image_size(reference), fit(reference)

    def seen(images: np.ndarray) -> np.ndarray:
        return embed(reference, refitted(images, size, how))

    clean = embed(watched.model, watched.clean)
    weights, _ = fitted(seen(watched.clean), clean, np.arange(len(clean)), settings.ridge)

    def score(images: np.ndarray) -> np.ndarray:
        return 1 - (embed(watched.model, images) * put(seen(images), weights)).sum(1)

    return score


DISPLACED = ImageDetector(
    "distance from where a clean reference would put the image (ours)", DisplacedSettings, prepare, (REFERENCE,)
)
