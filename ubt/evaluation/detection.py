"""How well scores find the poisons, judged with the ground truth: AUROC, precision, recall, and what thresholds
catch.
"""

from dataclasses import dataclass

import numpy as np


def auroc(score: np.ndarray, poisoned: np.ndarray) -> float | None:
    """Area under the ROC curve of `score` (n,), higher = more suspicious, against `poisoned` (n,); None where one of
    the two kinds is absent.
    """
    from sklearn.metrics import roc_auc_score

    poisoned = np.asarray(poisoned, bool)
    return float(roc_auc_score(poisoned, score)) if poisoned.any() and not poisoned.all() else None


def ranking(score: np.ndarray, poisoned: np.ndarray, k: int, size: int) -> dict[str, float]:
    """How well a suspicion score (n,), higher = more suspicious, puts the poisons first, in percent; of equal scores
    the later pair comes later. Empty where one of the two kinds is absent.

    Returns:
        `auroc`; `ap`, average precision; `fpr`, the share of clean pairs above the last poison (at 100 % true
        positives); `precision` among the first `k`; `recall` of the poisons within the first `size`.
    """
    from sklearn.metrics import average_precision_score

    poisoned = np.asarray(poisoned, bool)
    if not poisoned.any() or poisoned.all():
        return {}
    order = np.argsort(-np.asarray(score), kind="stable")
    found = {
        "auroc": auroc(score, poisoned),
        "ap": average_precision_score(poisoned, score),
        "fpr": (score[~poisoned] >= score[poisoned].min()).mean(),
        "precision": poisoned[order[:k]].mean(),
        "recall": poisoned[order[:size]].sum() / poisoned.sum(),
    }
    return {name: 100 * float(value) for name, value in found.items()}


def share(poisoned: np.ndarray, among: np.ndarray) -> float | None:
    """Share of `poisoned` (n,) among the chosen (n,); None where nothing is chosen."""
    among = np.asarray(among, bool)
    return float(np.asarray(poisoned, bool)[among].mean()) if among.any() else None


def otsu(score: np.ndarray) -> float:
    """The threshold that parts scores (n,) into two groups of least variance (Otsu 1979); needs no labels.

    >>> otsu(np.array([0.1, 0.2, 0.3, 0.8, 0.9]))
    0.55
    """
    s = np.sort(np.asarray(score, float))
    n, below = np.arange(1, len(s)), np.cumsum(s)[:-1]
    between = n * (len(s) - n) * (below / n - (s.sum() - below) / (len(s) - n)) ** 2
    at = int(between.argmax()) if len(between) else 0
    return float((s[at] + s[min(at + 1, len(s) - 1)]) / 2)


@dataclass(frozen=True)
class Caught:
    """What a fraction, a threshold and a k catch.

    Args:
        suspicious: D_susp (n,). cut: the highest reference similarity in it. ranked: rows of D_susp, most similar under
            the overfitted model first; empty where there is none yet. chosen: name to mask (n,) of each set.
    """

    suspicious: np.ndarray
    cut: float
    ranked: np.ndarray
    chosen: dict[str, np.ndarray]

    def counts(self, poisoned: np.ndarray) -> dict[str, dict[str, float | None]]:
        """Of each set: its `pairs`, how many are `poisoned`, `precision`, and `recall` of all poisons of D."""
        return {
            name: {
                "pairs": int(m.sum()),
                "poisoned": int((m & poisoned).sum()),
                "precision": share(poisoned, m),
                "recall": share(m, poisoned),
            }
            for name, m in self.chosen.items()
        }


def caught(
    reference: np.ndarray,
    overfit: np.ndarray | None,
    size: int,
    threshold: float,
    k: int,
    topk: np.ndarray | None = None,
    order: np.ndarray | None = None,
    overfit_order: np.ndarray | None = None,
) -> Caught:
    """Cut D as `ubt.defenses.token_unlearning.split` and `ubt.defenses.token_unlearning.select` would, from cached
    scores.

    Args:
        reference, overfit: cosine similarities (n,); None where nothing was overfitted yet.
        size: pairs in D_susp. threshold: overfitted similarity from which a pair of D_susp is flagged. k: size of
        D_topk.
        topk: rows of D_topk as `ubt.defenses.token_unlearning.select` chose them, which may be of several groups; None
        takes Eq. 4's first k.
        order, overfit_order: rows by reference, lowest first, and by overfit, highest first, if they were put in order
            before.
    """
    order = np.argsort(reference, kind="stable") if order is None else order
    suspicious = np.zeros(len(reference), bool)
    suspicious[order[:size]] = True
    chosen, ranked = {"D_susp": suspicious}, np.array([], int)
    if overfit is not None:
        overfit_order = np.argsort(-overfit, kind="stable") if overfit_order is None else overfit_order
        ranked = overfit_order[suspicious[overfit_order]]
        first = np.zeros(len(reference), bool)
        first[ranked[:k] if topk is None else topk] = True
        chosen |= {"flagged": suspicious & (overfit >= threshold), "D_topk": first}
    return Caught(suspicious, float(reference[order[size - 1]]), ranked, chosen)


def label_free(overfit: np.ndarray, suspicious: np.ndarray, poisoned: np.ndarray) -> dict[str, float | None] | None:
    """The threshold that `ubt.evaluation.label_free` finds without labels, judged: `threshold`, pairs `flagged`,
    `estimated` precision, true `precision`, and `recall` of the poisons of D_susp; None where no threshold is found.

    Args:
        overfit: similarities under the overfitted model (n,). suspicious, poisoned: (n,).
    """
    from ubt.evaluation.label_free import fit

    found = fit(overfit[suspicious])
    if found is None:
        return None
    flagged = suspicious & (overfit >= found.threshold)
    return {
        "threshold": found.threshold,
        "flagged": int(flagged.sum()),
        "estimated": found.precision(overfit[flagged]),
        "precision": share(poisoned, flagged),
        "recall": share(flagged, poisoned & suspicious),
    }


def curves(score: np.ndarray, poisoned: np.ndarray, points: int = 400) -> dict[str, dict[str, np.ndarray]]:
    """ROC and precision-recall of a score (n,), higher = more suspicious, thinned to about `points` each, (points,);
    empty where one of the two kinds is absent.

    Returns:
        `roc`: `x` false-positive rate, `y` true-positive rate, `at` the threshold; `pr`: `x` recall, `y` precision,
            `at`.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    known = np.isfinite(score)
    score, poisoned = np.asarray(score)[known], np.asarray(poisoned, bool)[known]
    if not poisoned.any() or poisoned.all():
        return {}
    fpr, tpr, at = roc_curve(poisoned, score)
    precision, recall, cut = precision_recall_curve(poisoned, score)
    found = {"roc": (fpr, tpr, at), "pr": (recall[:-1], precision[:-1], cut)}
    return {
        name: {axis: v[_thin(*xy[:2], points)] for axis, v in zip(("x", "y", "at"), xy, strict=True)}
        for name, xy in found.items()
    }


def _thin(x: np.ndarray, y: np.ndarray, points: int) -> np.ndarray:
    """Positions spread evenly along a curve's length."""
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    at = np.searchsorted(along, np.linspace(0, along[-1], points))
    return np.unique(np.concatenate([[0], np.minimum(at, len(x) - 1), [len(x) - 1]]))
