"""Suspicion by how far M_bd puts an image from where the clean reference says it belongs; ours."""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.defenses.token_unlearning.retain import RetainSettings, restored
from ubt.detectors.base import IMAGES, PAIRS, WITH_REFERENCE, Detector, scored


def displacement(
    image_features: np.ndarray, reference_images: np.ndarray, pairs: pd.DataFrame, settings: RetainSettings, run: Run
) -> dict:
    """1 minus the cosine of an image's features under M_bd with its restored ones
    (`ubt.defenses.token_unlearning.retain`), fitted on all of D.
    """
    features = np.asarray(image_features)
    back, _ = restored(np.asarray(reference_images), features, np.arange(len(features)), settings.ridge)
    return scored(pairs["id"], 1 - (features * back).sum(1))


RESTORED = Detector(
    "distance of the image under M_bd from where the reference would put it (ours)",
    "ubt.detectors.restored:displacement",
    IMAGES | {"reference_images": "score.image_features"},
    {"settings": "retain"},
    {"retain": RetainSettings},
    (PAIRS, WITH_REFERENCE),
)
