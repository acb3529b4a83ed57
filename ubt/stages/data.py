"""The attacker's stages (which pairs are poisoned, then D as a defender finds it) and the labelled sets."""

import os
from dataclasses import dataclass

import pandas as pd

from ubt.attacks import poisoning
from ubt.config import Run, Settings, setting
from ubt.data import scenes
from ubt.data.scenes.captions import TEMPLATES


@dataclass(frozen=True)
class DataSettings(Settings):
    """The data of a case."""

    source: str = setting("scenes", "where pairs come from", choices=("scenes",))
    pairs: int = setting(10_000, "size of D", low=16, high=10_000_000)
    mismatched: float = setting(0.03, "share of clean captions that do not describe their image", low=0, high=1)


@dataclass(frozen=True)
class LabelledSettings(Settings):
    """The judge's labelled set, for reporting."""

    per_class: int = setting(60, "labelled images a class", low=1)


@dataclass(frozen=True)
class CleanSettings(Settings):
    """What a defender has of their own, disjoint from D. CleanCLIP's setup, which UBT's comparison follows: 100K pairs and 50K labelled
    images; beside UBT's D of 500K that is a fifth and a tenth."""

    pairs: int = setting(2000, "clean pairs (a fifth of D, as the paper's)", low=2, high=10_000_000)
    per_class: int = setting(15, "labelled images a class (together a tenth of D, as the paper's)", low=1)


def plan(settings: dict, run: Run) -> dict:
    """Choose the poisons (see `ubt.attacks.poisoning.plan`).

    Returns:
        `truth`: the ground truth, one row a pair; `manifest`: what was done to which pair, where, how strongly.

    Raises:
        BadInput: an attack asks for more pairs than it can have, or there is none that it could take.
    """
    data = DataSettings(**settings["data"])
    indices = scenes.ROLES["pairs"][: data.pairs]
    captions = [scenes.captioned(run.seed, i, data.mismatched) for i in indices]
    truth = poisoning.plan([scenes.pair_id(run.seed, i) for i in indices], captions, settings["attacks"], TEMPLATES, run.seed)
    return {"truth": truth, "manifest": poisoning.manifest(truth, settings["attacks"], scenes.SIZE)}


def build(truth: pd.DataFrame, settings: dict, run: Run) -> dict:
    """D as a defender finds it: ids and captions, images with the trigger where one was planted, token ids.
    All rows go through the same drawing and the same 8 bits."""
    from ubt import models

    data = DataSettings(**settings["data"])
    images = scenes.draw_many(run.seed, scenes.ROLES["pairs"][: data.pairs], scenes.SIZE, os.cpu_count() or 1)
    poisoning.stamp(images, truth, settings["attacks"])
    tokens = models.tokenize(truth["caption"].tolist(), models.SCENES_CONTEXT)
    return {"pairs": truth[["id", "caption"]].copy(), "images": images, "tokens": tokens}


def labelled(role: str, per_class: int, seed: int) -> dict:
    """A balanced labelled set: images, class indices, prompts as token ids (classes, templates, context), class names."""
    from ubt import models

    images, labels = scenes.load_labelled(seed, role, per_class, scenes.SIZE, os.cpu_count() or 1)
    prompts = scenes.prompts()
    tokens = models.tokenize([p for ps in prompts for p in ps], models.SCENES_CONTEXT)
    return {"images": images, "labels": labels, "prompts": tokens.reshape(len(prompts), len(prompts[0]), -1), "classes": list(scenes.CLASSES)}


def test(settings: LabelledSettings, run: Run) -> dict:
    """The judge's labelled set; no defence sees it."""
    return labelled("test", settings.per_class, run.seed)


def clean(settings: CleanSettings, run: Run) -> dict:
    """Clean pairs of the defender's own: pairs and images."""
    own = scenes.load_pairs(run.seed, "clean", settings.pairs, scenes.SIZE, workers=os.cpu_count() or 1)
    return {"pairs": pd.DataFrame({"id": own.ids, "caption": own.captions}), "images": own.images}


def labelled_clean(settings: CleanSettings, run: Run) -> dict:
    """Labelled clean images of the defender's own."""
    return labelled("labelled", settings.per_class, run.seed)
