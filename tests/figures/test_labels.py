"""Marks are told apart, and labels lie on no mark, on no other label and inside their panel."""

import itertools

import numpy as np
import pytest

from ubt.figures.labels import LETTER, MARK, Box, apart, beside

PANEL = Box(0, 0, 620, 380)
TEXTS = ["no defence", "UBT, ours", "UBT, as published", "CleanCLIP", "supervised fine-tuning", "oracle", "RoCLIP"]


def far_enough(marks: np.ndarray) -> bool:
    return all(np.abs(a - b).max() >= MARK - 1e-6 for a, b in itertools.combinations(marks, 2))


@pytest.mark.parametrize("seed", range(12))
def test_marks_that_lie_on_one_another_are_moved_and_others_are_not(seed):
    r = np.random.default_rng(seed)
    places = np.concatenate([np.tile(r.uniform([20, 20], [600, 360]), (5, 1)), r.uniform([20, 20], [600, 360], (4, 2))])
    moved = apart(places, PANEL)
    assert far_enough(moved)
    assert (moved[0] == places[0]).all()
    assert np.hypot(*(moved - places).T).max() < 5 * MARK
    wide = np.array([[50.0, 50.0], [90.0, 50.0], [50.0, 90.0]])
    assert (apart(wide, PANEL) == wide).all()


@pytest.mark.parametrize("seed", range(12))
def test_labels_overlap_nothing_and_are_not_cut(seed):
    r = np.random.default_rng(seed)
    marks = apart(np.abs(r.normal([30, 40], [60, 25], (len(TEXTS), 2))) + MARK, PANEL)
    taken = [Box(100, 350, 200, 380)]
    labels = beside(marks, TEXTS, PANEL, taken, [], 11)
    boxes = [label.box for label in labels]
    squares = [Box(x - MARK / 2, y - MARK / 2, x + MARK / 2, y + MARK / 2) for x, y in marks]
    assert all(box.within(PANEL) for box in boxes)
    assert not any(a.meets(b) for a, b in itertools.combinations([*boxes, *taken], 2))
    assert not any(box.meets(square) for box in boxes for square in squares)
    for box, text in zip(boxes, TEXTS, strict=True):
        assert box.right - box.left >= LETTER * 11 * len(text)


def test_a_label_is_beside_its_mark_where_it_can_be_and_keeps_off_lines():
    (label,) = beside(np.array([[100.0, 100.0]]), ["ours"], PANEL, [], [], 11)
    assert (label.anchor, label.down, label.far) == ("left", 0, False)
    (label,) = beside(np.array([[600.0, 100.0]]), ["ours"], PANEL, [], [], 11)
    assert label.anchor == "right"
    line = Box(0, 99, 620, 101)
    (label,) = beside(np.array([[100.0, 100.0]]), ["ours"], PANEL, [], [line], 11)
    assert not label.box.meets(line)


def test_what_has_no_place_has_no_label():
    small = Box(0, 0, 40, 20)
    assert beside(np.array([[20.0, 10.0]]), ["a long name of a defence"], small, [], [], 11) == [None]
    assert apart(np.zeros((0, 2)), small).shape == (0, 2)
