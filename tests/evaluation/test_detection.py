"""Curves against scikit-learn's full ones; what thresholds catch, counted by sets."""

import numpy as np
import pytest
from sklearn.metrics import auc, precision_score, recall_score, roc_auc_score

from ubt.evaluation.detection import caught, curves, ranking


def drawn(n: int, rate: float, apart: float, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n)
    poisoned = random.random(n) < rate
    score = random.normal(size=n) + apart * poisoned
    return score if digits is None else score.round(digits), poisoned


@pytest.mark.parametrize(
    "case",
    [
        (100_000, 0.003, 3.0),
        (5000, 0.05, 1.0),
        (5000, 0.05, 1.0, 1),
        (20_000, 0.3, 0.5),
        (2000, 0.5, 0.0, 0),
        (40, 0.2, 1.0),
    ],
)
def test_thinned_curves_are_the_full_ones(case):
    score, poisoned = drawn(*case)
    found = curves(score, poisoned)
    roc, pr = found["roc"], found["pr"]
    assert len(roc["x"]) <= 403
    assert len(pr["x"]) <= 403
    assert auc(roc["x"], roc["y"]) == pytest.approx(roc_auc_score(poisoned, score), abs=1e-3)
    assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
    assert (pr["x"][0], pr["y"][0]) == (1, pytest.approx(poisoned.mean()))
    assert pr["at"][-1] == score.max()
    for i in np.linspace(0, len(pr["at"]) - 1, 7).astype(int):
        chosen = score >= pr["at"][i]
        assert pr["x"][i] == pytest.approx(recall_score(poisoned, chosen))
        assert pr["y"][i] == pytest.approx(precision_score(poisoned, chosen))
    for i in np.linspace(1, len(roc["at"]) - 1, 7).astype(int):
        chosen = score >= roc["at"][i]
        assert roc["y"][i] == pytest.approx(chosen[poisoned].mean())
        assert roc["x"][i] == pytest.approx(chosen[~poisoned].mean())


def test_pairs_without_a_score_are_left_out_and_one_kind_alone_has_no_curve():
    score, poisoned = drawn(500, 0.2, 1.0)
    gaps = np.concatenate([[np.nan, np.inf, -np.inf], score])
    found = curves(gaps, np.concatenate([[True, False, True], poisoned]))
    for name, curve in curves(score, poisoned).items():
        for axis, values in curve.items():
            np.testing.assert_array_equal(found[name][axis], values)
    assert curves(score, np.zeros(500, bool)) == curves(score, np.ones(500, bool)) == {}
    assert curves(np.full(2, np.nan), np.array([True, False])) == curves(np.array([]), np.array([], bool)) == {}


def test_few_points_are_asked_for_and_come():
    score, poisoned = drawn(20_000, 0.3, 0.5)
    assert all(len(curve["x"]) <= 23 for curve in curves(score, poisoned, points=20).values())


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    """Reference and overfitted similarities, with ties and gaps."""
    random = np.random.default_rng(3)
    reference, overfit = random.random((2, 2000)).round(2)
    reference[:5] = overfit[3:9] = np.nan
    return reference, overfit


@pytest.mark.parametrize("topk", [None, np.array([4, 1000, 17])])
def test_orders_made_before_change_nothing(scores, topk):
    reference, overfit = scores
    plain = caught(reference, overfit, 300, 0.7, 12, topk)
    ordered = caught(
        reference,
        overfit,
        300,
        0.7,
        12,
        topk,
        np.argsort(reference, kind="stable"),
        np.argsort(-overfit, kind="stable"),
    )
    np.testing.assert_array_equal(plain.ranked, ordered.ranked)
    np.testing.assert_array_equal(plain.suspicious, ordered.suspicious)
    assert plain.cut == ordered.cut
    for name, chosen in plain.chosen.items():
        np.testing.assert_array_equal(chosen, ordered.chosen[name])


def test_what_is_caught_is_what_sorting_by_hand_catches(scores):
    reference, overfit = scores
    poisoned = np.random.default_rng(4).random(2000) < 0.1
    found = caught(reference, overfit, 300, 0.7, 12)
    rows = sorted(range(2000), key=lambda i: (np.isnan(reference[i]), reference[i]))[:300]
    assert set(np.flatnonzero(found.suspicious)) == set(rows)
    assert found.cut == max(reference[rows])
    ranked = sorted(sorted(rows), key=lambda i: (np.isnan(overfit[i]), -overfit[i]))
    assert found.ranked.tolist() == ranked
    assert set(np.flatnonzero(found.chosen["D_topk"])) == set(ranked[:12])
    flagged = {i for i in rows if overfit[i] >= 0.7}
    counts = found.counts(poisoned)["flagged"]
    hits = sum(poisoned[i] for i in flagged)
    assert counts == {
        "pairs": len(flagged),
        "poisoned": hits,
        "precision": hits / len(flagged),
        "recall": hits / poisoned.sum(),
    }
    given = caught(reference, overfit, 300, 0.7, 12, topk=np.array([4, 1000]))
    assert np.flatnonzero(given.chosen["D_topk"]).tolist() == [4, 1000]
    before = caught(reference, None, 300, 0.7, 12)
    assert list(before.chosen) == ["D_susp"]
    assert before.ranked.size == 0


def test_a_ranking_is_what_counting_says():
    score, poisoned = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0.0]), np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0], bool)
    found = ranking(score, poisoned, k=2, size=3)
    assert found["precision"] == 50
    assert found["recall"] == pytest.approx(200 / 3)
    assert found["fpr"] == pytest.approx(400 / 7)
    assert found["ap"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 7) / 3)
    assert found["auroc"] == pytest.approx(100 * (7 + 6 + 3) / 21)
    assert ranking(score, np.zeros(10, bool), 2, 3) == {}
