"""Located patches against the true places, counted pixel by pixel."""

import numpy as np
import pandas as pd
import pytest

from ubt.evaluation import localization


def pixels(box, size: int = 40) -> np.ndarray:
    top, left, height, width = box
    mask = np.zeros((size, size), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_iou_and_share_inside_are_those_of_the_pixels():
    rng = np.random.default_rng(0)
    a, b = (np.concatenate([rng.integers(0, 20, (300, 2)), rng.integers(1, 20, (300, 2))], axis=1) for _ in range(2))
    both, either, of_b = (
        np.array([f(pixels(p), pixels(q)).sum() for p, q in zip(a, b, strict=True)])
        for f in (np.logical_and, np.logical_or, lambda p, q: q)
    )
    np.testing.assert_allclose(localization.iou(a, b), both / either)
    np.testing.assert_allclose(localization.inside(a, b), both / of_b)
    np.testing.assert_allclose(localization.iou(a[0], b), localization.iou(b, np.tile(a[0], (300, 1))))
    assert 0 < (both == 0).sum() < 300
    assert localization.iou(np.zeros(4), np.zeros(4)) == 0


@pytest.mark.parametrize("side", [3, 7, 12])
def test_what_a_window_can_reach_is_the_best_of_all_its_places(side):
    box = np.array([15, 15, 5, 9])
    windows = np.array([(y, x, side, side) for y in range(30) for x in range(30)])
    assert localization.reachable(side, box) == pytest.approx(localization.iou(windows, box).max())


@pytest.fixture
def given() -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Six candidates: two poisons with a patch, found and missed, one with a trigger over the whole image, an
    image-only and a text-only negative, a clean image.
    """
    ids = [f"p{i}" for i in range(6)]
    poisoned = np.array([True, True, True, False, False, False])
    boxes = [(4, 4, 4, 4), (20, 20, 4, 4), (0, 0, 24, 24), (4, 4, 4, 4), (-1, -1, -1, -1)]
    manifest = pd.DataFrame(boxes, columns=localization.BOX).assign(id=ids[:5])
    candidates = pd.DataFrame({"id": ids, "row": range(6), "y": 4, "x": 4, "side": 8, "rank": [1, 3, 4, 2, 5, 6]})
    return candidates, poisoned, manifest


def test_patches_are_judged_where_a_trigger_has_a_place(given):
    found = localization.located(*given, (24, 24))
    assert found["covers"].tolist() == ["part", "part", "whole", "part", "none", "none"]
    assert found["poisoned"].tolist() == [True] * 3 + [False] * 3
    np.testing.assert_allclose(found["iou"], [0.25, 0, np.nan, 0.25, np.nan, np.nan])
    np.testing.assert_allclose(found["inside"], [1, 0, np.nan, 1, np.nan, np.nan])
    np.testing.assert_allclose(found["reachable"], [0.25, 0.25, np.nan, 0.25, np.nan, np.nan])


def test_the_sum_of_it(given):
    candidates, poisoned, manifest = given
    made = localization.summary(candidates, localization.located(candidates, poisoned, manifest, (24, 24)), 4)
    assert made == {"poisoned": 3, "top": 0.75, "first": 1, "iou": 0.125, "reachable": 0.25, "inside": 0.5}
    nothing = np.zeros(6, bool)
    assert localization.summary(candidates, localization.located(candidates, nothing, manifest[:0], (24, 24)), 4) == {
        "poisoned": 0
    }
    whole = localization.located(candidates, poisoned, manifest.assign(top=0, left=0, height=24, width=24), (24, 24))
    assert set(localization.summary(candidates, whole, 4)) == {"poisoned", "top", "first"}
