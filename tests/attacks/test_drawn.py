"""A patch that somebody drew: its text, its pixels, and where they lie."""

import numpy as np
import pytest
from tiny import CPU

from ubt.attacks import ATTACKS, drawn, trigger
from ubt.attacks.drawn import DrawnSettings, pixels, resized, stamp
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("squares", "said"),
    [("", "got 0"), ("1", "got 1"), ("12345", "got 5"), ("1" * 17**2, "got 289"), ("1.g.", "got 'g'"), ("1.A.", "'A'")],
)
def test_what_is_no_drawing_is_refused(squares, said):
    with pytest.raises(BadInput, match=said):
        pixels(squares)
    with pytest.raises(BadInput, match=said):
        trigger(IMAGES, np.zeros(3, int), "drawn", DrawnSettings(squares=squares))


def test_only_what_is_painted_changes():
    s = DrawnSettings(squares="3..9", side=0.5)
    out = trigger(IMAGES, np.arange(3), "drawn", s)
    at = slice(23, 47)
    inside, before = out[:, at, at], IMAGES[:, at, at]
    assert (inside[:, :12, :12] == [255, 0, 0]).all() and (inside[:, 12:, 12:] == [0, 0, 255]).all()
    assert (inside[:, 12:, :12] == before[:, 12:, :12]).all() and (inside[:, :12, 12:] == before[:, :12, 12:]).all()
    changed = (out != IMAGES).any(3)
    changed[:, at, at] = False
    assert not changed.any()


def test_half_its_opacity_lets_the_image_through():
    s = DrawnSettings(squares="1" * 4, opacity=0.5, place="centre")
    out = trigger(np.zeros((1, 48, 48, 3), np.uint8), np.zeros(1, int), "drawn", s)
    assert set(np.unique(out)) == {0, 128}


def test_a_patch_without_opacity_of_its_own_replaces_what_is_under_it():
    image = IMAGES[0].copy()
    stamp(image, np.full((2, 3, 3), 7, np.uint8), 4, 5)
    assert (image[4:6, 5:8] == 7).all() and (image[:4] == IMAGES[0][:4]).all()


def test_another_size_repeats_squares_or_averages_them():
    patch = np.repeat(np.array([[0, 10], [20, 30]], np.uint8)[..., None], 3, 2)
    assert resized(patch, 4, 2)[..., 0].tolist() == [[0, 10], [0, 10], [20, 30], [20, 30]]
    assert resized(patch, 1, 1)[..., 0].tolist() == [[15]]


def test_a_case_is_made_of_it_by_name_and_another_drawing_is_another_case():
    one = CaseSettings.preset("demo", "drawn")
    other = one.with_values({"drawn.squares": "1" * 49})
    assert one.name(CPU).startswith("drawn-0-") and one.name(CPU) != other.name(CPU)
    assert all(f"{c}" in {*drawn.PALETTE, drawn.CLEAR} for c in one.drawn.squares)
    assert ATTACKS["drawn"].module.places(np.arange(2), 48, 48, one.drawn).tolist() == [[40, 40, 7, 7]] * 2


def test_a_case_needs_a_drawing_with_something_on_it():
    with pytest.raises(BadInput, match="at least one that is painted"):
        CaseSettings.preset("demo", "drawn").with_values({"drawn.squares": "." * 9})


def test_a_dot_of_a_drawing_finer_than_the_patch_is_not_lost():
    dot = "." * 17 + "3" + "." * 238
    out = trigger(np.zeros((1, 48, 48, 3), np.uint8), np.zeros(1, int), "drawn", DrawnSettings(squares=dot))
    assert out[..., 0].any() and not out[..., 1:].any(), "fainter, but there"
