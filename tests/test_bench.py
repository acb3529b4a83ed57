from leaks import leak

from ubt.bench.models import compare, fresh_peak_mb
from ubt.config import Compute


def test_bench_measures_both_sides_in_one_run():
    result = compare(Compute("cpu", "fp32"), steps=2, batch=16, rounds=1)
    for name in ("train", "encode"):
        r = result[name]
        assert r["ours"] > 0
        assert r["bare"] > 0
        assert 0 < r["peak_share"] < 1.5
    assert result["draw"] > 0
    assert result["memory"]["4,000"] < result["memory"]["1,000"] + 24
    assert all(result["attribution"][name] > 0 for name in ("plain", "last", "first"))


def test_the_memory_that_is_measured_would_show_a_leak():
    assert fresh_peak_mb("cpu", 200, leak) > 150
