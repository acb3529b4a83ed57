"""Two cases in one figure are told apart without colour, and hold the counts they were given."""

import numpy as np
import pandas as pd

from ubt.figures import two_cases
from ubt.figures.similarity import binned, counted


def test_histograms_hold_every_pair_of_both_and_differ_in_their_lines():
    r = np.random.default_rng(0)
    a, b = r.normal(0.3, 0.1, 400), r.normal(0.5, 0.05, 300)
    poisoned = np.arange(400) < 40
    figure = two_cases.histograms(((a, poisoned), (b, None)))
    assert [t.name for t in figure.data] == ["A: clean (360)", "A: poisoned (40)", "B: pairs (300)"]
    assert [t.line.dash for t in figure.data] == ["solid", "solid", "dash"]
    assert [t.fill for t in figure.data] == ["tozeroy", "tozeroy", None]
    for trace, values in zip(figure.data, (a[~poisoned], a[poisoned], b), strict=True):
        assert sum(trace.customdata) == len(values)
        assert list(trace.customdata[1:-1]) == list(np.trim_zeros(counted(binned(values))))
    assert figure.layout.yaxis.range[1] > max(max(t.y) for t in figure.data)


def test_a_case_without_a_score_is_an_empty_line():
    figure = two_cases.histograms(((np.full(5, np.nan), None), (np.array([0.1]), None)))
    assert len(figure.data[0].x) == 0
    assert sum(figure.data[1].customdata) == 1


def test_curves_of_one_or_both():
    frame = pd.DataFrame({"step": [0, 10], "ca": [98.0, 97.0], "asr": [0.0, 99.0], "similarity": [0.1, 0.2]})
    figure = two_cases.curves({"A": frame, "B": frame.drop(columns="asr")})
    assert [t.name for t in figure.data] == ["A: CA", "A: ASR", "B: CA"]
    assert figure.data[0].line.dash != figure.data[2].line.dash
    assert figure.data[0].marker.symbol != figure.data[2].marker.symbol
    assert list(figure.data[1].y) == [0.0, 99.0]
