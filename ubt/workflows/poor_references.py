"""References that know little or nothing, to see that the verdict says so: `python -m ubt table verdict`."""

import os

import numpy as np

from ubt.cases.store import Store
from ubt.core.run import Compute, Progress, Run, derive_seed, silent
from ubt.workflows import clean_models

STEPS = {"untrained": 0, "captions shuffled": 100, "barely trained": 50, "little trained": 150}
"""The kinds, each with its steps of training."""
AT_CHANCE = tuple(kind for kind in STEPS if kind != "little trained")
"""Those that know nothing; the other knows a little."""
SEED = 2028
"""Of the scenes they are trained and measured on, other ones than the shipped reference's."""
PAIRS, PER_CLASS = 19_200, 10


def poor_reference(store: Store, kind: str, seed: int, where: Compute, progress: Progress = silent) -> str:
    """The name in the store of a reference of one of the kinds of `STEPS`, made if it is not there; its card says its
    accuracy on fresh scenes, `CA, percent`.
    """
    from ubt.data.roles import labelled
    from ubt.evaluation import zeroshot

    source = f"poor reference: {kind}, seed {seed}" + (f", {where}" if STEPS[kind] else "")
    if key := clean_models.known(store, source):
        return key
    model = _made(kind, seed, where, progress)
    held = labelled("test", PER_CLASS, SEED)
    right = zeroshot.accuracy(
        zeroshot.classify(model, held["images"], zeroshot.class_weights(model, held["prompts"])), held["labels"]
    )
    about = {"kind": kind, "steps": STEPS[kind], "seed": seed}
    return clean_models.keep(store, model, f"{kind}, seed {seed}", source, about, right)


def _made(kind: str, seed: int, where: Compute, progress: Progress):
    from ubt.clip import models
    from ubt.clip.recipes import ReferenceSettings, train_on_pairs
    from ubt.data import model_input, scenes

    model, steps = models.create(models.SCENES_CLIP, derive_seed(seed, f"poor reference/{kind}")), STEPS[kind]
    if not steps:
        return model
    pairs = scenes.load_pairs(SEED, "reference", PAIRS, scenes.SIZE, workers=os.cpu_count() or 1)
    tokens = model_input.tokenize(pairs.captions, scenes.CONTEXT)
    if kind == "captions shuffled":
        tokens = tokens[np.random.default_rng(derive_seed(seed, "poor reference/order")).permutation(len(tokens))]
    settings, run = ReferenceSettings(batch=128, lr=1.5e-3), Run(seed, where, progress)
    return train_on_pairs(model, pairs.images, tokens, settings, run, "poor reference", steps=steps)["model"].to("cpu")
