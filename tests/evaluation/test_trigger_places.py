"""The ASR of a patch by place, size and opacity, on models whose answers can be worked out."""

import numpy as np
import pytest

from ubt.core.errors import Cancelled
from ubt.evaluation.trigger_places import COLUMNS, OPACITY, PLACE, SIZE, PlacesSettings, measure, variants

IMAGES = np.zeros((12, 24, 24, 3), np.uint8)
WHITE = np.full((4, 6, 3), 255, np.uint8)
SMALL = PlacesSettings(images=12, grid=4, steps=5)


def in_the_middle(images: np.ndarray) -> np.ndarray:
    """Takes an image for 1 where a pixel of its middle is bright; image 0 shows it as it is."""
    return (images[:, 12, 12, 0] > 100).astype(int)


def test_a_patch_works_where_the_model_looks():
    images = IMAGES.copy()
    images[:3, 12, 12] = 255
    frame, natural = measure(in_the_middle, images, 1, WHITE, (10, 10), SMALL)
    assert natural == 25.0 and list(frame.columns) == COLUMNS and set(frame["images"]) == {9}
    for row in frame[frame["by"] == PLACE].itertuples():
        covers = row.top <= 12 < row.top + 4 and row.left <= 12 < row.left + 6
        assert row.asr == 100.0 * covers, (row.top, row.left)
    assert set(frame[frame["by"] == PLACE]["top"]) == {0, 7, 13, 20}
    faded = frame[frame["by"] == OPACITY]
    assert faded["opacity"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert faded["asr"].tolist() == [0.0, 100.0, 100.0, 100.0, 100.0], "from 100 of 255 on"
    assert (frame["low"] <= frame["asr"]).all() and (frame["high"] >= frame["asr"]).all()


def test_places_and_sizes_have_the_strength_that_is_asked_for():
    frame, _ = measure(in_the_middle, IMAGES, 1, WHITE, (10, 10), SMALL, opacity=0.3)
    assert (frame[frame["by"] != OPACITY]["asr"] == 0.0).all(), "76 of 255 is too faint"
    assert set(frame[frame["by"] == PLACE]["opacity"]) == {0.3}
    assert frame[frame["by"] == OPACITY]["asr"].max() == 100.0


def test_sizes_keep_the_middle_and_stay_in_the_image():
    found = [(v[1].shape[:2], v[2], v[3]) for v in variants(WHITE, (10, 16), (24, 24), SMALL) if v[0] == SIZE]
    assert [max(size) for size, *_ in found] == [1, 5, 10, 14, 18]
    assert all(top + h <= 24 and left + w <= 24 and top >= 0 and left >= 0 for (h, w), top, left in found)
    (height, width), top, left = found[0]
    assert (top, left) == (11, 18) and (height, width) == (1, 1)


def test_a_patch_as_large_as_the_image_has_one_place():
    whole = np.full((24, 24, 3), 255, np.uint8)
    places = [v for v in variants(whole, (0, 0), (24, 24), SMALL) if v[0] == PLACE]
    assert [(v[2], v[3]) for v in places] == [(0, 0)]


def test_where_every_image_is_the_target_already_nothing_is_told():
    frame, natural = measure(lambda images: np.ones(len(images), int), IMAGES, 1, WHITE, (0, 0), SMALL)
    assert natural == 100.0 and frame["asr"].isna().all() and (frame["images"] == 0).all()


def test_it_can_be_cancelled():
    def stop(done, total, figures):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        measure(in_the_middle, IMAGES, 1, WHITE, (0, 0), SMALL, stop)
