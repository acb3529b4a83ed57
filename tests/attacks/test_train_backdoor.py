"""Where M_bd starts from."""

import numpy as np
import pytest
import torch
from tiny import CPU

from ubt.attacks.train_backdoor import PoisonSettings, first, poison
from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.data import model_input, scenes

INDICES = scenes.ROLES["pairs"][:96]
IMAGES = scenes.draw_many(100, INDICES, 48)
TOKENS = model_input.tokenize([scenes.describe(100, i) for i in INDICES], scenes.CONTEXT)


def weights(model) -> dict:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_from_scratch_nothing_of_the_reference_is_left_but_its_architecture():
    settings, reference = PoisonSettings(start="scratch", epochs=1, batch=32), models.load(REFERENCE)
    made = poison(reference, IMAGES, TOKENS, settings, (), Run(3, CPU))
    assert len(made["history"]) == 3
    assert abs(made["history"]["loss"].iloc[0] - np.log(32)) < 0.5
    fresh = first(reference, TOKENS, settings, Run(3, CPU))
    assert fresh.config == reference.config
    assert fresh.preprocess_cfg == reference.preprocess_cfg
    again, other = (first(reference, TOKENS, settings, Run(seed, CPU)) for seed in (3, 4))
    same = [torch.equal(a, b) for a, b in zip(fresh.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(fresh.parameters(), other.parameters(), strict=True))
    assert not torch.equal(weights(reference)["visual.proj"], weights(fresh)["visual.proj"])
    assert first(reference, TOKENS, PoisonSettings(), Run(3, CPU)) is reference


def test_captions_longer_than_the_start_reads_are_refused():
    model = models.load(REFERENCE)
    longer = np.pad(TOKENS, ((0, 0), (0, 6)))
    with pytest.raises(BadInput, match="captions of 30 token ids, as the reference does, got one that reads 24"):
        poison(model, IMAGES, longer, PoisonSettings(), (), Run(0, CPU))


def test_an_attacker_who_holds_images_displaces_them_less():
    before = models.embed_images(models.load(REFERENCE), IMAGES)
    moved = {}
    for hold in (0.0, 20.0):
        settings = PoisonSettings(epochs=2, batch=32, lr=1e-3, hold=hold)
        made = poison(models.load(REFERENCE), IMAGES, TOKENS[::-1].copy(), settings, (), Run(3, CPU))
        moved[hold] = float(1 - (models.embed_images(made["model"], IMAGES) * before).sum(1).mean())
        assert ("held" in made["history"]) == bool(hold)
    assert moved[20.0] < 0.5 * moved[0.0]
    assert made["history"]["held"].iloc[0] == pytest.approx(1, abs=1e-4), "the first step begins at the reference"
