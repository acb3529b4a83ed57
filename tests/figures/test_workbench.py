"""The workbench's figures hold the counts they were given, and what is not selected stays, in grey."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ubt.evaluation.detection import curves
from ubt.figures import CLEAN, POISONED, label_history, neighbours, projection, similarity
from ubt.figures import roc as curve_figures

N = 1000


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities with gaps and both ends, which are poisoned, which are selected."""
    random = np.random.default_rng(0)
    values = random.uniform(-1, 1, N)
    values[:6] = [-1, 1, np.nan, np.nan, np.inf, -np.inf]
    return values, random.random(N) < 0.2, random.random(N) < 0.4


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_bins_are_numpys(drawn, kind):
    values = drawn[0].astype(kind)
    bins = similarity.binned(values)
    assert bins.dtype == np.uint8
    assert bins[:6].tolist() == [0, 99, 255, 255, 255, 255]
    expected = np.histogram(values[np.isfinite(values)], np.linspace(-1, 1, 101))[0]
    np.testing.assert_array_equal(similarity.counted(bins), expected)
    assert similarity.binned(np.array([])).size == 0


@pytest.mark.parametrize("as_bins", [False, True])
def test_a_histogram_counts_all_and_shares_what_is_selected(drawn, as_bins):
    values, poisoned, selected = drawn
    among, bins = np.arange(N) % 3 > 0, similarity.binned(values)
    figure = similarity.histogram(bins if as_bins else values, poisoned, among=among)
    parts = similarity.shares(bins, poisoned, selected, among)
    edges, known = np.linspace(-1, 1, 101), np.isfinite(values)
    assert [len(figure.data), len(parts)] == [2, 2]
    for trace, part, of, colour in zip(figure.data, parts, (~poisoned, poisoned), (CLEAN, POISONED), strict=True):
        rows = among & of & known
        whole, some = (np.histogram(values[r], edges)[0] for r in (rows, rows & selected))
        np.testing.assert_allclose(trace.y, 100 * whole / whole.sum())
        np.testing.assert_array_equal(trace.customdata, whole)
        assert trace.name.endswith(f"({whole.sum():,})")
        assert part["said"].endswith(f"({some.sum():,} of {whole.sum():,})")
        at = np.searchsorted(similarity.CENTRES, np.array(part["x"]) - 1e-3)
        np.testing.assert_allclose(part["y"], (100 * some / whole.sum())[at], atol=1e-4)
        assert some[at].sum() == some.sum()
        assert trace.line.color == part["colour"] == colour
    assert [part["hatched"] for part in parts] == [False, True]


def test_a_histogram_of_nothing_selected_and_of_no_truth(drawn):
    values, poisoned, _ = drawn
    none = similarity.shares(similarity.binned(values), poisoned, np.zeros(N, bool))
    assert [part["said"].split(" ", 1)[1][:5] for part in none] == ["(0 of", "(0 of"]
    assert not any(part["x"] for part in none)
    audit = similarity.histogram(values, None, among=values > 0)
    assert [t.name for t in audit.data] == [f"pairs ({(values[np.isfinite(values)] > 0).sum()})"]
    nothing = similarity.shares(similarity.binned(np.full(3, np.nan)), None, np.ones(3, bool))
    assert [part["said"] for part in nothing] == ["pairs (0 of 0)"]


def places() -> np.ndarray:
    xy = np.random.default_rng(1).normal(size=(N, 2))
    xy[5] = np.nan, 0
    return xy


def points(figure) -> dict[str, list[int]]:
    """The rows of every population, by its name."""
    return {t.name: t.customdata.tolist() for t in figure.data if t.customdata is not None}


def test_a_map_has_every_pair_that_has_a_place_and_looks_the_same_whatever_is_outlined(drawn):
    xy, (_, poisoned, _) = places(), drawn
    rows = np.arange(0, N, 2)
    figure = projection.scatter(xy, poisoned, "poisoned", np.append(rows, 5))
    clean, poison = figure.data
    for trace, of in ((clean, ~poisoned), (poison, poisoned)):
        members = trace.customdata
        assert members.tolist() == [r for r in rows if of[r]]
        np.testing.assert_array_equal(np.stack([trace.x, trace.y], 1), xy[members])
        assert trace.unselected.marker.opacity == trace.marker.opacity
        assert f"({len(members)})" in trace.name
    assert clean.marker.symbol != poison.marker.symbol
    assert clean.marker.color != poison.marker.color
    assert figure.layout.yaxis.scaleanchor == "x"


def test_numbers_on_a_map_have_a_scale():
    values = np.linspace(-1, 1, N)
    figure = projection.scatter(places(), values, "similarity_overfit", np.arange(N))
    (trace,) = figure.data
    np.testing.assert_allclose(trace.marker.color, values[trace.customdata], atol=1e-6)
    assert trace.marker.colorbar.title.text == "similarity overfit"
    assert not len(projection.scatter(places(), values, "similarity_overfit", np.array([5])).data[0].x)


def test_a_map_of_clusters_and_of_labels_loses_nobody():
    number = np.random.default_rng(2).integers(-1, 13, N).astype(np.float32)
    number[number < 0] = np.nan
    found = points(projection.scatter(places(), number, "cluster", np.arange(N)))
    placed = np.delete(np.arange(N), 5)
    assert sorted(r for rows in found.values() for r in rows) == placed.tolist()
    assert found[next(n for n in found if n.startswith("cluster 3 "))] == [r for r in placed if number[r] == 3]
    assert found[next(n for n in found if "further" in n)] == [r for r in placed if number[r] >= 10]
    assert found[next(n for n in found if n.startswith("none"))] == [r for r in placed if np.isnan(number[r])]
    labels = np.array([None] * (N - 30) + ["backdoor"] * 10 + ["clean"] * 10 + ["unsure"] * 10, object)
    figure = projection.scatter(places(), pa.array(labels), "label", np.arange(N))
    assert {n: len(rows) for n, rows in points(figure).items()} == {
        "backdoor (10)": 10,
        "clean (10)": 10,
        "unsure (10)": 10,
        "undecided (969)": 969,
    }
    assert len({(t.marker.color, t.marker.symbol) for t in figure.data}) == 4


def test_the_nearest_by_rank_with_flagged_and_truth_told_apart():
    values, flagged, poisoned = (
        np.array([0.9, 0.8, 0.7, 0.2]),
        np.array([True, False, True, False]),
        np.array([True, True, False, False]),
    )
    bars, marked, others = neighbours.nearest(values, flagged, None).data
    assert (marked.name, others.name) == ("flagged (2)", "not flagged (2)")
    assert (list(marked.x), list(others.x), list(marked.y)) == ([1, 3], [2, 4], [0.9, 0.7])
    figure = neighbours.nearest(values, flagged, poisoned)
    bars, *marks = figure.data
    assert list(bars.marker.color) == [POISONED if t else CLEAN for t in poisoned]
    assert [m.name for m in marks] == [
        "flagged, poisoned (1)",
        "flagged, clean (1)",
        "not flagged, poisoned (1)",
        "not flagged, clean (1)",
    ]
    assert [list(m.x) for m in marks] == [[1], [3], [2], [4]]
    assert len({m.marker.symbol for m in marks}) == 4
    assert figure.layout.yaxis.range[0] < 0.2
    empty = neighbours.nearest(np.array([]), np.array([], bool), None)
    assert [t.name for t in empty.data[1:]] == ["flagged (0)", "not flagged (0)"]


@pytest.mark.parametrize("length", [0, 1, 7, 50, 333])
def test_every_decision_stands_where_it_was_made(length):
    labels = pd.Series(np.random.default_rng(3).choice(["backdoor", "clean", "unsure", None], length), dtype=object)
    figure = label_history.along(labels)
    assert figure.layout.barmode == "stack"
    assert [t.name for t in figure.data] == [
        f"{v} ({(labels == v).sum()})" for v in ("backdoor", "clean", "unsure")
    ] + [f"undecided ({labels.isna().sum()})"]
    for trace in figure.data:
        assert len(trace.x) == min(length, 50)
        value = None if "undecided" in trace.name else trace.name.split(" ")[0]
        for x, width, count in zip(trace.x, trace.width, trace.y, strict=True):
            first = round(x - width / 2 - 0.5)
            stretch = labels.iloc[first : first + int(width)]
            assert count == (stretch.isna() if value is None else stretch == value).sum()
    if length:
        assert sum(sum(t.y) for t in figure.data) == sum(figure.data[0].width) == length


@pytest.mark.parametrize("kind", ["roc", "pr"])
def test_curves_are_drawn_as_they_were_found_with_the_point_in_use(kind):
    random = np.random.default_rng(4)
    poisoned = random.random(N) < 0.2
    first, second, third = curve_figures.LINES
    found = {
        first: curves(random.random(N) + poisoned, poisoned),
        second: {},
        third: curves(random.random(N), poisoned),
    }
    figure = curve_figures.curve(kind, found, {first: (0.25, 0.5), second: (0, 0)})
    line, point, other = figure.data
    for trace, name in ((line, first), (other, third)):
        np.testing.assert_array_equal(trace.x, found[name][kind]["x"])
        np.testing.assert_array_equal(trace.y, found[name][kind]["y"])
        assert trace.name == name
    assert (list(point.x), list(point.y)) == ([0.25], [0.5])
    assert point.marker.color == line.line.color
    assert line.line.dash != other.line.dash
    assert "rate" in figure.layout.xaxis.title.text if kind == "roc" else figure.layout.xaxis.title.text == "recall"
    assert not curve_figures.curve(kind, {first: {}}).data


def test_a_map_is_named_zoomed_and_has_lines_of_density():
    xy = places()
    rows = np.zeros(N, bool)
    rows[10:30] = True
    figure = projection.scatter(xy, rows, "flagged", np.arange(N))
    traces = len(figure.data)
    projection.zoomed(figure, xy, rows)
    (left, right), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    some = xy[rows][np.isfinite(xy[rows]).all(1)]
    assert left < some[:, 0].min() <= some[:, 0].max() < right
    assert bottom < some[:, 1].min() <= some[:, 1].max() < top
    projection.named(figure, xy[:2], ["red car", "<b>bold</b>"])
    assert [note.text for note in figure.layout.annotations] == ["<b>red car</b>", "<b>&lt;b&gt;bold&lt;/b&gt;</b>"]
    projection.with_density(figure, xy)
    assert len(figure.data) == traces + 1
    cells = figure.data[-1].z
    densest = np.unravel_index(np.argmax(cells), cells.shape)
    near = np.abs(xy[:, 0] - figure.data[-1].x[densest[1]]) + np.abs(xy[:, 1] - figure.data[-1].y[densest[0]])
    assert np.nanmin(near) < 0.2 * np.ptp(xy[np.isfinite(xy).all(1)], axis=0).sum()


def test_a_map_zooms_to_nothing_and_has_no_density_where_nothing_is_placed():
    nowhere = np.full((N, 2), np.nan)
    figure = projection.scatter(places(), np.zeros(N, bool), "flagged", np.arange(N))
    before = len(figure.data)
    projection.with_density(projection.zoomed(figure, nowhere, np.ones(N, bool)), nowhere)
    assert len(figure.data) == before
    assert figure.layout.xaxis.range is None
