"""References that know little or nothing, to see that the verdict says so: `python -m ubt table verdict`."""

import os

import numpy as np

from ubt.cases.store import Store
from ubt.clip import models
from ubt.clip.recipes import ReferenceSettings, train_on_pairs
from ubt.core.run import Compute, Progress, Run, derive_seed, silent
from ubt.data import model_input, scenes
from ubt.data.roles import labelled
from ubt.evaluation import zeroshot
from ubt.workflows.import_model import KEY, card, imported_models

STEPS = {"untrained": 0, "captions shuffled": 100, "barely trained": 100}
"""The kinds, each with its steps of training."""
SEED = 2027
"""Of the scenes they are trained and measured on, other ones than the shipped reference's."""
PAIRS, PER_CLASS = 12_800, 10


def poor_reference(store: Store, kind: str, seed: int, where: Compute, progress: Progress = silent) -> str:
    """The name in the store of a reference of one of the kinds of `STEPS`, made if it is not there; its card says its
    accuracy on fresh scenes, `CA, percent`.
    """
    source = f"poor reference: {kind}, seed {seed}, {where.device} {where.precision}"
    for key, said in imported_models(store).items():
        if said["source"] == source:
            return key
    model = _made(kind, seed, where, progress)
    held = labelled("test", PER_CLASS, SEED)
    right = zeroshot.accuracy(
        zeroshot.classify(model, held["images"], zeroshot.class_weights(model, held["prompts"])), held["labels"]
    )
    about = {"kind": kind, "steps": STEPS[kind], "seed": seed}
    said = card(model, f"{kind}, seed {seed}", source, "clean", (), about, **{"CA, percent": round(right, 2)})
    key = f"{KEY}{said['digest'][:16]}"
    store.write(key, {"model": model, "card": said}, {"stage": "model", "brought": True, "seconds": 0.0})
    return key


def _made(kind: str, seed: int, where: Compute, progress: Progress):
    model, steps = models.create(models.SCENES_CLIP, derive_seed(seed, f"poor reference/{kind}")), STEPS[kind]
    if not steps:
        return model
    pairs = scenes.load_pairs(SEED, "reference", PAIRS, scenes.SIZE, workers=os.cpu_count() or 1)
    tokens = model_input.tokenize(pairs.captions, scenes.CONTEXT)
    if kind == "captions shuffled":
        tokens = tokens[np.random.default_rng(derive_seed(seed, "poor reference/order")).permutation(len(tokens))]
    settings, run = ReferenceSettings(batch=128, lr=1.5e-3), Run(seed, where, progress)
    return train_on_pairs(model, pairs.images, tokens, settings, run, "poor reference", steps=steps)["model"].to("cpu")
