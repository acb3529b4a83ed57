"""Detectors of one image: what each declares, and what it says on the built-in case's models."""

import numpy as np
import pytest

from ubt.attacks import trigger
from ubt.cases import demo
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.data import scenes
from ubt.detectors import DETECTORS
from ubt.detectors.gate import IMAGE_DETECTORS, Watched, possible
from ubt.detectors.gate.base import CLEAN, TEXTS, some
from ubt.detectors.gate.base import REFERENCE as WITH_REFERENCE
from ubt.detectors.gate.masking import MaskingSettings, trajectory
from ubt.detectors.inversion import METHODS
from ubt.evaluation.detection import auroc

FIRST = scenes.ROLES["clean"].start + 10**6
POOL = scenes.draw_many(100, range(FIRST, FIRST + 160), 48)
CLEAN_ONES = scenes.draw_many(101, range(FIRST, FIRST + 24), 48)

BRIEF = {"combined": {"images": 48}}
"""Settings of detectors that look at many clean images beforehand."""


@pytest.fixture(scope="module")
def built_in(tmp_path_factory) -> dict:
    """The built-in case's models, its trigger on images, and the shipped reference."""
    store = Store(tmp_path_factory.mktemp("cache"))
    record = store.case(demo.MAIN)
    planted = CaseSettings.from_dict(record.settings).attacks[0]
    of = {
        name: store.open(record.artefacts[stage])["model"] for name, stage in (("M_bd", "poison"), ("ours", "unlearn"))
    }
    triggered = trigger(CLEAN_ONES, np.arange(len(CLEAN_ONES)), planted.attack.name, planted.trigger)
    return of | {"reference": models.load(REFERENCE), "triggered": triggered}


def watched(model, reference=None) -> Watched:
    return Watched(model, POOL, reference, scenes.CLASSES)


def found(name: str, of: Watched, triggered: np.ndarray) -> float:
    detector = IMAGE_DETECTORS[name]
    score = detector.prepare(of, detector.settings(**BRIEF.get(name, {})), 0)
    both = np.concatenate([score(CLEAN_ONES), score(triggered)])
    return auroc(both, np.arange(len(both)) >= len(CLEAN_ONES))


def test_every_detector_says_what_it_is_of():
    of = [{d.scope for d in known.values()} for known in (DETECTORS, IMAGE_DETECTORS, METHODS)]
    assert of == [{"pair"}, {"image"}, {"model"}]


def test_each_says_what_it_needs_and_the_default_is_the_first_that_is_possible():
    assert {need for d in IMAGE_DETECTORS.values() for need in d.needs} <= {CLEAN, TEXTS, WITH_REFERENCE}
    assert possible(Watched(None, POOL, object(), scenes.CLASSES))[0] == "displaced"
    assert [name for name, d in IMAGE_DETECTORS.items() if d.power] == ["displaced"], "the others clear nothing"
    alone = possible(Watched(None, POOL))
    assert alone[0] == "combined" and not {"displaced", "texts"} & {*alone}
    assert possible(Watched(None, POOL[:0])) == ["masking"]
    with pytest.raises(BadInput, match="expected at least 200, got 160"):
        some(Watched(None, POOL), 200, 0)


@pytest.mark.parametrize("name", ["displaced", "pasted", "mixed", "combined"])
def test_a_patch_stands_out_on_the_poisoned_model(built_in, name):
    of = watched(built_in["M_bd"], built_in["reference"])
    assert found(name, of, built_in["triggered"]) > 0.93


def test_on_the_purified_model_the_same_images_look_as_clean_ones_do(built_in):
    """Displaced is measured from the reference, which moves a little by a patch where ours no longer does."""
    of = watched(built_in["ours"], built_in["reference"])
    for name, most in (("displaced", 0.8), ("pasted", 0.72)):
        assert found(name, of, built_in["triggered"]) < most, name


@pytest.mark.parametrize("name", IMAGE_DETECTORS)
def test_a_score_is_the_images_own_and_the_same_twice(built_in, name):
    detector, some_images = IMAGE_DETECTORS[name], built_in["triggered"][:3]
    settings = detector.settings(**BRIEF.get(name, {}))
    score, again = (detector.prepare(watched(built_in["M_bd"], built_in["reference"]), settings, 7) for _ in range(2))
    whole = score(some_images)
    assert whole.shape == (3,) and np.isfinite(whole).all()
    assert np.array_equal(whole, again(some_images))
    each = np.concatenate([score(some_images[i : i + 1]) for i in range(3)])
    assert np.abs(each - whole).max() < 1e-4, "its neighbours do not matter"
    assert score(some_images[:0]).shape == (0,)


def test_a_reference_of_another_size_is_given_images_of_its_own(built_in):
    other = models.create(
        {**models.SCENES_CLIP, "vision_cfg": {**models.SCENES_CLIP["vision_cfg"], "image_size": 64}}, 3
    )
    detector = IMAGE_DETECTORS["displaced"]
    score = detector.prepare(watched(built_in["M_bd"], other), detector.settings(), 0)
    assert np.isfinite(score(CLEAN_ONES[:4])).all()


def test_a_trajectory_begins_as_the_image_and_ends_as_nothing_of_it(built_in):
    longest, like = trajectory(built_in["M_bd"], CLEAN_ONES[:4], MaskingSettings(), [0, 0])
    assert longest.shape == (4,) and like.shape == (9, 4)
    assert np.allclose(like[0], 1, atol=1e-5) and (like[-1] < 0.9).all()
