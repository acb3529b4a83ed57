"""Purifies a model that a scan judges poisoned, without its training data: the target's triggers are unlearned, looked
for again in what comes out, and unlearned too, as long as the model says of clean images what it said before.
"""

import copy
import time
from typing import Any

import numpy as np

from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Compute, Progress, Run, derive_seed, fixed_threads, silent
from ubt.core.settings import setting
from ubt.defenses.trigger_unlearning import TriggerUnlearnSettings, unlearn
from ubt.detectors.inversion import METHODS
from ubt.detectors.inversion.base import Given, Trigger
from ubt.workflows.scan import Scan, again, given_of, judged_poisoned, pixels, taken


class PurifySettings(TriggerUnlearnSettings):
    """How a scanned model is purified."""

    starts: int = setting(
        6, "triggers of each kind that are looked for in a round, each from other noise", low=1, high=64
    )
    rounds: int = setting(4, "how often the target's triggers are looked for and unlearned", low=1, high=20)
    images: int = setting(2048, "clean images", low=32)
    held: int = setting(256, "further ones on which agreement is measured", low=32)
    agreement: float = setting(
        98.0, "percent of held images, the half that the model was surest of, that keep their class", low=0, high=100
    )


def purify(
    store: Store, wanted: Scan, key: str, where: Compute, settings: PurifySettings, progress: Progress = silent
) -> tuple[Any, dict[str, Any]]:
    """A copy of a scanned model without its trigger, and what was done.

    Args:
        key: the name of the scan in the store.

    Returns:
        The model, as it was after the last round in which it agreed with itself as it came; and `target`, `rounds` (a
        row of figures each), `agreement` (percent), `seconds`.

    Raises:
        BadInput: the scan does not judge it poisoned. Cancelled: `progress` asked to stop.
    """
    found = store.imported(key)
    if not judged_poisoned(found):
        raise BadInput(
            f"--purified: expected a model that is judged poisoned, but the verdict is {found['verdict']['verdict']!r};"
            " nothing was changed"
        )
    started, target = time.monotonic(), wanted.classes.index(found["verdict"]["target"])
    with fixed_threads(where):
        model = store.imported(wanted.model)["model"].to(where.device)
        images, _ = pixels(store, wanted, model, settings.images + settings.held, "purify")
        cut = round(len(images) * settings.images / (settings.images + settings.held))
        given = given_of(model, images[:cut], images[cut:], wanted.classes)
        before, sure = _sure(given)
        best, told, triggers = copy.deepcopy(model), [], []
        for n in range(settings.rounds):
            triggers += _triggers(given, (target,) * settings.starts, wanted, where, n)
            run = Run(derive_seed(wanted.settings.seed, f"purify/{n}") % 2**31, where, _part(progress, n, settings))
            history = unlearn(model, given.images, [t.apply for t in triggers], settings, run)
            agreement = 100 * float((before == taken(given))[sure].mean())
            told.append({"round": n + 1, **history[-1], "agreement": agreement})
            if told[-1]["agreement"] < settings.agreement:
                break
            best = copy.deepcopy(model)
    kept = [row["agreement"] for row in told if row["agreement"] >= settings.agreement]
    return best, {
        "target": found["verdict"]["target"],
        "rounds": told,
        "agreement": kept[-1] if kept else 100.0,
        "seconds": round(time.monotonic() - started, 1),
    }


def _sure(given: Given) -> tuple[np.ndarray, np.ndarray]:
    """What a model takes the held images for, and which half of them it is surest of (bool): of the others a small
    change decides.
    """
    from ubt.clip import models

    scores = models.embed_images(given.model, given.held) @ given.weights.T
    first_two = np.partition(scores, -2, axis=1)[:, -2:]
    lead = first_two[:, 1] - first_two[:, 0]
    return scores.argmax(1), lead >= np.median(lead)


def _part(progress: Progress, n: int, settings: PurifySettings) -> Progress:
    return lambda done, total, figures: progress(n * total + done, settings.rounds * total, figures)


def _triggers(given: Given, targets: tuple[int, ...], wanted: Scan, where: Compute, n: int) -> list[Trigger]:
    """What both methods find for the target in the model as it is now."""
    one = Given(given.model, given.images, given.held[:64], given.weights, targets)
    seed, found = derive_seed(wanted.settings.seed, f"purify/invert/{n}") % 2**31, []
    for name, method in METHODS.items():
        if method.by_class:
            settings = getattr(wanted.settings, name).with_values({"batch": 16})
            found += method.invert(one, settings, Run(seed, where)).triggers
    return found


def make(
    store: Store, key: str, where: Compute, settings: PurifySettings | None = None, progress: Progress = silent
) -> str:
    """Purify the model of a scan and put it into the store as an imported model is there; returns its name.

    Raises:
        BadInput, Cancelled: see `purify`.
    """
    from ubt.workflows import import_model

    wanted, settings = again(store.imported(key)), settings or PurifySettings()
    model, done = purify(store, wanted, key, where, settings, progress)
    suspect = store.imported(wanted.model)["card"]
    made_from = {
        "parent": {"name": suspect["name"], "digest": suspect["digest"]},
        "scan": {"name": key, **wanted.settings.to_dict()},
        "recipe": settings.to_dict(),
    }
    name = f"{suspect['name']}, purified"
    said = import_model.card(
        model, name, f"scan {key}", "purified", suspect["assumed"], made_from, without_its_data=done
    )
    made = f"{import_model.KEY}{said['digest'][:16]}"
    about = {"stage": "model", "brought": True, "seconds": done["seconds"]}
    store.put(made, {"model": model, "card": said}, about)
    return made
