from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from ubt.data import scenes
from ubt.data.scenes import CLASSES, ROLES
from ubt.data.scenes.captions import BACKGROUNDS, LOOSE, ONE, TEMPLATES, TWO, with_article


def test_there_is_enough_variety():
    assert len(CLASSES) >= 48
    assert "banana" in CLASSES
    assert len(BACKGROUNDS) >= 8
    assert len({*ONE, *TWO, *LOOSE, *TEMPLATES}) >= 20


def test_the_same_address_is_the_same_scene_and_others_differ():
    index = ROLES["pairs"][7]
    assert (scenes.draw(3, index) == scenes.draw(3, index)).all()
    assert scenes.captioned(3, index, 0.03) == scenes.captioned(3, index, 0.03)
    pictures = [scenes.draw(s, ROLES["pairs"][i]).tobytes() for s in range(4) for i in range(50)]
    assert len(set(pictures)) == len(pictures)


def test_roles_are_disjoint_and_so_are_ids():
    assert all(a.stop <= b.start for a, b in pairwise(ROLES.values()))
    ids = [i for role in ROLES for i in scenes.load_pairs(0, role, 20, 16).ids]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_drawn_in_varied_ways(name):
    first = -(-ROLES["test"].start // len(CLASSES)) * len(CLASSES) + CLASSES.index(name)
    shown = [scenes.scene(0, first + i * len(CLASSES)) for i in range(12)]
    assert {t.name for s in shown for t in s.things} == {name}
    assert len({s.background for s in shown}) > 3
    assert np.std([s.things[0].size for s in shown]) > 0.03
    assert np.std([s.things[0].turn for s in shown]) > 1
    assert len({t.colour for s in shown for t in s.things}) > 1


def test_a_large_drawing_shows_the_same_scene():
    for i in range(10):
        index = ROLES["pairs"][i]
        small, large = scenes.draw(0, index, 48), scenes.draw(0, index, 480)
        shrunk = np.asarray(Image.fromarray(large).resize((48, 48), Image.Resampling.BOX))
        assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.93


def test_the_share_of_mismatched_captions_is_the_setting():
    indices = ROLES["pairs"][:4000]
    share = np.mean([scenes.captioned(0, i, 0.03) != scenes.describe(0, i) for i in indices])
    assert 0.02 < share < 0.04
    assert all(scenes.captioned(0, i, 0.0) == scenes.describe(0, i) for i in indices[:200])


def test_captions_come_in_all_forms_and_name_what_is_shown():
    indices = ROLES["pairs"][:6000]
    captions = [scenes.describe(0, i) for i in indices]
    templates = [t for t in TEMPLATES if any(c == t.format(a=with_article(n), n=n) for c in captions for n in CLASSES)]
    assert len(templates) == len(TEMPLATES)
    words = " ".join(captions).split()
    assert {"red", "small", "next", "above", "automobile", "fruit"} <= set(words)


def test_one_or_two_objects():
    counts = [len(scenes.scene(0, i).things) for i in ROLES["pairs"][:2000]]
    assert set(counts) == {1, 2}
    assert 0.2 < np.mean(np.array(counts) == 2) < 0.4


def test_labelled_set_is_balanced_and_large_enough():
    images, labels = scenes.load_labelled(0, "validation", 2, 24)
    assert images.shape == (2 * len(CLASSES), 24, 24, 3)
    assert images.dtype == np.uint8
    assert (np.bincount(labels) == 2).all()
    assert 60 * len(CLASSES) >= 2000


def test_retrieval_set_has_five_captions_an_image():
    ids, images, captions = scenes.load_retrieval(0, 6, 24)
    assert len(ids) == len(images) == len(captions) == 6
    assert all(len(set(c)) == 5 for c in captions)
    assert all(len(set(c)) == 5 for c in scenes.load_retrieval(0, 200, 1)[2])


def test_workers_draw_the_same():
    indices = ROLES["pairs"][:2100]
    drawn = scenes.draw_many(0, indices, 8, workers=2)
    assert (drawn[::300] == scenes.draw_many(0, indices[::300], 8)).all()
    assert (scenes.Drawn(0, indices, 8)[5:9] == drawn[5:9]).all()
    assert (scenes.Drawn(0, indices, 8)[np.array([7, 3])] == drawn[[7, 3]]).all()
