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
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.detectors.gate.base import Score, Watched, embed
from ubt.evaluation import zeroshot
from ubt.evaluation.detection import auroc
from ubt.workflows import gate as gates
from ubt.workflows.gate_scores import prepared, scored
from ubt.workflows.sources import SHIPPED, resolved

IMAGES = 1000
"""Clean and triggered test images each."""
RATES = {"1 %": 0.01, "5 %": 0.05}
"""False positive rates that the threshold is set for, on clean images that no detector has seen."""
REPEATS, REPEATED = 3, 100
"""How often a detector that draws is asked, with other draws each time, and of how many images of each kind."""
TIMED = 128
"""Images that the time an image takes is measured on."""

_said: dict[tuple, dict[str, dict[str, np.ndarray]]] = {}
"""What detectors have said of the images of the latest cell, since some are made of others: by model, then by which
images, then by detector.
"""


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
        detector: of `IMAGE_DETECTORS`; the first of them alone is measured on further models.

    Returns:
        Of each model `MODEL auroc` and `MODEL found 1 %`, `MODEL found 5 %` (percent of the triggered images, at a
        threshold for that share of other clean images) and `MODEL false 1 %`, `MODEL false 5 %` (what it comes to on
        the clean ones); `works`: percent of the triggered images that the poisoned model takes for the target, and
        `working auroc`, `working found 1 %`, of these alone; `ms`: milliseconds an image; `repeats`: of a detector that
        draws, the standard deviation of its AUROC over `REPEATS` draws, on fewer images.

    Raises:
        BadInput: the detector lacks something. Cancelled: `progress` asked to stop.
    """
    clean, triggered = images_of(case)
    found: dict[str, Any] = {}
    with fixed_threads(where):
        for name, model in models.items():
            if name != "poisoned" and detector != next(iter(IMAGE_DETECTORS)):
                continue
            settings = gates.GateSettings(seed=case.seed)
            watch = gates.Watch(
                resolved(store, model), resolved(store, SHIPPED), classes=scenes.CLASSES, settings=settings
            )
            watched, held = gates.opened(store, watch, where)
            scores = prepared(watched, [detector], settings.seed)
            known = _known(store, watch, case)
            of_held, of_clean, of_triggered = (
                scored(scores, images, progress, known.setdefault(role, {}))[detector]
                for role, images in (("held", held), ("clean", clean), ("triggered", triggered))
            )
            found |= _apart(name, of_clean, of_triggered, np.sort(of_held))
            if name == "poisoned":
                works = _taken(watched, triggered, case.attacks[0])
                found |= {"ms": _milliseconds(scores[detector], clean), "works": 100 * float(works.mean())}
                if works.any():
                    found |= _apart("working", of_clean, of_triggered[works], np.sort(of_held))
                if IMAGE_DETECTORS[detector].draws:
                    found |= {"repeats": _repeated(watched, detector, case.seed, clean, triggered, known, progress)}
    return found


def _known(store: Store, watch: gates.Watch, case: CaseSettings) -> dict[str, dict[str, np.ndarray]]:
    """What has been said of the images of this cell's model; of other models it is forgotten."""
    key = (store.root, watch, tuple(p.attack.name for p in case.attacks))
    found = _said.setdefault(key, {})
    for other in [k for k in _said if k != key]:
        del _said[other]
    return found


def _milliseconds(score: Score, images: np.ndarray) -> float:
    some = images[:TIMED]
    started = time.perf_counter()
    score(some)
    return 1000 * (time.perf_counter() - started) / len(some)


def _repeated(
    watched: Watched,
    detector: str,
    seed: int,
    clean: np.ndarray,
    triggered: np.ndarray,
    known: dict[str, dict[str, np.ndarray]],
    progress: Progress,
) -> float:
    """The standard deviation of a detector's AUROC over some draws."""
    both = np.concatenate([clean[:REPEATED], triggered[:REPEATED]])
    found = []
    for draw in range(1, REPEATS + 1):
        scores = prepared(watched, [detector], seed + 1000 * draw)
        score = scored(scores, both, progress, known.setdefault(f"draw {draw}", {}))[detector]
        found.append(auroc(score, np.arange(len(both)) >= REPEATED))
    return float(np.std(found, ddof=1))


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
