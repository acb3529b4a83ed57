import numpy as np
import pytest

from ubt.attacks import AttackSettings, trigger
from ubt.attacks.badnet import BadNetSettings, places
from ubt.core.errors import BadInput

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
SEEDS = np.arange(5)


@pytest.mark.parametrize("place", ["corner", "centre", "random"])
@pytest.mark.parametrize("pattern", ["checkerboard", "noise", "fixed noise"])
def test_only_the_patch_changes_and_the_same_seed_gives_the_same_bytes(place, pattern):
    s = BadNetSettings(place=place, pattern=pattern)
    before = IMAGES.copy()
    out = trigger(IMAGES, SEEDS, "badnet", s)
    assert (before == IMAGES).all()
    assert out.tobytes() == trigger(IMAGES, SEEDS, "badnet", s).tobytes()
    for i, (top, left, _, _) in enumerate(places(SEEDS, 48, 48, s)):
        outside = np.ones((48, 48), bool)
        outside[top : top + 7, left : left + 7] = False
        assert (out[i][outside] == IMAGES[i][outside]).all()
        assert (out[i][~outside] != IMAGES[i][~outside]).mean() > 0.9


def test_checkerboard_is_a_checkerboard():
    out = trigger(IMAGES, SEEDS, "badnet", BadNetSettings(side=0.125, cell=2))
    patch = out[0, 41:47, 41:47, 0]
    expected = np.kron([[0, 255, 0], [255, 0, 255], [0, 255, 0]], np.ones((2, 2)))
    assert (patch == expected).all()


def test_random_places_differ_and_stay_inside():
    where = places(np.arange(300), 48, 48, BadNetSettings(place="random"))[:, :2]
    assert where.min() == 0
    assert where.max() == 41
    assert len({tuple(w) for w in where}) > 200


def test_the_papers_patch_is_a_share():
    paper = trigger(np.zeros((1, 224, 224, 3), np.uint8), SEEDS[:1], "badnet", BadNetSettings(side=16 / 224))
    assert (paper.any(-1)[0].nonzero()[0].max() - 207) == 15


def test_opacity_lets_the_image_shine_through():
    out = trigger(IMAGES, SEEDS, "badnet", BadNetSettings(opacity=0.5))
    whole = trigger(IMAGES, SEEDS, "badnet", BadNetSettings())
    assert np.abs(out - (0.5 * whole + 0.5 * IMAGES)).max() <= 0.5


def test_bad_input():
    with pytest.raises(BadInput, match="1 to 48 pixels"):
        trigger(IMAGES, SEEDS, "badnet", BadNetSettings(side=0.001))
    with pytest.raises(BadInput, match="between 0 and 1"):
        BadNetSettings(side=1.5)
    with pytest.raises(BadInput, match="expected one of: badnet"):
        AttackSettings(name="nosuch")
