"""Whether a reference knows somebody's pairs, before an audit rests on it: the verdict's own health checks of the
reference and of the captions, on a sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.store import Store
from ubt.clip.cost import SCORED
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, derive_seed, fixed_threads, silent
from ubt.data.user_roles import MOST_SPARED, prompts, spared
from ubt.defenses.token_unlearning import health
from ubt.workflows.ingest import trained_on

SAMPLE = 500
"""Pairs, and labelled images, that are looked at."""
LEAST = 8
SHIPPED = 5.9e6
"""Parameters of the shipped reference, whose speed is declared."""
NEAR = 0.1
"""How far from chance to all a figure is that is called chance."""


def key_of(reference: str, pairs: str, labelled: str) -> str:
    """The name in the store of what was found of a reference on some pairs, with or without labelled images."""
    return f"health-{digest(['reference health 1', reference, pairs, labelled])}"


def checks(store: Store, reference: str, pairs: str, labelled: str) -> list[dict[str, Any]] | None:
    """The checks that were made, as of `ubt.defenses.token_unlearning.health.Check`; None if none were yet."""
    found = store.find(key_of(reference, pairs, labelled)) if reference and pairs else None
    return None if found is None else found["checks"]


def failed(found: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Those that were failed."""
    return [check for check in found or () if not check["passed"]]


def at_chance(check: Mapping[str, Any], classes: int = 0) -> bool:
    """Whether a failed check of a reference is as good as guessing; `classes`: of the labelled images."""
    chance = 100 / classes if "accuracy" in check["check"] and classes else 50.0
    return check["check"].startswith("reference") and check["figure"] < chance + NEAR * (100 - chance)


def seconds(parameters: int, labelled: str) -> float:
    """What it takes, declared as stages declare it, of a model of so many parameters."""
    return SCORED * SAMPLE * max(1.0, parameters / SHIPPED) * (2 + bool(labelled))


def examine(
    store: Store, reference: str, pairs: str, labelled: str, compute: Compute, progress: Progress = silent
) -> str:
    """Make the checks and put them into the store, as `checks` and the number of `pairs` that were looked at; returns
    their name.

    Raises:
        BadInput: something is not there, or too few images can be read.
    """
    with fixed_threads(compute):
        model = store.imported(reference)["model"].to(compute.device)
        found = store.imported(pairs)
        table, share = found["pairs"], trained_on(store, pairs, reference)
        if share <= MOST_SPARED:
            table = table[~spared(table["image"], share)].reset_index(drop=True)
        images, table = _sample(table, found["about"], model, "pairs")
        made = [check.plain() for check in _checked(model, images, table["caption"], progress)]
        if labelled:
            made += [c.plain() for c in _accuracy(model, store.imported(labelled))]
        progress(2, 2, {})
    key = key_of(reference, pairs, labelled)
    of = [name for name in (reference, pairs, labelled) if name]
    about = {"stage": "health", "brought": True, "of": of, "seconds": 0.0}
    store.put(key, {"checks": made, "pairs": len(table)}, about)
    return key


def _sample(table: pd.DataFrame, about: dict, model, what: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Some rows whose image can be read, with these, uint8 (n, size, size, 3)."""
    from ubt.data import model_input
    from ubt.data.catalogue import open_images
    from ubt.data.images import sift

    order = np.random.default_rng(derive_seed(0, f"reference health/{what}")).permutation(len(table))[:SAMPLE]
    some = table.iloc[np.sort(order)].reset_index(drop=True)
    images = open_images(about, some["image"].to_numpy(object), model_input.image_size(model), model_input.fit(model))
    good = np.setdiff1d(np.arange(len(some)), list(sift(images, np.arange(len(some)))))
    if len(good) < LEAST:
        raise BadInput(
            f"{about['path']}: expected at least {LEAST} {what} whose images can be read, got {len(good)}; put the"
            " images back, or import others"
        )
    return images[good], some.iloc[good].reset_index(drop=True)


def _checked(model, images: np.ndarray, captions: pd.Series, progress: Progress) -> list[health.Check]:
    from ubt.clip import models
    from ubt.data import model_input

    features = models.embed_images(model, images, progress=progress)
    tokens = model_input.tokenize(captions.tolist(), model_input.context_length(model))
    _, beaten = health.own_caption_beats(features, models.embed_tokens(model, tokens), np.arange(len(tokens)), 0)
    (retrieval,) = health.of_the_reference(beaten, 0.0, None)
    return [replace(retrieval, check="reference, retrieval of these captions"), health.of_the_captions(captions)]


def _accuracy(model, found: Mapping[str, Any]) -> list[health.Check]:
    """The check of its accuracy on labelled images."""
    from ubt.data import model_input
    from ubt.evaluation import zeroshot

    images, table = _sample(found["images"], found["about"], model, "labelled images")
    weights = zeroshot.class_weights(model, prompts(found["classes"], "7", model_input.context_length(model)))
    right = zeroshot.accuracy(zeroshot.classify(model, images, weights), table["label"].to_numpy())
    named = {"right": right, "chance": 100 / len(found["classes"]), "images": len(table)}
    return health.of_the_reference(np.ones(1), 0.0, named)[1:]
