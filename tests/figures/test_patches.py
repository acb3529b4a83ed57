"""Figures of located patches hold the numbers they were given."""

import numpy as np
import pandas as pd
import pytest

from ubt.figures import CLEAN, POISONED, attribution, patches

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


@pytest.fixture
def candidates() -> pd.DataFrame:
    random = np.random.default_rng(0)
    flips, ids = random.random(40), [f"p{i}" for i in range(39)]
    rank = np.argsort(np.argsort(-flips)) + 1
    return pd.DataFrame({"id": [*ids, "<b>x"], "flips": flips, "drop": random.random(40), "rank": rank, "side": 6})


def test_a_drop_is_spread_over_what_its_window_covers():
    drop, corners = np.array([0.2, 0.6, -0.1]), np.array([[0, 0], [0, 4], [10, 10]])
    found = patches.spread(drop, corners, 8, (24, 24))
    assert (found[0, 2], found[0, 5], found[0, 11], found[12, 12]) == pytest.approx((0.2, 0.4, 0.6, -0.1))
    assert np.isnan(found[20, 0])
    assert np.isfinite(found).sum() == 8 * 12 + 8 * 8


def test_the_activation_map_lies_on_its_image_with_its_frames():
    heat = patches.spread(np.array([0.5]), np.array([[3, 4]]), 6, (24, 24))
    figure = patches.activation(IMAGE, heat, (3, 4, 6, 6), (5, 6, 2, 2))
    image, layer = figure.data
    np.testing.assert_array_equal(np.array(image.z), IMAGE)
    np.testing.assert_array_equal(np.array(layer.z), heat)
    assert [(s.x0, s.y0, s.x1, s.y1) for s in figure.layout.shapes] == [(3.5, 2.5, 9.5, 8.5), (5.5, 4.5, 7.5, 6.5)]
    assert len({s.line.dash for s in figure.layout.shapes}) == 2
    assert "#000004" not in str(layer.colorscale)
    assert len(patches.activation(IMAGE, heat, (3, 4, 6, 6)).layout.shapes) == 1


def test_a_frame_is_drawn_around_its_pixels_alone():
    plain, framed = attribution.enlarged(IMAGE), patches.outlined(IMAGE, (6, 12, 6, 6))
    times = len(plain) // 24
    changed = (plain != framed).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (6 * times, 12 * times - 1, 12 * times, 18 * times - 1)
    assert not changed[8 * times : 10 * times, 14 * times : 16 * times].any()
    assert (patches.outlined(IMAGE, (6, 12, 6, 6), (0, 0, 4, 4)) != framed)[: 5 * times, : 5 * times].any()


def test_ranks_and_flips_are_told_apart_by_the_truth_where_it_may_be_shown(candidates):
    poisoned = candidates["rank"].to_numpy() <= 7
    figure = patches.ranked(candidates, 5, poisoned, "p38", most=20)
    clean, bad, chosen = figure.data
    assert (len(clean.x), len(bad.x)) == (13, 7)
    assert (clean.marker.color, bad.marker.color) == (CLEAN, POISONED)
    assert clean.marker.symbol != bad.marker.symbol
    np.testing.assert_allclose(bad.y, 100 * candidates.sort_values("rank")["flips"].head(7))
    assert figure.layout.shapes[0].x0 == 5.5
    assert "<b>" not in str([t.customdata for t in figure.data])
    assert list(chosen.x) == [candidates.loc[38, "rank"]]
    assert [t.name for t in patches.ranked(candidates, 5, None, most=20).data] == ["patches (20)"]


@pytest.mark.parametrize("threshold", [0.5, 0.0014, 1.0])
def test_no_bar_of_decisions_holds_pairs_of_both_sides(threshold):
    random = np.random.default_rng(0)
    score, poisoned = np.append(1 / (1 + np.exp(-random.normal(-3, 4, 500))), [0, 1]), np.arange(502) % 5 == 0
    figure = patches.decisions(score, poisoned, threshold, "here")
    assert [sum(t.y) for t in figure.data] == [(~poisoned).sum(), poisoned.sum()]
    line = figure.layout.shapes[0].x0
    out = sum(y for t in figure.data for x, y in zip(t.x, t.y, strict=True) if x > line)
    assert out == (score >= threshold).sum()
    assert figure.data[0].width > figure.data[1].width
    assert [t.name for t in patches.decisions(score, None, threshold, "").data] == ["pairs (502)"]


def test_strategies_differ_in_more_than_hue(candidates):
    figure = patches.compared({name: candidates for name in patches.STRATEGIES}, 5, most=10)
    assert len({t.line.dash for t in figure.data}) == len({t.marker.symbol for t in figure.data}) == 3
    np.testing.assert_allclose(figure.data[1].y, 100 * np.sort(candidates["flips"])[::-1][:10])
