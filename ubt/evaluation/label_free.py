"""A threshold on the overfitted similarities of D_susp, and the precision to be expected from it, without any label.

D_susp holds pairs whose captions belong to other images, pairs whose captions are merely loose, and poisons, whose
shortcut the overfitted model reads best. Their similarities are taken for a mixture of three normal distributions,
fitted by expectation-maximisation; the poisons are the one of the highest mean, or the upper two where those lie
together and the lowest lies farther apart (most of D_susp is poisoned), by Ashman's D. A pair's probability of being
poisoned is its posterior, and the precision of a set is the mean posterior of its members. It supposes that the model
*is* poisoned: the verdict (V-E) comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ubt.core.text import percent

KINDS, FEWEST, MOST = 3, 30, 20_000
RARE = (0.5, 0.9, 0.98, 0.995)
"""Quantiles above which the poisons are supposed to begin with, for k-means, which EM starts from otherwise, misses a
few among many.
"""
TOGETHER = 2.5
"""Ashman's D below which the upper two may be one population."""
_GRID = np.linspace(-1, 1, 2001)


@dataclass(frozen=True)
class Mixture:
    """The populations as they were found.

    Args:
        means, deviations, shares: of each, lowest mean first; those from `first` on are the poisons'. posterior:
            probability of being poisoned (2001,) at similarities from -1 to 1. threshold: the least similarity at which
            that is at least one half; more than 1 if none is.
    """

    means: np.ndarray
    deviations: np.ndarray
    shares: np.ndarray
    first: int
    posterior: np.ndarray
    threshold: float

    def probability(self, similarity: np.ndarray) -> np.ndarray:
        """Probability (n,) that pairs of D_susp of these similarities are poisoned; 0 where there is no score."""
        return np.interp(np.nan_to_num(np.asarray(similarity, float), nan=-2), _GRID, self.posterior, left=0)

    def precision(self, similarity: np.ndarray) -> float | None:
        """The precision to be expected of flagging these pairs; None of none."""
        return float(self.probability(similarity).mean()) if len(similarity) else None


def estimated(found: Mixture, known: Mapping[str, Any], mask: np.ndarray) -> str:
    """The precision to be expected of some pairs (n,) of a case, in words; beyond D_susp, on which the populations were
    found, there is none.
    """
    if (mask & ~known["suspicious"]).any():
        return "not estimated"
    return percent(found.precision(known["similarity_overfit"][mask]))


def fit(similarity: np.ndarray) -> Mixture | None:
    """Find the populations in the overfitted similarities (n,) of D_susp; None where fewer than 30 differ.

    >>> r = np.random.default_rng(0)
    >>> found = fit(np.concatenate([r.normal(0.2, 0.1, 300), r.normal(0.5, 0.05, 100), r.normal(0.85, 0.03, 200)]))
    >>> round(found.threshold, 1), np.round(found.probability(np.array([0.1, 0.5, 0.9])), 2).tolist()
    (0.7, [0.0, 0.0, 1.0])
    """
    values = np.asarray(similarity, float)
    values = values[np.isfinite(values)]
    if len(np.unique(values)) < FEWEST:
        return None
    some = values if len(values) <= MOST else np.random.default_rng(0).choice(values, MOST, replace=False)
    made = max(_fits(some), key=lambda model: model.lower_bound_)
    order = np.argsort(made.means_[:, 0])
    means, deviations = made.means_[order, 0], np.sqrt(made.covariances_[order, 0, 0])
    apart = np.diff(means) * np.sqrt(2 / (deviations[1:] ** 2 + deviations[:-1] ** 2))
    first = KINDS - 1 if apart[-1] >= TOGETHER else 1 + int(apart.argmax())
    posterior = made.predict_proba(_GRID[:, None])[:, order[first:]].sum(axis=1)
    posterior = np.maximum.accumulate(np.where(means[first - 1] > _GRID, 0, posterior))
    probable = _GRID[posterior >= 0.5]
    return Mixture(
        means, deviations, made.weights_[order], first, posterior, float(probable[0]) if len(probable) else 1.01
    )


def _fits(values: np.ndarray):
    from sklearn.mixture import GaussianMixture

    yield GaussianMixture(KINDS, n_init=3, random_state=0, reg_covar=1e-5).fit(values[:, None])
    for top in RARE:
        part = np.digitize(values, np.quantile(values, [top / 2, top], method="nearest"))
        parts = [values[part == i] for i in range(KINDS)]
        if all(map(len, parts)):
            start = {
                "means_init": np.array([[p.mean()] for p in parts]),
                "weights_init": np.array([len(p) / len(values) for p in parts]),
                "precisions_init": np.array([[[1 / (p.var() + 1e-5)]] for p in parts]),
            }
            yield GaussianMixture(KINDS, random_state=0, reg_covar=1e-5, **start).fit(values[:, None])
