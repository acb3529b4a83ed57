"""Neighbours against numpy, the index against the exact search, groups against scikit-learn's single linkage."""

import faiss
import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering

from ubt.core.errors import BadInput, Cancelled
from ubt.core.run import Run
from ubt.pairs.neighbors import SPACES, Approximate, Embedding, IndexSettings, build, by_size, exact, finite, groups


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pairs() -> Embedding:
    random = np.random.default_rng(0)
    return Embedding(unit(random.standard_normal((500, 24))), unit(random.standard_normal((500, 16))))


def similarities(pairs: Embedding, space: str) -> np.ndarray:
    image, caption = pairs.images @ pairs.images.T, pairs.captions @ pairs.captions.T
    return {"image": image, "caption": caption, "joint": (image + caption) / 2}[space]


@pytest.mark.parametrize("k", [1, 7, 120])
@pytest.mark.parametrize("space", SPACES)
def test_exact_is_what_numpy_finds_block_by_block(pairs, space, k, monkeypatch):
    monkeypatch.setattr("ubt.pairs.neighbors.BLOCK", 64 * 4 * 24)
    expected = similarities(pairs, space)[:40]
    told = []
    similarity, rows = exact(
        pairs.parts(space), pairs.rows(space, np.arange(40)), k, progress=lambda *at: told.append(at[:2])
    )
    assert similarity.dtype == np.float32 and rows.dtype == np.int64 and (rows[:, 0] == np.arange(40)).all()
    np.testing.assert_allclose(similarity, -np.sort(-expected, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, 1), similarity, atol=1e-5)
    assert len(told) > 5 and told[-1] == (500, 500)


@pytest.mark.parametrize("queries", [3, 200])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_pair_is_nobodys_neighbour_and_has_none(pairs, broken, queries):
    images = pairs.images.copy()
    images[[1, 300], 5] = broken
    one = Embedding(images, pairs.captions)
    assert np.flatnonzero(~finite(one.parts("joint"))).tolist() == [1, 300]
    for space in ("image", "joint"):
        similarity, rows = exact(one.parts(space), one.rows(space, np.arange(queries)), 500)
        good = np.arange(queries) != 1
        assert (rows[1] == -1).all() and np.isnan(similarity[1]).all()
        assert (
            not np.isin(rows[good], [1, 300]).any()
            and (rows[good][:, -2:] == -1).all()
            and np.isnan(similarity[good][:, -2:]).all()
        )
        assert (np.sort(rows[good][:, :-2], axis=1) == np.setdiff1d(np.arange(500), [1, 300])).all()


@pytest.mark.parametrize(
    ("device", "gpus", "k", "there"),
    [("cuda", 1, 7, True), ("cuda", 0, 7, False), ("cuda", 1, 9, False), ("cpu", 1, 7, False)],
)
def test_a_gpu_is_asked_where_there_is_one_and_it_can_answer(pairs, monkeypatch, device, gpus, k, there):
    """By FAISS's own functions, as its GPU package has them; broken pairs never reach it."""
    asked, resources = [], object()

    def knn_gpu(given, queries, block, k, metric):
        asked.append((given is resources, np.isfinite(block).all()))
        return faiss.knn(queries, block, k, metric)

    for name, instead in (("StandardGpuResources", lambda: resources), ("knn_gpu", knn_gpu)):
        monkeypatch.setattr(faiss, name, instead, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus, raising=False)
    monkeypatch.setattr("ubt.pairs.neighbors.GPU_MOST", 8)
    images = pairs.images.copy()
    images[[1, 300], 5] = np.nan
    found = exact((images,), images[:40], k, device)
    own = exact((images,), images[:40], k)
    np.testing.assert_array_equal(found[1], own[1])
    np.testing.assert_allclose(found[0], own[0], atol=1e-6)
    assert asked == [(True, True)] * there


def test_exact_reads_memory_maps_and_cuts_k(tmp_path, pairs):
    np.save(tmp_path / "images.npy", pairs.images[:6])
    one = Embedding(np.load(tmp_path / "images.npy", mmap_mode="r"))
    similarity, rows = exact(one.parts("image"), one.rows("image", np.array([2])), 50)
    assert similarity.shape == (1, 6) and sorted(rows[0]) == list(range(6))
    assert exact(one.parts("image"), one.rows("image", np.array([], int)), 3)[1].shape == (0, 3)


def test_wrong_inputs_are_refused(pairs):
    with pytest.raises(BadInput, match="expected one of image, caption, joint"):
        pairs.parts("text")
    with pytest.raises(BadInput, match="expected caption features, got none"):
        Embedding(pairs.images).parts("joint")
    with pytest.raises(BadInput, match="same pairs"):
        Embedding(pairs.images, pairs.captions[:-1])
    with pytest.raises(BadInput, match=r"\(queries, 40\)"):
        exact(pairs.parts("joint"), pairs.rows("image", np.arange(2)), 3)
    with pytest.raises(BadInput, match="at least 1"):
        exact(pairs.parts("image"), pairs.rows("image", np.arange(2)), 0)
    with pytest.raises(BadInput, match="at least 2 pairs"):
        build((np.full((5, 3), np.nan, np.float32),), IndexSettings(), Run())


@pytest.fixture(scope="module")
def clustered() -> Embedding:
    random = np.random.default_rng(1)
    centres, label = random.standard_normal((40, 32)), random.integers(0, 40, 6000)
    images, captions = (unit(centres[label] + 0.7 * random.standard_normal((6000, 32))) for _ in range(2))
    images[17] = np.nan
    return Embedding(images, captions)


@pytest.mark.parametrize("kind, space", [("ivf", "image"), ("ivf", "joint"), ("hnsw", "image")])
def test_an_index_finds_nearly_all_and_gives_exact_similarities(clustered, kind, space):
    parts, queries = clustered.parts(space), clustered.rows(space, np.arange(5000, 5300))
    result = build(parts, IndexSettings(kind=kind), Run())
    about, index = result["about"], Approximate(result["index"], result["about"], parts)
    assert about["kind"] == kind and about["recall_at_10"] >= 0.95
    assert result["index"].dtype == np.uint8 and about["bytes"] < sum(p.nbytes for p in parts) * (
        0.25 if kind == "ivf" else 2.5
    )
    truth, found = exact(parts, queries, 10), index.search(queries, 10)
    assert np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(truth[1], found[1], strict=True)]) >= 0.94
    assert (found[1] != 17).all()
    vectors = clustered.rows(space, found[1].ravel()).reshape(300, 10, -1)
    np.testing.assert_allclose(found[0], np.einsum("qd,qkd->qk", queries, vectors), atol=1e-5)
    assert (np.diff(found[0], axis=1) <= 0).all()
    broken = index.search(clustered.rows("joint" if space == "joint" else "image", np.array([17])), 3)
    assert (broken[1] == -1).all() and np.isnan(broken[0]).all()


def test_an_index_is_decided_by_the_seed_and_chooses_its_probes(clustered):
    parts = (clustered.captions,)
    first, again, other = (
        build(parts, IndexSettings(approximate_from=100, lists=64, seed=seed), Run()) for seed in (0, 0, 1)
    )
    assert first["about"]["kind"] == "ivf" and first["about"]["lists"] == 64 and 1 <= first["about"]["probes"] < 64
    assert np.array_equal(first["index"], again["index"]) and not np.array_equal(first["index"], other["index"])
    assert (
        build(parts, IndexSettings(kind="ivf", lists=64, probes=1), Run())["about"]["recall_at_10"]
        < first["about"]["recall_at_10"]
    )


def test_a_small_set_is_searched_exactly(pairs):
    parts, queries = pairs.parts("joint"), pairs.rows("joint", np.arange(5))
    result = build(parts, IndexSettings(), Run())
    assert result["about"]["kind"] == "flat" and result["about"]["recall_at_10"] == 1 and not result["index"].size
    found = Approximate(result["index"], result["about"], parts).search(queries, 4)
    np.testing.assert_array_equal(found[1], exact(parts, queries, 4)[1])
    with pytest.raises(BadInput, match="500 pairs"):
        Approximate(result["index"], result["about"], (pairs.images[:9],))


def test_building_can_be_cancelled(clustered):
    def stop(done, total, figures):
        assert done <= total
        if done == 3:
            raise Cancelled("asked to stop")

    with pytest.raises(Cancelled):
        build((clustered.images,), IndexSettings(kind="ivf"), Run(progress=stop))


def test_groups_are_single_linkage_by_size():
    random = np.random.default_rng(2)
    features = unit(np.repeat(random.standard_normal((60, 12)), 10, axis=0) + 0.15 * random.standard_normal((600, 12)))[
        random.permutation(600)
    ]
    label = AgglomerativeClustering(
        n_clusters=None, distance_threshold=1 - 0.95, metric="cosine", linkage="single"
    ).fit_predict(features)
    got = groups(features, 0.95)
    assert np.array_equal(got, by_size(label)) and -1 in got and got.max() > 10
    sizes = np.bincount(got[got >= 0])
    assert (np.diff(sizes) <= 0).all() and sizes.min() > 1


def test_a_broken_pair_is_in_no_group():
    features = np.tile(np.float32([0.6, 0.8]), (5, 1))
    features[1], features[3] = np.nan, np.inf
    assert groups(features).tolist() == [0, -1, 0, -1, 0]
