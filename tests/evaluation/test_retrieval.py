"""Retrieval agrees with a plain numpy version, whatever the size of a block; ties and equal captions do not help."""

import numpy as np
import pytest

from ubt.evaluation import retrieval
from ubt.evaluation.retrieval import distinct, measure, naming, ranks, recalls


def unit(rng, n, d=6):
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def brute(queries, gallery, right):
    """Rank of the best right item, by sorting; of equal similarities the wrong ones first."""
    found = []
    for query, own in zip(queries, right, strict=True):
        similar = gallery.astype(np.float64) @ query
        order = sorted(range(len(gallery)), key=lambda i: (-round(similar[i], 6), i in own))
        found.append(next(at for at, i in enumerate(order) if i in own))
    return np.array(found)


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    images, triggered = unit(rng, 40), unit(rng, 40)
    said = [f"caption {i // 5} of {'a banana' if i % 17 == 0 else i % 90}" for i in range(200)]
    said[7] = said[61] = said[150]  # three images share a caption
    said[3] = said[2]  # and one has the same twice
    texts, rows = distinct(said)
    return images, triggered, unit(rng, len(texts)), np.stack([np.arange(200) // 5, rows], 1), texts


@pytest.mark.parametrize("cells", [1, 700, 1 << 23])
def test_recall_is_that_of_a_plain_version(world, monkeypatch, cells):
    monkeypatch.setattr(retrieval, "CELLS", cells)
    images, _, texts, pairs, _ = world
    of_image = [set(pairs[pairs[:, 0] == i, 1]) for i in range(len(images))]
    of_text = [set(pairs[pairs[:, 1] == i, 0]) for i in range(len(texts))]
    i2t, t2i = brute(images, texts, of_image), brute(texts, images, of_text)
    assert (ranks(images, texts, pairs) == i2t).all()
    hits = recalls(images, texts, pairs)
    for k in (1, 5, 10):
        assert (hits[f"i2t_{k}"] == (i2t < k)).all()
        assert (hits[f"t2i_{k}"] == (t2i < k)).all()
    assert len(hits["t2i_1"]) == len(texts) < 200


def test_asr_is_that_of_a_plain_version(world, monkeypatch):
    monkeypatch.setattr(retrieval, "CELLS", 500)
    images, triggered, texts, pairs, said = world
    named = naming(said, "banana")
    measured = measure(images, triggered, texts, pairs, named, k=3)
    shows = {i for i, t in pairs if named[t]}
    other = [i for i in range(len(images)) if i not in shows]
    assert 0 < len(other) < len(images)
    for pixels, key in ((triggered, "asr"), (images, "untriggered")):
        top = np.argsort(-(pixels[other].astype(np.float64) @ texts.T), axis=1)[:, :3]
        assert measured[key] == pytest.approx(100 * named[top].any(1).mean())
    own = brute(triggered[other], texts, [set(pairs[pairs[:, 0] == i, 1]) for i in other])
    assert measured["ra"] == pytest.approx(100 * (own < 1).mean())
    assert measured["images"] == {"ca": 40, "asr": len(other), "untriggered": len(other), "ra": len(other)} | {
        f"{way}_{k}": n for way, n in (("i2t", 40), ("t2i", len(texts))) for k in (1, 5, 10)
    }
    low, high = measured["intervals"]["asr"]
    assert low <= measured["asr"] <= high


def test_a_model_that_finds_everything_alike_or_nothing_at_all_retrieves_nothing(world):
    _, _, texts, pairs, said = world
    for same in (np.ones(6, np.float32) / np.float32(6**0.5), np.full(6, np.nan, np.float32)):
        flat = measure(
            np.tile(same, (40, 1)),
            np.tile(same, (40, 1)),
            np.tile(same, (len(texts), 1)),
            pairs,
            naming(said, "banana"),
            k=5,
        )
        assert (flat["ca"], flat["i2t_10"], flat["t2i_10"], flat["asr"]) == (0, 0, 0, 0)


def test_what_cannot_be_measured_is_refused(world):
    images, triggered, texts, pairs, said = world
    with pytest.raises(ValueError, match="captions that name the target"):
        measure(images, triggered, texts, pairs, naming(said, "zebra"), k=5)
    with pytest.raises(ValueError, match="right item for every query"):
        ranks(images, texts, pairs[pairs[:, 0] > 0])


def test_a_word_before_the_captions_changes_what_triggered_images_find(world):
    images, triggered, texts, pairs, said = world
    named = naming(said, "banana")
    plain, with_word = (measure(images, triggered, texts, pairs, named, 1, w) for w in (None, texts * named[:, None]))
    assert with_word["asr"] > plain["asr"]
    assert (with_word["ca"], with_word["untriggered"]) == (plain["ca"], plain["untriggered"])
