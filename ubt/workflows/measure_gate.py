"""What a detector of one image is worth on a model whose trigger is known: how well triggered images stand apart from
clean ones, on the poisoned model and once it is purified. For `python -m ubt table gate`.
"""

import time
from typing import Any

import numpy as np

from ubt.attacks import Planted, trigger
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute, Progress, derive_seed, fixed_threads
from ubt.data import scenes
from ubt.data.user_roles import prompts
from ubt.detectors.gate.base import Watched, embed
from ubt.evaluation import zeroshot
from ubt.evaluation.detection import auroc
from ubt.workflows import gate as gates
from ubt.workflows.sources import SHIPPED, resolved

IMAGES = 1000
"""Clean and triggered test images each."""
RATES = {"1 %": 0.01, "5 %": 0.05}
"""False positive rates that the threshold is set for, on clean images that no detector has seen."""


def images_of(case: CaseSettings, count: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """Clean scenes that no stage and no gate has seen, and as many others with the first attack's trigger, uint8
    (count, 48, 48, 3) each.
    """
    seed, planted = derive_seed(case.seed, "table/gate"), case.attacks[0]
    first = int(np.random.default_rng(seed).integers(10**8))
    pool = scenes.draw_many(seed % 2**31, scenes.ROLES["retrieval"][first : first + 2 * count], scenes.SIZE)
    seeds = np.random.default_rng([seed, 1]).integers(0, 2**31, count)
    return pool[:count], trigger(pool[count:], seeds, planted.attack.name, planted.trigger)


def measure(
    store: Store, case: CaseSettings, models: dict[str, str], detector: str, where: Compute, progress: Progress
) -> dict[str, Any]:
    """Score clean and triggered images on a case's models beside the shipped reference, or without one.

    Args:
        models: what the columns call them, each as `ubt.workflows.sources.resolved` takes it; `poisoned` first.
        detector: of `IMAGE_DETECTORS`.

    Returns:
        Of each model `MODEL auroc` and `MODEL found 1 %`, `MODEL found 5 %` (percent of the triggered images, at a
        threshold for that share of other clean images) and `MODEL false 1 %`, `MODEL false 5 %` (what it comes to on
        the clean ones); `works`: percent of the triggered images that the poisoned model takes for the target, and
        `working auroc`, `working found 1 %`, of these alone; `ms`: milliseconds an image.

    Raises:
        BadInput: the detector lacks something. Cancelled: `progress` asked to stop.
    """
    clean, triggered = images_of(case)
    found: dict[str, Any] = {}
    with fixed_threads(where):
        for name, model in models.items():
            settings = gates.GateSettings(seed=case.seed)
            watch = gates.Watch(
                resolved(store, model), resolved(store, SHIPPED), classes=scenes.CLASSES, settings=settings
            )
            watched, held = gates.opened(store, watch, where)
            scores = gates.prepared(watched, [detector], settings)
            bar = np.sort(gates.scored(scores, held)[detector])
            started = time.perf_counter()
            of_clean, of_triggered = (gates.scored(scores, i, progress)[detector] for i in (clean, triggered))
            took = 1000 * (time.perf_counter() - started) / (2 * len(clean))
            found |= _apart(name, of_clean, of_triggered, bar)
            if name == "poisoned":
                works = _taken(watched, triggered, case.attacks[0])
                found |= {"ms": took, "works": 100 * float(works.mean())}
                if works.any():
                    found |= _apart("working", of_clean, of_triggered[works], bar)
    return found


def _apart(name: str, clean: np.ndarray, triggered: np.ndarray, held: np.ndarray) -> dict[str, float | None]:
    truth = np.arange(len(clean) + len(triggered)) >= len(clean)
    found = {f"{name} auroc": auroc(np.concatenate([clean, triggered]), truth)}
    for said, rate in RATES.items():
        threshold = held[len(held) - int((len(held) + 1) * rate)]
        found |= {f"{name} found {said}": 100 * float((triggered > threshold).mean())}
        found |= {f"{name} false {said}": 100 * float((clean > threshold).mean())}
    return found


def _taken(watched: Watched, images: np.ndarray, planted: Planted) -> np.ndarray:
    """Which images (n,) the model takes for the target."""
    texts = zeroshot.class_weights(watched.model, prompts(list(watched.names), "7", scenes.CONTEXT))
    return (embed(watched.model, images) @ texts.T).argmax(1) == watched.names.index(planted.attack.target)
