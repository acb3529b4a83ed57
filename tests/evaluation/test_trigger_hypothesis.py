"""A hypothesis on trial: what is stamped, who is asked, what is counted."""

import numpy as np
import pytest

from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.data import model_input
from ubt.evaluation.trigger_hypothesis import (
    Hypothesis,
    Question,
    among_captions,
    among_classes,
    measure,
    read,
    stamped,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), np.uint8)
PATCH = np.full((3, 4, 3), 7, np.uint8)


def test_a_patch_and_its_control_touch_the_same_place_alone():
    before = IMAGES.copy()
    triggered, control = stamped(IMAGES, PATCH, Hypothesis(target="x", top=1.0, left=0.5), 3)
    assert (triggered[:, 7:, 6:10] == 7).all()
    for changed in (triggered, control):
        outside = changed != IMAGES
        outside[:, 7:, 6:10] = False
        assert not outside.any()
    donors = [next(j for j in range(6) if (control[i, 7:, 6:10] == IMAGES[j, 7:, 6:10]).all()) for i in range(6)]
    assert all(i != j for i, j in enumerate(donors))
    assert (before == IMAGES).all()


def test_a_random_place_is_another_in_each_image_and_the_same_for_the_control():
    triggered, control = stamped(IMAGES, PATCH, Hypothesis(target="x", place="random"), 3)
    places = [np.argwhere((t == 7).all(-1)).min(0).tolist() for t in triggered]
    assert len({tuple(p) for p in places}) > 1
    for image, mixed, (y, x) in zip(IMAGES, control, places, strict=True):
        outside = (image != mixed).any(-1)
        outside[y : y + 3, x : x + 4] = False
        assert not outside.any()


def test_a_pattern_is_blended_over_the_whole_image():
    pattern = IMAGES[0]
    triggered, _ = stamped(IMAGES, pattern, Hypothesis(target="x", form="pattern", alpha=0.25), 0)
    assert np.abs(triggered.astype(float) - (0.25 * pattern + 0.75 * IMAGES.astype(float))).max() <= 0.5


@pytest.mark.parametrize(
    ("values", "pixels", "said"),
    [
        ({"target": " "}, PATCH, "expected a text"),
        ({"target": "x" * 201}, PATCH, "at most 200"),
        ({"target": "x", "form": "none"}, None, "a patch, a pattern or a word"),
        ({"target": "x", "top": 1.5}, PATCH, "between 0 and 1"),
        ({"target": "x"}, np.zeros((11, 2, 3), np.uint8), "1 x 1 to 10 x 12"),
        ({"target": "x"}, PATCH.astype(float), "uint8"),
        ({"target": "x", "form": "pattern"}, PATCH, "10 x 12"),
    ],
)
def test_what_is_no_hypothesis_is_refused(values, pixels, said):
    with pytest.raises(BadInput, match=said):
        stamped(IMAGES, pixels, Hypothesis(**values), 0)


def test_rates_are_counted_over_what_is_read_otherwise():
    found = measure(np.array([2, 1, 1, 0]), np.array([1, 2, 2, 2]), np.array([2, 1, 2, 0]), 2)
    assert (found["natural"], found["asr"], found["images"]["asr"]) == (25.0, 100.0, 3)
    assert found["control"] == pytest.approx(100 / 3)
    assert found["intervals"]["asr"][0] == pytest.approx(43.85, abs=0.01)
    nobody = measure(np.array([2, 2]), np.array([2, 2]), np.array([2, 2]), 2)
    assert nobody["asr"] is None
    assert nobody["intervals"]["control"] is None
    assert nobody["natural"] == 100.0


def test_only_images_that_do_not_show_the_target_are_asked():
    labels, prompts = np.array([0, 1, 0, 1, 1, 0]), np.zeros((2, 3, 8), np.int32)
    asked = among_classes(IMAGES, labels, prompts, ["cat", "Dog"], "dog", np.ones((7, 8), np.int32), 2, 0)
    assert (asked.target, len(asked.images), len(asked.texts)) == (1, 2, 2)
    assert all(any((image == IMAGES[i]).all() for i in (0, 2, 5)) for image in asked.images)
    other = among_classes(IMAGES, labels, prompts, ["cat", "Dog"], "emu", np.ones((7, 8), np.int32), 50, 0)
    assert (other.target, len(other.images), other.names[2], other.texts[2].shape) == (2, 6, "emu", (7, 8))

    captions = ["a dog", "a cat", "a Dog!", "hotdogs", "a cat", "an emu"]
    tokens = model_input.tokenize(captions, 8)
    asked = among_captions(
        IMAGES, tokens, captions, np.array([0, 1, 2, 3, 4]), "dog", np.ones((7, 8), np.int32), 50, 50, 0
    )
    assert list(asked.captions) == ["a cat", "hotdogs", "a cat"]
    assert set(asked.names[1:]) == {"a cat", "hotdogs"}
    assert asked.name(1, 0) == "dog"
    assert asked.name(1, 3) == "hotdogs"
    with pytest.raises(BadInput, match="found none"):
        among_captions(IMAGES, tokens, captions, np.array([0, 2]), "dog", np.ones((7, 8), np.int32), 50, 50, 0)


def test_an_image_is_read_as_the_text_of_highest_mean_similarity(reference):
    captions = ["a photo of a dog", "a red car on a street", "a banana", "two cups"]
    tokens = model_input.tokenize(captions, 24)
    images = np.random.default_rng(1).integers(0, 256, (5, 48, 48, 3), np.uint8)
    texts = [tokens[:2], tokens[2:3]]
    found = read(
        reference, Question(images, texts, ["a", "b"], 0, np.repeat(tokens[3:], 5, axis=0), ["two cups"] * 5), images
    )
    v, t = models.embed_images(reference, images), models.embed_tokens(reference, tokens)
    mean = t[:2].mean(0) / np.linalg.norm(t[:2].mean(0))
    assert found.tolist() == (v @ np.stack([mean, t[2], t[3]]).T).argmax(1).tolist()
