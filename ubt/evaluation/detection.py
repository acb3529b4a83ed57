"""How well scores find the poisons, judged with the ground truth: AUROC, precision, recall."""

import numpy as np
from sklearn.metrics import roc_auc_score


def auroc(score: np.ndarray, poisoned: np.ndarray) -> float | None:
    """Area under the ROC curve of `score` (higher = more suspicious); None where one of the two kinds is absent."""
    poisoned = np.asarray(poisoned, bool)
    return float(roc_auc_score(poisoned, score)) if poisoned.any() and not poisoned.all() else None


def share(poisoned: np.ndarray, among: np.ndarray) -> float | None:
    """Share of `poisoned` among the chosen; None where nothing is chosen."""
    among = np.asarray(among, bool)
    return float(np.asarray(poisoned, bool)[among].mean()) if among.any() else None
