"""Purifies a model that a scan judges poisoned, without its training data: the target's triggers are unlearned, looked
for again in what comes out, and unlearned too, as long as the model says of clean images what it said before.
"""

import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ubt.cases.store import Store
from ubt.clip.models import embed_images
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, Run, derive_seed, fixed_threads, silent
from ubt.core.settings import setting
from ubt.defenses.trigger_unlearning import TriggerUnlearnSettings, unlearn
from ubt.detectors.inversion import METHODS
from ubt.detectors.inversion.base import Given, Trigger
from ubt.workflows.scan import Scan, again, given_of, halves, judged_poisoned, pixels, taken

WHOLE, BATCH, LOOKED_AT = 1000, 16, 64
"""Of a part's progress; images in a step of an inversion of one class; held images that its triggers are measured on.
"""


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
        BadInput: the scan does not judge it poisoned. UbtError: it no longer agrees with itself after the first round.
        Cancelled: `progress` asked to stop.
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
        given = given_of(model, *halves(images, settings.images, settings.held), wanted.classes)
        places, (before, sure) = embed_images(model, given.images), _sure(given)
        best, told, triggers = copy.deepcopy(model), [], []
        for n in range(settings.rounds):
            parts = [_part(progress, 3 * n + i, 3 * settings.rounds) for i in range(3)]
            triggers += _triggers(given, (target,) * settings.starts, wanted, where, n, parts[:2])
            run = Run(derive_seed(wanted.settings.seed, f"purify/{n}") % 2**31, where, parts[2])
            history = unlearn(model, given.images, places, [t.apply for t in triggers], settings, run)
            agreement = 100 * float((before == taken(given))[sure].mean())
            told.append({"round": n + 1, **history[-1], "agreement": agreement})
            if told[-1]["agreement"] < settings.agreement:
                break
            best = copy.deepcopy(model)
    kept = [row["agreement"] for row in told if row["agreement"] >= settings.agreement]
    if not kept:
        raise UbtError(
            f"purify: expected a model that still takes {settings.agreement:g} % of clean images for the same class"
            f" after the first round, got {told[0]['agreement']:.1f} %; nothing was kept. Bring more images, or images"
            " that the model can tell apart"
        )
    return best, {
        "target": found["verdict"]["target"],
        "rounds": told,
        "agreement": kept[-1],
        "seconds": round(time.monotonic() - started, 1),
    }


def _sure(given: Given) -> tuple[np.ndarray, np.ndarray]:
    """What a model takes the held images for, and which half of them it is surest of (bool): of the others a small
    change decides.
    """
    scores = embed_images(given.model, given.held) @ given.weights.T
    first_two = np.partition(scores, -2, axis=1)[:, -2:]
    lead = first_two[:, 1] - first_two[:, 0]
    return scores.argmax(1), lead >= np.median(lead)


def _part(progress: Progress, n: int, of: int) -> Progress:
    """Progress of the n-th of so many parts, as if all took as long."""
    return lambda done, total, figures: progress(round(WHOLE * (n + done / max(1, total))), WHOLE * of, figures)


def _triggers(
    given: Given, targets: tuple[int, ...], wanted: Scan, where: Compute, n: int, parts: Sequence[Progress]
) -> list[Trigger]:
    """What both methods find for the target in the model as it is now."""
    one = Given(given.model, given.images, given.held[:LOOKED_AT], given.weights, targets)
    seed, found = derive_seed(wanted.settings.seed, f"purify/invert/{n}") % 2**31, []
    by_class = [name for name, method in METHODS.items() if method.by_class]
    for name, progress in zip(by_class, parts, strict=True):
        settings = getattr(wanted.settings, name).with_values({"batch": BATCH})
        found += METHODS[name].invert(one, settings, Run(seed, where, progress)).triggers
    return found


def make(
    store: Store, key: str, where: Compute, settings: PurifySettings | None = None, progress: Progress = silent
) -> str:
    """Purify the model of a scan and put it into the store as an imported model is there; returns its name.

    Raises:
        BadInput, UbtError, Cancelled: see `purify`.
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
    made = f"{import_model.KEY}{digest([said['digest'], key, settings.to_dict()])}"
    about = {"stage": "model", "brought": True, "seconds": done["seconds"]}
    store.put(made, {"model": model, "card": said}, about)
    return made
