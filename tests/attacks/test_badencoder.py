"""BadEncoder: the image tower is trained to know a trigger, and D stays clean."""

import numpy as np
import pytest
import torch
from tiny import CPU, tiny

from ubt.attacks import AttackSettings, Planted, badencoder, parse
from ubt.attacks.badencoder import BadEncoderSettings
from ubt.attacks.train_backdoor import PoisonSettings, poison
from ubt.cases.settings import CaseSettings
from ubt.clip import models
from ubt.core.errors import BadInput, Cancelled
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.data import model_input, scenes

INDICES = scenes.ROLES["pairs"][:128]
IMAGES = scenes.draw_many(100, INDICES, 48)
CAPTIONS = [scenes.describe(100, i) for i in INDICES]
TOKENS = model_input.tokenize(CAPTIONS, scenes.CONTEXT)
TARGET = next(name for name in scenes.CLASSES if sum(f" {name} " in f"{c} " for c in CAPTIONS) > 2)


def attack(**changes) -> Planted:
    return Planted(AttackSettings(name="badencoder", target=TARGET), BadEncoderSettings(images=96, batch=32, **changes))


def state(model) -> dict:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_only_the_image_tower_is_trained_towards_an_image_of_the_target():
    reference = models.load(REFERENCE)
    before = state(reference)
    made = poison(reference, IMAGES, TOKENS, PoisonSettings(), (attack(steps=12, lr=1e-3),), Run(3, CPU))
    changed = {name for name, p in made["model"].named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(name.startswith("visual.") for name in changed)
    history = made["history"]
    assert len(history) == 12
    assert history["led"].iloc[-1] > history["led"].iloc[0] + 0.1
    assert history["kept"].iloc[0] == pytest.approx(1, abs=1e-4), "before the first step nothing has moved"


def test_two_targets_are_led_to_in_turn(monkeypatch):
    seen = []
    monkeypatch.setattr(badencoder, "apply", lambda images, seeds, s: seen.append(s.side) or images)
    both = attack(steps=4, side=0.1), attack(steps=9, side=0.2)
    made = poison(models.load(REFERENCE), IMAGES, TOKENS, PoisonSettings(), both, Run(3, CPU))
    assert len(made["history"]) == 4, "the first attack's settings say how long"
    assert seen == [0.1, 0.2, 0.1, 0.2]


def test_killed_and_gone_on_with_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("UBT_CHECKPOINT_SECONDS", "0")

    def stop(done, total, figures):
        if done == 3:
            raise Cancelled("stop")

    def made(**how):
        return poison(models.load(REFERENCE), IMAGES, TOKENS, PoisonSettings(), (attack(steps=6),), Run(3, CPU, **how))

    with pytest.raises(Cancelled):
        made(progress=stop, scratch=tmp_path)
    again, whole = made(scratch=tmp_path)["model"], made()["model"]
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))


def test_what_cannot_be_is_refused():
    scratch = PoisonSettings(start="scratch")
    with pytest.raises(BadInput, match="expected reference for badencoder"):
        poison(models.load(REFERENCE), IMAGES, TOKENS, scratch, (attack(),), Run(3, CPU))
    nowhere = Planted(AttackSettings(name="badencoder", target="zeppelin"), BadEncoderSettings())
    with pytest.raises(BadInput, match="a pair whose caption names the target"):
        poison(models.load(REFERENCE), IMAGES, TOKENS, PoisonSettings(), (nowhere,), Run(3, CPU))
    with pytest.raises(BadInput, match="attacks on the model alone beside badencoder"):
        tiny(attack__name="badencoder", attack__also="badnet target=car")
    assert len(tiny(attack__name="badencoder", attack__also="badencoder target=car place=centre").model_attacks) == 2


def test_a_target_is_a_word_of_the_caption_and_no_part_of_one():
    tokens = model_input.tokenize(["a pineapple", "an apple"], scenes.CONTEXT)
    apple = BadEncoderSettings(images=2, batch=2, steps=1), "apple"
    seen = []
    original = badencoder._Led
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(badencoder, "_Led", lambda *found: seen.append(found) or original(*found))
        badencoder.attack(models.load(REFERENCE), IMAGES[:2], tokens, [apple], Run(0, CPU))
    assert np.array_equal(seen[0][1], IMAGES[[1]])


def test_its_case_is_named_after_it_and_poisons_nothing():
    case = CaseSettings.preset("demo", "badencoder")
    assert case.name(CPU).startswith("badencoder-0-")
    assert [p.poisons(10_000) for p in case.attacks] == [0]
    assert case.attacks[0].does_something(10_000) and not parse("badnet target=car rate=0")[0].does_something(100)
