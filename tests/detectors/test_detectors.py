"""Detectors against scikit-learn and formulas written out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from ubt.core.errors import UbtError
from ubt.core.run import Run
from ubt.detectors import DETECTORS, density, forest, loss, similarity, text
from ubt.detectors.base import DetectSettings, scored

N, K = 200, 6
SETTINGS = DetectSettings(k=K, gallery=N)
DENSITY = (density.k_distance, density.slof, density.dao)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((N, 8)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"p{i}" for i in range(N)]})


@pytest.fixture(scope="module")
def near(features) -> tuple[np.ndarray, np.ndarray]:
    return NearestNeighbors(n_neighbors=K).fit(features.astype(float)).kneighbors()


def score(found: dict) -> np.ndarray:
    assert list(found["scores"].columns) == ["id", "score"]
    return found["scores"]["score"].to_numpy()


def test_k_distance_is_scikit_learns(features, pairs, near):
    np.testing.assert_allclose(score(density.k_distance(features, pairs, SETTINGS, Run())), near[0][:, -1], atol=1e-5)


def test_slof_is_the_mean_ratio_of_k_distances(features, pairs, near):
    distance, rows = near
    expected = [np.mean([distance[i, -1] / distance[j, -1] for j in rows[i]]) for i in range(N)]
    np.testing.assert_allclose(score(density.slof(features, pairs, SETTINGS, Run())), expected, rtol=1e-4)


def test_dao_weighs_each_ratio_by_its_neighbours_dimension(features, pairs, near):
    distance, rows = near
    dimension = [-1 / np.mean([np.log(d / distance[i, -1]) for d in distance[i]]) for i in range(N)]
    expected = [np.mean([(distance[i, -1] / distance[j, -1]) ** dimension[j] for j in rows[i]]) for i in range(N)]
    np.testing.assert_allclose(score(density.dao(features, pairs, SETTINGS, Run())), expected, rtol=1e-3)


def crowd(features: np.ndarray, twins: int) -> np.ndarray:
    """Images close to one, so many of them the same, and one, the last, far from all."""
    near = np.tile(features[:1], (N, 1)) + 0.02 * features
    near[:twins], near[-1] = near[0], -features[0]
    return near / np.linalg.norm(near, axis=1, keepdims=True)


@pytest.mark.parametrize("detect", DENSITY)
def test_an_outlier_comes_first(features, pairs, detect):
    assert score(detect(crowd(features, K), pairs, SETTINGS, Run())).argmax() == N - 1


def test_twins_are_no_trouble(features, pairs):
    """DAO's exponents explode where all neighbours are twins, so that only the others keep the order."""
    found = {d: score(d(crowd(features, 3 * K), pairs, SETTINGS, Run())) for d in DENSITY}
    assert all(np.isfinite(s).all() for s in found.values())
    assert found[density.k_distance].argmax() == found[density.slof].argmax() == N - 1


def test_neighbours_stay_within_their_part_of_d(features):
    whole = density.neighbourhood(features, SETTINGS, Run(seed=1))
    parts = density.neighbourhood(features, DetectSettings(k=K, gallery=50), Run(seed=1))
    assert (parts.radius >= whole.radius - 1e-6).all()
    assert parts.radius.mean() > whole.radius.mean()
    assert not (parts.rows == np.arange(N)[:, None]).any()
    again = density.neighbourhood(features, DetectSettings(k=K, gallery=50), Run(seed=1))
    assert (again.rows == parts.rows).all()


def test_the_forest_is_scikit_learns(features, pairs):
    found = score(forest.forest(features, pairs, DetectSettings(trees=10), Run(seed=3)))
    from ubt.core.run import derive_seed

    expected = (
        -IsolationForest(n_estimators=10, random_state=derive_seed(3, "forest") % 2**32)
        .fit(features)
        .score_samples(features)
    )
    np.testing.assert_allclose(found, expected)


def test_captions_alike_come_first(features, pairs):
    own = features.copy()
    own[10:20] = own[10]
    found = score(text.captions(own, pairs, DetectSettings(k=5), Run()))
    assert set(np.argsort(-found)[:10]) == set(range(10, 20))


def test_similarities_are_read_the_way_they_are_suspicious(pairs):
    value = np.linspace(-0.5, 0.9, N)
    frame = pd.DataFrame({"id": pairs["id"], "similarity": value})
    split = pd.DataFrame({"id": pairs["id"], "rank": np.arange(1, N + 1), "suspicious": np.arange(N) < 20})
    assert score(similarity.reference(frame, Run())).argmax() == 0
    assert score(similarity.poisoned(frame, Run())).argmax() == N - 1
    order = np.argsort(-score(similarity.overfit(frame, split, Run())))
    assert order.tolist() == [*range(19, -1, -1), *range(20, N)]
    assert score(loss.early_loss(pd.DataFrame({"id": pairs["id"], "loss": value}), Run())).argmax() == 0


def test_what_is_no_score_is_refused(pairs):
    with pytest.raises(UbtError, match="expected a finite score for each of 200 pairs"):
        scored(pairs["id"], np.full(N, np.nan))
    with pytest.raises(UbtError, match="expected a finite score"):
        scored(pairs["id"], np.zeros(3))


def test_no_detector_is_handed_the_truth():
    for name, detector in DETECTORS.items():
        stage = detector.stage(name)
        assert stage.role == "defender"
        assert not any(source.startswith(("attack.", "test.")) for source in stage.inputs.values())
