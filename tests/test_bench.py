from ubt.bench import compare
from ubt.config import Compute


def test_bench_measures_both_sides_in_one_run():
    result = compare(Compute("cpu", "fp32"), steps=2, batch=16, rounds=1)
    for name in ("train", "encode"):
        r = result[name]
        assert r["ours"] > 0
        assert r["bare"] > 0
        assert 0 < r["peak_share"] < 1.5
    assert result["draw"] > 0
    assert all(result["attribution"][name] > 0 for name in ("plain", "last", "first"))
