"""The mixture against the populations it was drawn from."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import precision_score

from ubt.evaluation.label_free import MOST, fit

DRAWN = ((0.2, 0.1), (0.5, 0.05), (0.85, 0.03))


def draw(*counts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of three populations, and which are of the highest."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(*of, n) for of, n in zip(DRAWN, counts, strict=True)]), np.repeat(
        [False, False, True], counts
    )


def test_the_populations_that_were_drawn_are_found_again():
    counts = np.array([3000, 1000, 2000])
    found = fit(draw(*counts)[0])
    np.testing.assert_allclose(found.means, [m for m, _ in DRAWN], atol=0.01)
    np.testing.assert_allclose(found.deviations, [d for _, d in DRAWN], atol=0.01)
    np.testing.assert_allclose(found.shares, counts / counts.sum(), atol=0.02)
    grid = np.linspace(-1, 1, 2001)
    density = np.array([n * norm.pdf(grid, *of) for n, of in zip(counts, DRAWN, strict=True)])
    crossing = grid[(density[2] >= density[:2].sum(axis=0)) & (grid > 0.5)].min()
    assert found.threshold == pytest.approx(crossing, abs=0.02)


@pytest.mark.parametrize("counts", [(300, 100, 200), (2000, 600, 60), (2000, 600, 30), (5000, 0, 50)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_precision_to_be_expected_is_the_true_one_even_where_poisons_are_few(counts, seed):
    values, poisoned = draw(*counts, seed=seed)
    found = fit(values)
    for threshold in (found.threshold, 0.6, 0.7, 0.8):
        chosen = values >= threshold
        assert found.precision(values[chosen]) == pytest.approx(precision_score(poisoned, chosen), abs=0.06)


@pytest.mark.parametrize("seed", range(5))
def test_more_similar_is_never_less_probable(seed):
    random = np.random.default_rng(seed)
    values = np.concatenate(
        [random.normal(random.uniform(0, 0.8), random.uniform(0.01, 0.3), random.integers(30, 300)) for _ in range(3)]
    )
    found = fit(values)
    asked = found.probability(np.linspace(-1.2, 1.2, 500))
    assert (np.diff(asked) >= 0).all()
    assert asked[0] == 0
    assert asked[-1] <= 1
    assert (found.probability(np.array([found.threshold - 0.002, found.threshold + 0.002])) >= 0.5).tolist() == [
        False,
        found.threshold < 1,
    ]


def test_pairs_without_a_score_count_for_nothing():
    values = draw(300, 100, 200)[0]
    with_gaps = np.concatenate([values, np.full(50, np.nan), [np.inf, -np.inf]])
    found = fit(with_gaps)
    np.testing.assert_array_equal(found.posterior, fit(values).posterior)
    assert found.probability(np.array([np.nan, -np.inf])).tolist() == [0, 0]
    assert found.precision(np.array([])) is None


@pytest.mark.parametrize(
    "values",
    [np.full(500, 0.3), np.arange(29) / 29, np.full(40, np.nan), np.array([]), np.repeat(np.arange(29) / 29, 50)],
)
def test_where_fewer_than_30_differ_nothing_is_claimed(values):
    assert fit(values) is None


def test_ties_and_many_values_are_fitted_alike():
    values = draw(3 * MOST, MOST, 2 * MOST)[0]
    found, rounded = fit(values), fit(values.round(2))
    assert found.threshold == fit(values).threshold
    assert rounded.threshold == pytest.approx(found.threshold, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_where_most_is_poisoned_its_own_two_halves_are_not_taken_for_clean_and_poisoned(seed):
    """Poisons with a tail to the left, which two normal distributions fit better than one."""
    random = np.random.default_rng(seed)
    poisons = np.concatenate([random.normal(0.72, 0.03, 200), random.normal(0.76, 0.012, 150)])
    values, poisoned = np.concatenate([random.normal(0.48, 0.07, 250), poisons]), np.repeat([False, True], [250, 350])
    found = fit(values)
    chosen = values >= found.threshold
    assert found.first == 1
    assert chosen[poisoned].mean() > 0.95
    assert found.precision(values[chosen]) == pytest.approx(precision_score(poisoned, chosen), abs=0.05)
