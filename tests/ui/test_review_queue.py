"""What the server makes of what a browser sends in review, without a browser."""

import pyarrow as pa

from ubt.pairs.annotations import Review
from ubt.pairs.table import PairTable
from ubt.ui.review_queue import answer


def test_what_is_no_decision_is_refused_by_its_number_and_the_others_are_done(tmp_path):
    review = Review(tmp_path / "review.sqlite")
    table = PairTable(pa.array(["a", "b"]), pa.array(["x", "y"]))
    wrong = [
        {"number": 2, "do": "label", "pair": ["a"], "label": "clean"},
        {"number": 3, "do": "label", "pair": "a\ud800", "label": "clean"},
        {"number": 4, "do": "note", "pair": "a", "note": 5},
        {"number": 5, "do": "note", "pair": "a", "note": "x\ud800"},
        {"number": 6, "do": "undo", "of": "1"},
        {"number": 7, "do": "label", "pair": "a", "more": 1},
        {"number": 8, "do": "label", "pair": "none", "label": "clean"},
        {"number": 9},
    ]
    nameless = [None, "x", {}, {"number": True, "do": "undo"}, {"number": "1", "do": "undo"}]
    good = [{"number": n, "do": "label", "pair": p, "label": "clean"} for n, p in ((1, "a"), (10, "b"))]
    boxes = {
        "one": [good[0], *wrong, *nameless, good[1]],
        "two": [{"number": 1, "do": "note", "pair": "a", "note": "n"}],
    }
    done = answer(review, table, "ann", {"attempt": "one:1", "boxes": boxes})
    assert (done.failed, done.acks) == ("", {"one": 10, "two": 1})
    assert sorted((page, n) for page, n, _ in done.refused) == [("one", n) for n in range(2, 10)]
    labels = review.labels()
    assert labels[["id", "label", "note"]].values.tolist() == [["a", "clean", "n"], ["b", "clean", ""]]
