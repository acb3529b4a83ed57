"""Detectors of one image: what each declares, and what it says on the built-in case's models."""

from collections import Counter

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
from ubt.detectors.base import CLASSES, CLEAN, PAIRS, TEXTS, TRAINING, WITH_REFERENCE
from ubt.detectors.gate import IMAGE_DETECTORS, Watched, possible
from ubt.detectors.gate.base import some
from ubt.detectors.gate.masking import MaskingSettings, trajectory
from ubt.detectors.inversion import METHODS
from ubt.evaluation.detection import auroc
from ubt.workflows.gate_scores import prepared, scored

FIRST = scenes.ROLES["clean"].start + 10**6
POOL = scenes.draw_many(100, range(FIRST, FIRST + 160), 48)
CLEAN_ONES = scenes.draw_many(101, range(FIRST, FIRST + 24), 48)


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
    score = prepared(of, [name], 0)[name]
    both = np.concatenate([score(CLEAN_ONES), score(triggered)])
    return auroc(both, np.arange(len(both)) >= len(CLEAN_ONES))


def test_every_detector_says_what_it_is_of():
    of = [{d.scope for d in known.values()} for known in (DETECTORS, IMAGE_DETECTORS, METHODS)]
    assert of == [{"pair"}, {"image"}, {"model"}]


def test_each_says_what_it_needs_and_the_default_is_the_first_that_is_possible():
    assert {need for d in IMAGE_DETECTORS.values() for need in d.needs} <= {CLEAN, CLASSES, WITH_REFERENCE}
    assert {need for d in DETECTORS.values() for need in d.needs} == {PAIRS, TEXTS, TRAINING, WITH_REFERENCE}
    for name, detector in DETECTORS.items():
        reads = any(place.startswith("score.") for place in detector.inputs.values()) or "split" in detector.inputs
        assert (WITH_REFERENCE in detector.needs) == reads, name
    assert possible(Watched(None, POOL, object(), scenes.CLASSES))[0] == "displaced"
    assert [name for name, d in IMAGE_DETECTORS.items() if d.power] == ["displaced", "one_pass"], (
        "the others clear nothing"
    )
    alone = possible(Watched(None, POOL))
    assert alone[0] == "combined" and not {"displaced", "one_pass", "texts"} & {*alone}
    assert possible(Watched(None, POOL[:0])) == ["masking"]
    with pytest.raises(BadInput, match="expected at least 200, got 160"):
        some(Watched(None, POOL), 200, 0)


@pytest.mark.parametrize("name", ["displaced", "one_pass", "pasted", "mixed", "combined"])
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
    some_images, of = built_in["triggered"][:3], watched(built_in["M_bd"], built_in["reference"])
    score, again = (prepared(of, [name], 7)[name] for _ in range(2))
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
    for score in prepared(watched(built_in["M_bd"], other), ["displaced", "one_pass"], 0).values():
        assert np.isfinite(score(CLEAN_ONES[:4])).all()


def test_a_trajectory_begins_as_the_image_and_ends_as_nothing_of_it(built_in):
    longest, like = trajectory(built_in["M_bd"], CLEAN_ONES[:4], MaskingSettings(), [0, 0])
    assert longest.shape == (4,) and like.shape == (9, 4)
    assert np.allclose(like[0], 1, atol=1e-5) and (like[-1] < 0.9).all()


def test_what_a_detector_is_made_of_is_asked_once_and_never_remembered(built_in):
    of, asked = watched(built_in["M_bd"]), []
    scores = prepared(of, ["combined", "mixed", "pasted"], 0)
    for part in scores["combined"].of.values():
        own = part.own
        object.__setattr__(part, "own", lambda images, own=own: asked.append(len(images)) or own(images))
    known: dict[str, np.ndarray] = {}
    found = scored(scores, CLEAN_ONES[:3], known=known)
    assert asked == [3, 3] and set(found) == set(known) == {"combined", "mixed", "pasted"}
    assert scored(scores, CLEAN_ONES[:3], known=known)["mixed"].tolist() == found["mixed"].tolist()
    assert asked == [3, 3], "what is known is not asked again"
    buffer = CLEAN_ONES[:2].copy()
    first = scores["combined"](buffer)
    buffer[:] = built_in["triggered"][:2]
    assert (scores["combined"](buffer) > first).all(), "a program may use one array for image after image"
    assert {name: len(score) for name, score in scored(scores, CLEAN_ONES[:0]).items()} == dict.fromkeys(scores, 0)


def test_an_image_is_looked_at_covered_and_moved_and_both_kinds_weigh_alike(built_in, monkeypatch):
    """The model draws what is covered (grey somewhere) by 0.3, and what is moved (not the whole image) by 0.5; the
    reference none; the map between them is the identity.
    """
    seen, plain = [], POOL[:1]

    def embed(model, images):
        if len(images) == len(POOL):
            return np.eye(2)[np.arange(len(images)) % 2]
        if model is built_in["reference"]:
            return np.array([[1.0, 0.0]])
        image = images[0]
        kind = 0.0 if np.array_equal(image, plain[0]) else 0.3 if (image == 127).all(2).sum() >= 144 else 0.5
        seen.append(kind)
        return np.array([[1.0, kind]])

    monkeypatch.setattr("ubt.detectors.gate.displaced.embed", embed)
    detector = IMAGE_DETECTORS["displaced"]
    score = detector.prepare(Watched("model", POOL, built_in["reference"]), detector.settings(ridge=1e-6), 0)(plain)
    assert Counter(seen) == {0.0: 1, 0.3: 16, 0.5: 8}
    assert score == pytest.approx([(16 * 0.3 / 17 + 8 * 0.5 / 9) / 2], abs=1e-6)
