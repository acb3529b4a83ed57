"""The encoder that SSBA needs: training, its card, damaged and hostile files."""

import json

import numpy as np
import pytest

from ubt.attacks import ssba, stegastamp, stegastamp_card
from ubt.attacks.ssba import SHIPPED, SsbaSettings
from ubt.attacks.stegastamp import StegaStampSettings, measure, train
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import file_digest
from ubt.core.run import Compute
from ubt.data import scenes

CPU = Compute("cpu", "fp32")
SMALL = StegaStampSettings(size=24, bits=2, scenes=64, steps=100, batch=16, lr=3e-3, image_from=1.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    losses = []
    card = train(SMALL, CPU, folder, lambda done, total, figures: losses.append(figures["loss"]))
    return folder, card, losses


def test_training_learns_and_leaves_a_card_that_fits(trained):
    folder, card, losses = trained
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert card["bit accuracy, percent"] > 65
    assert card == json.loads((folder / "card.json").read_text())
    assert card["digest"] == file_digest(folder / stegastamp.WEIGHTS)
    assert (card["size"], card["bits"]) == (24, 2)
    assert {p.name for p in folder.iterdir()} == {"card.json", stegastamp.WEIGHTS}
    images = scenes.draw_many(SMALL.seed, scenes.ROLES["test"][:512], 24)
    assert measure(stegastamp.load(folder), images)["PSNR, dB"] == card["PSNR, dB"]


def test_an_interrupted_training_goes_on_to_the_same_encoder(trained, tmp_path):
    def stop(done, total, figures):
        if done == 17:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        train(SMALL, CPU, tmp_path, stop)
    steps = []
    assert (
        train(SMALL, CPU, tmp_path, lambda done, total, figures: steps.append(done))["digest"] == trained[1]["digest"]
    )
    assert steps[0] == 18


def test_an_encoder_for_another_size_is_refused_before_anything_is_made(trained):
    with pytest.raises(BadInput, match=r"48 x 48 pixels, got one for 24 x 24.*train-stegastamp --size 48"):
        CaseSettings().with_values({"attack.name": "ssba", "ssba.encoder": str(trained[0])})


def test_damaged_and_hostile_encoders_are_refused(trained, tmp_path):
    for name in ("card.json", stegastamp.WEIGHTS):
        (tmp_path / name).write_bytes((trained[0] / name).read_bytes())
    (tmp_path / stegastamp.WEIGHTS).write_bytes(b"\x80\x04 not weights")
    with pytest.raises(UbtError, match="the bytes its card describes"):
        stegastamp.load(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card | {"digest": file_digest(tmp_path / stegastamp.WEIGHTS)}))
    with pytest.raises(UbtError, match="weights that fit its card"):
        stegastamp.load(tmp_path)
    for wrong in ("{}", "[]", "not json", json.dumps(card | {"size": 10**9}), json.dumps(card | {"bits": "many"})):
        (tmp_path / "card.json").write_text(wrong)
        with pytest.raises(BadInput, match="train-stegastamp"):
            stegastamp_card.read_card(tmp_path)
    with pytest.raises(BadInput, match="multiple of 8"):
        StegaStampSettings(size=50)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="folder that can be written"):
        train(SMALL, CPU, tmp_path / "file")


def test_the_shipped_encoder_is_what_its_card_says():
    card = stegastamp_card.read_card(SHIPPED)
    images = scenes.draw_many(2026, scenes.ROLES["test"][:512], 48)
    measured = measure(stegastamp.load(SHIPPED), images)
    assert measured["bit accuracy, percent"] == pytest.approx(card["bit accuracy, percent"], abs=0.1)
    assert measured["PSNR, dB"] == pytest.approx(card["PSNR, dB"], abs=0.05)
    assert ssba.measured(images[:64], SsbaSettings())["PSNR, dB"] < measured["PSNR, dB"] - 8
