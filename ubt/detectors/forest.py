"""Isolation forest (Liu et al., 2008) over M_bd's image embeddings, scikit-learn's."""

import numpy as np
import pandas as pd

from ubt.core.run import Run, derive_seed
from ubt.detectors.base import DETECT, IMAGES, Detector, DetectSettings, scored


def forest(image_features: np.ndarray, pairs: pd.DataFrame, settings: DetectSettings, run: Run) -> dict:
    """How few random cuts isolate an image."""
    from sklearn.ensemble import IsolationForest

    features = np.asarray(image_features)
    fitted = IsolationForest(n_estimators=settings.trees, random_state=derive_seed(run.seed, "forest") % 2**32).fit(
        features
    )
    return scored(pairs["id"], -fitted.score_samples(features))


FOREST = Detector("isolation forest over the images under M_bd", "ubt.detectors.forest:forest", IMAGES, **DETECT)
