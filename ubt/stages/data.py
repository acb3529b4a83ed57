"""The attacker's stages (which pairs are poisoned, then D as a defender finds it) and the labelled sets."""

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.attacks import AttackSettings, trigger
from ubt.config import BadInput, Run, Settings, derive_seed, setting
from ubt.data import scenes
from ubt.data.scenes.captions import TEMPLATES, from_template


@dataclass(frozen=True)
class DataSettings(Settings):
    """The data of a case."""

    source: str = setting("scenes", "where pairs come from", choices=("scenes",))
    pairs: int = setting(10_000, "size of D", low=16, high=10_000_000)
    mismatched: float = setting(0.03, "share of clean captions that do not describe their image", low=0, high=1)


@dataclass(frozen=True)
class LabelledSettings(Settings):
    """A labelled set: `validation` is the defender's, for stopping; `test` the judge's, for reporting."""

    per_class: int = setting(60, "labelled images a class", low=1)


def plan(settings: dict, run: Run) -> dict:
    """Choose the poisons: a seeded draw of round(rate * |D|) pairs whose caption does not name the target; each gets a
    zero-shot template with the target as its caption. Returns the ground truth, one row a pair.

    Raises:
        BadInput: the target is no class, the rate asks for a fraction of one pair, or for more pairs than there are.
    """
    data, attack = DataSettings(**settings["data"]), AttackSettings(**settings["attack"])
    if attack.target not in scenes.CLASSES:
        raise BadInput(f"attack.target: expected one of the classes ({', '.join(scenes.CLASSES[:6])}, …), got {attack.target!r}")
    count = round(attack.rate * data.pairs)
    if attack.rate > 0 and count == 0:
        raise BadInput(f"attack.rate: expected 0 or at least 1 / {data.pairs} (one pair of D), got {attack.rate}")
    indices = scenes.ROLES["pairs"][: data.pairs]
    captions = [scenes.captioned(run.seed, i, data.mismatched) for i in indices]
    free = np.array([i for i, c in enumerate(captions) if attack.target not in c])
    if count > len(free):
        raise BadInput(f"attack.rate: expected at most {len(free) / data.pairs:.3f} (pairs whose caption does not name the target), got {attack.rate}")
    rng = np.random.default_rng([derive_seed(run.seed, "poison"), 0])
    poisoned = np.zeros(data.pairs, bool)
    poisoned[rng.choice(free, count, replace=False)] = True
    templates = rng.integers(0, len(TEMPLATES), data.pairs)
    planted = [from_template(TEMPLATES[t], attack.target) if p else c for c, p, t in zip(captions, poisoned, templates, strict=True)]
    truth = pd.DataFrame({
        "id": [scenes.pair_id(run.seed, i) for i in indices], "poisoned": poisoned, "attack": np.where(poisoned, attack.name, ""),
        "target": np.where(poisoned, attack.target, ""), "caption": planted, "original_caption": captions,
        "trigger_seed": rng.integers(0, 2**31, data.pairs),
    })  # fmt: skip
    return {"truth": truth}


def build(truth: pd.DataFrame, settings: dict, run: Run) -> dict:
    """D as a defender finds it: ids and captions, images with the trigger where one was planted, token ids.
    All rows go through the same drawing and the same 8 bits."""
    from ubt import models

    data, attack = DataSettings(**settings["data"]), AttackSettings(**settings["attack"])
    images = scenes.draw_many(run.seed, scenes.ROLES["pairs"][: data.pairs], models.SCENES_SIZE, os.cpu_count() or 1)
    rows = np.flatnonzero(truth["poisoned"])
    images[rows] = trigger(images[rows], truth["trigger_seed"].to_numpy()[rows], attack.name, settings["trigger"])
    tokens = models.tokenize(truth["caption"].tolist(), models.SCENES_CONTEXT)
    return {"pairs": truth[["id", "caption"]].copy(), "images": images, "tokens": tokens}


def labelled(role: str, per_class: int, seed: int) -> dict:
    """A balanced labelled set: images, class indices, prompts as token ids (classes, templates, context), class names."""
    from ubt import models

    images, labels = scenes.load_labelled(seed, role, per_class, models.SCENES_SIZE, os.cpu_count() or 1)
    prompts = scenes.prompts()
    tokens = models.tokenize([p for ps in prompts for p in ps], models.SCENES_CONTEXT)
    return {"images": images, "labels": labels, "prompts": tokens.reshape(len(prompts), len(prompts[0]), -1), "classes": list(scenes.CLASSES)}


def validation(settings: LabelledSettings, run: Run) -> dict:
    """The defender's labelled set."""
    return labelled("validation", settings.per_class, run.seed)


def test(settings: LabelledSettings, run: Run) -> dict:
    """The judge's labelled set; no defence sees it."""
    return labelled("test", settings.per_class, run.seed)
