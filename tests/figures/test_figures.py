"""Figures hold the numbers they were given, with titles, units and more than hue to tell populations apart."""

import numpy as np
import pandas as pd

from ubt.cases.catalog import CASE
from ubt.figures import MODELS, attribution, measures, similarity, training


def test_a_histogram_is_each_populations_share_in_percent():
    values = np.concatenate([np.full(30, 0.405), np.full(10, -0.995), np.full(5, 0.805)])
    poisoned = np.arange(45) >= 40
    figure = similarity.histogram(values, poisoned, (0.5, "flagged", "right"))
    clean, poison = figure.data
    assert clean.name == "clean (40)"
    assert poison.name == "poisoned (5)"
    assert np.isclose(sum(clean.y), 100)
    assert np.isclose(sum(poison.y), 100)
    assert clean.y[np.abs(np.array(clean.x) - 0.41).argmin()] == 75
    assert list(figure.layout.xaxis.range) == [-1, 1]
    assert clean.line.dash != poison.line.dash
    assert poison.fillpattern.shape
    assert figure.layout.xaxis.title.text == "cosine similarity"
    assert "%" in figure.layout.yaxis.title.text
    assert figure.layout.shapes[0].x0 == 0.5


def test_histograms_without_truth_without_pairs_and_beyond_one():
    assert [t.name for t in similarity.histogram(np.array([0.2, 1.0001]), None).data] == ["pairs (2)"]
    assert sum(similarity.histogram(np.array([0.2, 1.0001]), None).data[0].customdata) == 2
    assert similarity.histogram(np.array([]), np.array([], bool)).data[0].name == "clean (0)"


def test_bars_and_their_table_hold_the_measures():
    one = {"ca": 90.0, "asr": 5.0, "ra": 60.0, "target_recall": 80.0, "asr_all": 6.0}
    m = {model: one | {"intervals": {k: [v - 1, v + 2] for k, v in one.items()}} for model in MODELS}
    figure = measures.bars(m)
    assert [list(t.y) for t in figure.data] == [[90.0, 5.0, 60.0, 80.0]] * 4
    assert list(figure.data[0].error_y.array) == [2.0] * 4
    assert list(figure.data[0].error_y.arrayminus) == [1.0] * 4
    assert len({t.marker.pattern.shape for t in figure.data}) >= 3
    assert measures.table(m)["ASR"].tolist() == [5.0] * 4


def test_recall_of_a_class_and_its_change():
    before = pd.DataFrame({"label": [0, 0, 1, 1], "clean": [0, 0, 1, 0]})
    after = pd.DataFrame({"label": [0, 0, 1, 1], "clean": [0, 1, 1, 1]})
    frame = measures.recalls({"poisoned": before, "purified": after}, ["cat", "banana"])
    assert frame["poisoned"].tolist() == [100.0, 50.0]
    assert frame["purified change"].tolist() == [-50.0, 50.0]
    assert "banana (target)" in str(measures.class_changes(frame, ("purified",), "banana").data[0].x)


def test_curves_are_of_what_was_seen():
    rows = pd.DataFrame({"step": [0, 1, 2], "asr": [99.0, None, 3.0], "similarity": [None, 0.5, 0.1]})
    figure = training.curves(rows, 10)
    assert {t.name for t in figure.data} == {"ASR, sample", "D_unlearn's similarity"}
    assert {t.name for t in training.curves(rows, 10, "D").data} == {"ASR, sample", "D's similarity"}


def test_what_was_observed_is_kept_and_nobody_reads_it(tiny_case):
    seen = tiny_case.artefacts["poison"]["observed"]
    assert seen["step"].tolist()[0] == 0
    assert seen["step"].tolist()[-1] == 18
    assert seen["asr"].between(0, 100).all()
    assert not [s.name for s in CASE for source in s.inputs.values() if source.endswith(".observed")]


def test_heat_and_outline_are_where_the_relevance_is():
    image, heat = np.full((48, 48, 3), 100, np.uint8), np.zeros((48, 48))
    heat[40:, 40:] = 1
    out = attribution.overlay(image, heat, heat > 0.5, 0.8)
    assert out.shape == (192, 192, 3)
    assert (out[:150, :150] == 100).all()
    assert (out[170:, 170:] != 100).all()
    assert (out[160:162, 165:, :] == 255).all()
    assert (attribution.overlay(image, heat, None, 0.0) == 100).all()
    assert attribution.enlarged(np.zeros((224, 300, 3))).shape == (224, 300, 3)


def test_surviving_words_are_counted_by_caption():
    said = [
        ("a", "a", False),
        ("a", "a", False),
        ("a", "banana", True),
        ("b", "banana", True),
        ("b", "<a href='x'>y</a>", False),
    ]
    figure = attribution.survivors(pd.DataFrame(said, columns=["id", "word", "kept"]), ("banana",))
    grey, colour = figure.data
    at = list(figure.layout.yaxis.ticktext).index("banana")
    assert (grey.x[at], colour.x[at], grey.text[at]) == (100, 100, "2 of 2")
    at = list(figure.layout.yaxis.ticktext).index("a")
    assert (grey.x[at], colour.x[at]) == (50, 0)
    assert colour.marker.pattern.shape.count("/") == 1
    assert not any("<a" in t for t in figure.layout.yaxis.ticktext)
    assert attribution.survivors(pd.DataFrame(said[:0], columns=["id", "word", "kept"])).data[0].x.size == 0


def test_an_axis_reaches_as_far_as_the_data_and_a_tenth():
    binned = similarity.binned
    assert similarity.spanned([binned(np.array([0.03, 0.41])), binned(np.array([0.77]))]) == (0.0, 0.8)
    assert similarity.spanned([binned(np.array([0.5]))]) == (0.3, 0.7)
    assert similarity.spanned([binned(np.array([-1.0, 1.0]))]) == similarity.WHOLE
    assert similarity.spanned([binned(np.array([np.nan]))]) == similarity.spanned([]) == similarity.WHOLE


def test_a_small_histogram_keeps_its_numbers_and_says_the_names_alone():
    values, poisoned = np.array([0.1, 0.5, 0.5]), np.array([True, False, False])
    whole = similarity.histogram(values, poisoned, span=(0.0, 0.6))
    assert list(whole.layout.xaxis.range) == [0.0, 0.6]
    before = [list(trace.y) for trace in whole.data]
    small = similarity.histogram(
        values, poisoned, span=(0.0, 0.6), height=168, part=similarity.Part("Overfitted model")
    )
    assert [list(trace.y) for trace in small.data] == before
    assert [trace.name for trace in small.data] == ["clean", "poisoned"]
    assert "Overfitted model" in small.layout.title.text
