"""Maps of clustered features: neighbourhoods kept, models laid over each other, the rest placed, broken pairs left
out.
"""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import procrustes
from sklearn.manifold import trustworthiness
from sklearn.metrics import adjusted_rand_score

from ubt.core.errors import BadInput, Cancelled
from ubt.core.run import Run
from ubt.pairs import projection
from ubt.pairs.neighbors import Embedding
from ubt.pairs.projection import MapSettings, project

N = 400
BROKEN = 7
KEEP = np.array([0, 3, 399])
SETTINGS = MapSettings(landmarks=300)
LABEL = np.arange(N) % 4


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def models() -> dict[str, Embedding]:
    random = np.random.default_rng(0)
    own = random.standard_normal((4, 16))[LABEL] + 0.3 * random.standard_normal((N, 16))
    features = {
        name: unit(own + 0.05 * random.standard_normal((N, 16))) for name in ("poisoned", "overfit", "purified")
    }
    features["purified"][BROKEN] = np.nan
    return {name: Embedding(x) for name, x in features.items()}


@pytest.fixture(scope="module")
def maps(models) -> dict:
    return project(models, "image", SETTINGS, Run(), keep=KEEP)


def test_neighbourhoods_are_kept_and_clusters_found(models, maps):
    for name, embedding in models.items():
        xy, rows = maps[f"xy_{name}"], np.setdiff1d(np.arange(N), BROKEN)
        assert xy.dtype == np.float32 and xy.shape == (N, 2)
        assert trustworthiness(embedding.images[rows], xy[rows], n_neighbors=10) > 0.85
    assert maps["cluster"].dtype == np.int16 and adjusted_rand_score(LABEL, maps["cluster"]) > 0.95


def test_the_sample_holds_what_has_to_be_kept_and_the_rest_stands_in_its_cluster(maps):
    landmark, xy = maps["landmark"], maps["xy_poisoned"]
    assert landmark.sum() == 300 == maps["about"]["landmarks"] and landmark[KEEP].all()
    centres = np.stack([xy[landmark & (c == LABEL)].mean(axis=0) for c in range(4)])
    rest = np.flatnonzero(~landmark)
    nearest = np.argmin(np.linalg.norm(xy[rest, None] - centres, axis=2), axis=1)
    assert (nearest == LABEL[rest])[rest != BROKEN].all()


def test_a_pair_broken_in_one_model_is_missing_from_that_map_alone(maps):
    assert not maps["landmark"][BROKEN]
    assert np.isnan(maps["xy_purified"][BROKEN]).all() and np.isfinite(maps["xy_poisoned"][BROKEN]).all()
    assert np.isfinite(maps["xy_purified"][np.arange(N) != BROKEN]).all()


def test_the_seed_decides_the_map(models, maps):
    two = {name: models[name] for name in ("poisoned", "purified")}
    again, other = (project(two, "image", SETTINGS.with_values({"seed": seed}), Run(), keep=KEEP) for seed in (0, 1))
    assert np.array_equal(again["landmark"], maps["landmark"]) and np.array_equal(
        again["xy_poisoned"], maps["xy_poisoned"]
    )
    assert not np.array_equal(other["landmark"], maps["landmark"])


def moved(xy: np.ndarray, onto: np.ndarray) -> float:
    """How far pairs lie from where another map has them, on average, in units of that map's spread."""
    return np.nanmean(np.linalg.norm(xy - onto, axis=1)) / np.sqrt(onto.var(axis=0).sum())


def test_models_are_laid_over_each_other(maps):
    onto, overfit = (maps[f"xy_{name}"][maps["landmark"]] for name in ("poisoned", "overfit"))
    least = procrustes(onto, overfit)[2] * np.square(onto - onto.mean(axis=0)).sum()
    assert np.square(overfit - onto).sum() == pytest.approx(least, rel=1e-3)
    assert maps["about"]["displacement"] == pytest.approx(
        {name: moved(maps[f"xy_{name}"], maps["xy_poisoned"]) for name in ("poisoned", "overfit", "purified")}, rel=0.02
    )


def test_models_laid_over_each_other_move_less_than_separate_maps():
    """On average over maps of data with many clusters, which separate maps arrange in many ways: rounding decides where
    one map puts a cluster.
    """
    followed, separate = [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        own = random.standard_normal((12, 16))[np.arange(240) % 12] + 0.3 * random.standard_normal((240, 16))
        features = [Embedding(unit(own + 0.05 * random.standard_normal((240, 16)))) for _ in range(2)]
        maps = project(dict(zip("ab", features, strict=True)), "image", MapSettings(seed=seed), Run())
        alone = project({"b": features[1]}, "image", MapSettings(seed=seed + 5), Run())["xy_b"]
        followed.append(moved(maps["xy_b"], maps["xy_a"]))
        separate.append(moved(projection.aligned(alone, maps["xy_a"]), maps["xy_a"]))
    assert np.mean(followed) < np.mean(separate)


def test_alignment_undoes_a_similarity_transform():
    onto = np.random.default_rng(3).standard_normal((50, 2))
    mirrored = 3 * onto @ np.array([[0.6, 0.8], [0.8, -0.6]]) + np.array([5, -2])
    np.testing.assert_allclose(projection.aligned(mirrored, onto), onto, atol=1e-9)


def test_a_twin_of_a_landmark_stands_on_it_also_through_an_index(models, monkeypatch):
    features = models["poisoned"].images[:200]
    monkeypatch.setattr(projection, "EXACT_WORK", 0)
    out = project(
        {"only": Embedding(np.concatenate([features, features]))},
        "image",
        MapSettings(landmarks=200),
        Run(),
        keep=np.arange(200),
    )
    assert out["landmark"][:200].all() and not out["landmark"][200:].any()
    np.testing.assert_allclose(out["xy_only"][200:], out["xy_only"][:200], atol=0.01)
    assert np.array_equal(out["cluster"][200:], out["cluster"][:200])


def test_too_many_to_keep_are_sampled(models):
    out = project({"only": models["poisoned"]}, "image", MapSettings(landmarks=5), Run(), keep=np.arange(100, 200))
    rows = np.flatnonzero(out["landmark"])
    assert len(rows) == 5 and rows.min() >= 100 and rows.max() < 200


@pytest.mark.parametrize("n", [4, 9, 10, 12])
@pytest.mark.parametrize("same", [False, True])
def test_few_pairs_and_equal_pairs_get_a_map(n, same):
    x = (
        np.eye(8, dtype=np.float32)[np.zeros(n, int)]
        if same
        else unit(np.random.default_rng(n).standard_normal((n, 8)))
    )
    out = project({"a": Embedding(x), "b": Embedding(x)}, "image", MapSettings(), Run())
    assert np.isfinite(out["xy_a"]).all() and np.isfinite(out["xy_b"]).all() and (out["cluster"] == -1).all()


def test_too_few_pairs_and_models_of_different_pairs_are_refused(models):
    with pytest.raises(BadInput, match="at least 4 pairs without NaN in every model, got 3"):
        project({"a": Embedding(models["poisoned"].images[:3])}, "image", MapSettings(), Run())
    with pytest.raises(BadInput, match="same pairs"):
        project(
            {"a": models["poisoned"], "b": Embedding(models["poisoned"].images[:50])}, "image", MapSettings(), Run()
        )
    with pytest.raises(BadInput, match="one model or more"):
        project({}, "image", MapSettings(), Run())


def test_a_map_in_the_joint_space_is_told_about_and_can_be_cancelled(models):
    both = {name: dataclasses.replace(e, captions=e.images) for name, e in models.items()}
    told = []

    def watch(done, total, figures):
        told.append((done, total))
        if done == 3:
            raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        project(both, "joint", MapSettings(landmarks=60), Run(progress=watch))
    assert told == [(1, 10), (2, 10), (3, 10)]


THREADS = """
import numpy, torch
from ubt.core.run import Run
from ubt.pairs.neighbors import Embedding
from ubt.pairs.projection import MapSettings, project

features = numpy.random.default_rng(0).standard_normal((20, 4)).astype("float32")
project({"overfit": Embedding(features)}, "image", MapSettings(), Run())
print(torch.get_num_threads())
"""


def test_a_map_leaves_the_number_of_threads_as_it_was():
    """In a fresh process: numba sets it where it first starts its own threads, and training's bits depend on it."""
    run = subprocess.run(
        [sys.executable, "-c", THREADS],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["1"]
