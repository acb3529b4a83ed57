"""Which of somebody's pairs a scanned model draws to its target: those that carry the trigger come first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.artifact import Artefact
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Compute, Progress, fixed_threads, silent
from ubt.data.user_roles import prompts
from ubt.workflows.scan import again

TOGETHER = 2048
"""Pairs that are looked at in one go."""


def drawn(images: np.ndarray, models: Sequence[Any], classes: Sequence[str], target: int) -> np.ndarray:
    """How much nearer the first of two models puts images, uint8 (n, H, W, 3) of its size, to a class than the second,
    the reference, does, each against the likeliest other class, (n,): what a trigger does, wherever it lies and however
    faint it is.

    Looking for the inverted trigger's own pixels finds nothing: it need not lie where the true one does.
    """
    return _drawn(images, [(model, _weights(model, classes)) for model in models], target)


def _weights(model: Any, classes: Sequence[str]) -> np.ndarray:
    from ubt.data import model_input
    from ubt.evaluation import zeroshot

    return zeroshot.class_weights(model, prompts(list(classes), "7", model_input.context_length(model)))


def _drawn(images: np.ndarray, models: Sequence[tuple[Any, np.ndarray]], target: int) -> np.ndarray:
    from ubt.clip.models import embed_images
    from ubt.data import model_input
    from ubt.data.images import refitted

    found = []
    for one, weights in models:
        seen = refitted(images, model_input.image_size(one), model_input.fit(one))
        scores = embed_images(one, seen) @ weights.T
        to_target = scores[:, target].copy()
        scores[:, target] = -np.inf
        found.append(to_target - scores.max(1))
    return found[0] - found[1]


def ranked(
    store: Store, found: Artefact, pairs: str, where: Compute, progress: Progress = silent
) -> tuple[pd.DataFrame, int]:
    """Imported pairs, those whose image the scanned model puts nearest to the target against the reference first:
    image (its place), caption, score (`drawn`); and how many have an image that cannot be read.

    Raises:
        BadInput: the scan has no reference, or judges the model not poisoned.
    """
    from ubt.data import model_input
    from ubt.data.catalogue import open_images

    wanted, target = again(found), found["verdict"]["target"]
    if not wanted.reference or target is None:
        raise BadInput(
            "--pairs: expected a scan with a reference that names a target, to see which images are drawn to it; name a"
            " clean model with --reference, or audit the pairs (python -m ubt audit)"
        )
    both = [store.imported(key)["model"].to(where.device) for key in (wanted.model, wanted.reference)]
    model, target_at = both[0], wanted.classes.index(target)
    source = store.imported(pairs)
    table = source["pairs"]
    places, size = table["image"].to_numpy(object), model_input.image_size(model)
    images = open_images(source["about"], places, size, model_input.fit(model))
    scores = np.full(len(table), np.nan)
    with fixed_threads(where):
        weighted = [(one, _weights(one, wanted.classes)) for one in both]
        for start in range(0, len(table), TOGETHER):
            rows = np.arange(start, min(start + TOGETHER, len(table)))
            bad = images.reasons(rows)
            good = np.array([row for row in rows if row not in bad], np.int64)
            if len(good):
                scores[good] = _drawn(images[good], weighted, target_at)
            progress(int(rows[-1]) + 1, len(table), {})
    said = table[["image", "caption"]].assign(score=scores).dropna(subset="score")
    return said.sort_values("score", ascending=False, kind="stable"), len(table) - len(said)
