import timeit

import numpy as np

from ubt import models
from ubt.bench import PAIRS, attribution_cost, compare
from ubt.config import REFERENCE, Compute


def test_bench_measures_both_sides_in_one_run():
    result = compare(Compute("cpu", "fp32"), steps=2, batch=16, rounds=1)
    for name in ("train", "encode"):
        r = result[name]
        assert r["ours"] > 0
        assert r["bare"] > 0
        assert 0 < r["peak_share"] < 1.5
    assert result["draw"] > 0
    assert all(result["attribution"][name] > 0 for name in ("plain", "last", "first"))


def test_attributions_memory_does_not_grow_with_the_pairs():
    """4,000 pairs of 48 px take no more than 1,000 beyond what their scores and maps take and what an allocator keeps."""
    rng = np.random.default_rng(0)
    images, tokens = rng.integers(0, 256, (PAIRS, 48, 48, 3), np.uint8), models.tokenize(["a photo of a banana."] * PAIRS, 24)
    cost = attribution_cost(models.load(REFERENCE), images, tokens, 1, lambda work: timeit.timeit(work, number=1))
    assert cost["peak of four times as many"] < 1.5 * cost["peak"] + 32
