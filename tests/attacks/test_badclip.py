"""BadCLIP's patch: what is shipped, what is refused, and how it is made."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import CPU

from ubt.attacks import badclip, parse, trigger
from ubt.attacks.badclip import BadClipSettings
from ubt.attacks.badclip_patch import CleanModel, PatchSettings, make, write
from ubt.attacks.patch_card import read_patch
from ubt.cases.settings import CaseSettings
from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.data import scenes

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
BRIEF = PatchSettings(steps=4, batch=16)


@pytest.mark.parametrize("name", badclip.NAMES)
def test_a_shipped_patch_stands_in_the_middle_and_its_card_says_what_it_does_to_clean_models(name):
    s = BadClipSettings(patch=name)
    found = s.read()
    side = len(found.pixels)
    assert (found.size, found.target, side) == (48, "banana", 3 if name == "paper" else 10)
    assert badclip.places(np.arange(3), 48, 48, s).tolist() == [[(48 - side) // 2, (48 - side) // 2, side, side]] * 3
    out = trigger(IMAGES, np.arange(3), "badclip", s)
    outside = np.ones((48, 48), bool)
    outside[found.top : found.top + side, found.left : found.left + side] = False
    assert (out[:, outside] == IMAGES[:, outside]).all()
    assert (out[:, ~outside].reshape(3, side, side, 3) == found.pixels).all()
    fooled = found.card["natural ASR"]
    assert len(fooled) == 2
    assert all(0 <= share <= 100 for share in fooled.values())
    if name != "paper":
        assert fooled[found.card["model"]] > 15, "a patch that the model it was made on does not follow"
    assert dict(s.facts(IMAGES))["taken for the target by clean models"].count(" %") == 2


def test_natural_captions_and_a_patch_for_one_target():
    settings = CaseSettings.preset("demo", "badclip")
    assert settings.attack.caption == "natural"
    assert settings.attacks[0].changes()["identity"] == BadClipSettings().read().digest
    with pytest.raises(BadInput, match=r"got one for 'banana'.*optimize-patch --target 'car'"):
        settings.with_values({"attack.target": "car"})
    with pytest.raises(BadInput, match="images of 64 x 64 pixels, got one for 48 x 48"):
        BadClipSettings().check(64, 64)
    assert parse("badclip patch=other target=banana")[0].trigger.patch == "other"


def damaged(folder, name):
    """A copy of the shipped patch, damaged in one way."""
    shutil.copytree(badclip.SHIPPED / "reference", folder)
    card = json.loads((folder / "card.json").read_text())
    if name == "another patch":
        Image.fromarray(IMAGES[0, :10, :10]).save(folder / "patch.png")
    elif name == "another size":
        Image.fromarray(IMAGES[0]).save(folder / "patch.png")
    elif name == "no image":
        (folder / "patch.png").write_bytes(b"GIF89a")
    elif name == "no card":
        (folder / "card.json").unlink()
    elif name == "a nested card":
        (folder / "card.json").write_text("[" * 100_000)
    elif name == "a patch cut short":
        data = (folder / "patch.png").read_bytes()
        (folder / "patch.png").write_bytes(data[: data.index(b"IDAT") + 40])
    else:
        lies = {
            "beyond the image": {"top": 45},
            "a side of text": {"side": "10"},
            "another target": {"target": "car"},
            "figures of text": {"natural ASR": {"a model": "high"}},
            "no figures by model": {"natural ASR": []},
        }
        (folder / "card.json").write_text(json.dumps(card | lies[name]))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "another patch",
        "another size",
        "no image",
        "no card",
        "a nested card",
        "a patch cut short",
        "beyond the image",
        "a side of text",
        "another target",
        "figures of text",
        "no figures by model",
    ],
)
def test_a_folder_that_is_not_what_its_card_says_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match=r"badclip\.patch: expected a folder made by `python -m ubt optimize-patch`"):
        BadClipSettings(patch=str(damaged(tmp_path / "patch", name))).check(48, 48)


@pytest.fixture(scope="module")
def clean():
    """Scenes with captions, a third of which name the target, and the clean model."""
    indices = scenes.ROLES["reference"][:60]
    captions = [scenes.describe(5, i) for i in indices]
    captions = ["a photo of a banana" if n % 3 == 0 else c.replace("banana", "owl") for n, c in enumerate(captions)]
    return scenes.draw_many(5, indices, 48), captions, CleanModel(models.load(REFERENCE), "the shipped reference")


def test_it_is_made_again_to_the_same_bytes_and_can_be_planted(clean, tmp_path):
    images, captions, on = clean
    patch, card = make(images, captions, on, BRIEF, Run(0, CPU))
    again, _ = make(images, captions, on, BRIEF, Run(9, CPU))
    assert (patch == again).all(), "its seed is its own, not the run's"
    assert (make(images, captions, on, BRIEF.with_values({"seed": 1}), Run(0, CPU))[0] != patch).any()
    write(patch, card, tmp_path / "made")
    found = read_patch(tmp_path / "made")
    assert (found.pixels == patch).all()
    assert found.card["loss"].keys() == {"loss", "text", "triplet"}
    s = BadClipSettings(patch=str(tmp_path / "made"))
    s.check(48, 48)
    assert (trigger(IMAGES, np.arange(3), "badclip", s) != IMAGES).any()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": "dragon"}, "at least 8 of the 60 captions to name 'dragon'.*got 0 that do"),
        ({"side": 60}, "side: expected 1 to 48 pixels for images of 48 x 48, got 60"),
    ],
)
def test_what_it_cannot_be_made_of_is_said(clean, changes, says):
    with pytest.raises(BadInput, match=says):
        make(*clean, BRIEF.with_values(changes), Run(0, CPU))


def test_a_folder_that_holds_another_patch_which_cases_may_name_is_left_as_it_is(clean, tmp_path):
    images, captions, on = clean
    patch, card = make(images, captions, on, BRIEF, Run(0, CPU))
    folder = tmp_path / "made"
    write(patch, card, folder)
    write(patch, card, folder)
    other = make(images, captions, on, BRIEF.with_values({"seed": 1}), Run(0, CPU))
    with pytest.raises(BadInput, match="--out: expected a new folder, got one that holds something"):
        write(*other, folder)
    assert (read_patch(folder).pixels == patch).all()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="--out: expected a folder that can be written"):
        write(np.zeros((3, 3, 3), np.uint8), {"digest": ""}, tmp_path / "file")
