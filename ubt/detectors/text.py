"""Suspicion by the caption alone, the control: where it finds the poisons, captions are a shortcut of the world and not
of the attack.
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.stage import takes
from ubt.detectors.base import DETECT, TEXTS, WITH_REFERENCE, Detector, DetectSettings, scored
from ubt.pairs.neighbors import exact


def captions(text_features: np.ndarray, pairs: pd.DataFrame, settings: DetectSettings, run: Run) -> dict:
    """Mean cosine similarity of a caption with its k nearest other captions under the clean reference: captions of one
    attack are alike.
    """
    k = min(settings.k, len(text_features) - 1)
    similarity, _ = exact((text_features,), text_features, k + 1, run.compute.device, run.progress)
    return scored(pairs["id"], similarity[:, 1:].mean(axis=1))


CAPTIONS = Detector(
    "captions alike, whatever the images show: the control",
    "ubt.detectors.text:captions",
    takes("score.text_features", "data.pairs"),
    **DETECT,
    needs=(TEXTS, WITH_REFERENCE),
)
