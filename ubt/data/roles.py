"""The sets of a case on scenes that play a role: what measures, and the clean pairs and images of the defender."""

import os

import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import Settings, setting
from ubt.data import scenes


class DataSettings(Settings):
    """The data of a case."""

    source: str = setting("scenes", "where pairs come from", choices=("scenes",))
    pairs: int = setting(10_000, "size of D", low=16, high=10_000_000)
    mismatched: float = setting(0.03, "share of clean captions that do not describe their image", low=0, high=1)


class LabelledSettings(Settings):
    """The judge's labelled set, for reporting."""

    per_class: int = setting(60, "labelled images a class", low=1)


class CleanSettings(Settings):
    """What a defender has of their own, disjoint from D. CleanCLIP's setup, which UBT's comparison follows: 100K pairs
    and 50K labelled images; beside UBT's D of 500K that is a fifth and a tenth.
    """

    pairs: int = setting(2000, "clean pairs (a fifth of D, as the paper's)", low=2, high=10_000_000)
    per_class: int = setting(15, "labelled images a class (together a tenth of D, as the paper's)", low=1)


def labelled(role: str, per_class: int, seed: int) -> dict:
    """A balanced labelled set: images, class indices, prompts as token ids (classes, templates, context), class
    names.
    """
    from ubt.data import model_input

    images, labels = scenes.load_labelled(seed, role, per_class, scenes.SIZE, os.cpu_count() or 1)
    prompts = scenes.prompts()
    tokens = model_input.tokenize([p for ps in prompts for p in ps], scenes.CONTEXT)
    return {
        "images": images,
        "labels": labels,
        "prompts": tokens.reshape(len(prompts), len(prompts[0]), -1),
        "classes": list(scenes.CLASSES),
    }


def test(settings: LabelledSettings, run: Run) -> dict:
    """The judge's labelled set; no defence sees it: `images`, `labels`, `prompts` and `classes`."""
    return labelled("test", settings.per_class, run.seed)


def clean(settings: CleanSettings, run: Run) -> dict:
    """Clean pairs of the defender's own: `pairs` (id and caption) and `images`."""
    own = scenes.load_pairs(run.seed, "clean", settings.pairs, scenes.SIZE, workers=os.cpu_count() or 1)
    return {"pairs": pd.DataFrame({"id": own.ids, "caption": own.captions}), "images": own.images}


def labelled_clean(settings: CleanSettings, run: Run) -> dict:
    """Labelled clean images of the defender's own: `images`, `labels` and `prompts`."""
    return labelled("labelled", settings.per_class, run.seed)
