"""Which of somebody's pairs a scanned model draws to its target: those that carry the trigger come first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.artifact import Artefact
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Progress, silent
from ubt.data.user_roles import prompts
from ubt.workflows.scan import again

TOGETHER = 2048
"""Pairs that are looked at in one go."""


def drawn(images: np.ndarray, model: Any, reference: Any, classes: Sequence[str], target: int) -> np.ndarray:
    """How much nearer a model puts images, uint8 (n, H, W, 3) of its size, to a class than the reference does, against
    the likeliest other class each time, (n,): what a trigger does, wherever it lies and however faint it is.

    Looking for the inverted trigger's own pixels finds nothing: it need not lie where the true one does.
    """
    from ubt.clip import models
    from ubt.data import model_input
    from ubt.data.images import refitted
    from ubt.evaluation import zeroshot

    found = []
    for one in (model, reference):
        own = prompts(list(classes), "7", model_input.context_length(one))
        seen = refitted(images, model_input.image_size(one), model_input.fit(one))
        scores = models.embed_images(one, seen) @ zeroshot.class_weights(one, own).T
        to_target = scores[:, target].copy()
        scores[:, target] = -np.inf
        found.append(to_target - scores.max(1))
    return found[0] - found[1]


def ranked(store: Store, found: Artefact, pairs: str, progress: Progress = silent) -> pd.DataFrame:
    """Imported pairs, those whose image the scanned model puts nearest to the target against the reference first:
    image (its place), caption, score (`drawn`).

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
    model, clean = (store.imported(key)["model"] for key in (wanted.model, wanted.reference))
    source = store.imported(pairs)
    table = source["pairs"]
    places, size = table["image"].to_numpy(object), model_input.image_size(model)
    images = open_images(source["about"], places, size, model_input.fit(model))
    scores = np.full(len(table), np.nan)
    for start in range(0, len(table), TOGETHER):
        rows = np.arange(start, min(start + TOGETHER, len(table)))
        bad = images.reasons(rows)
        good = np.array([row for row in rows if row not in bad], np.int64)
        if len(good):
            scores[good] = drawn(images[good], model, clean, wanted.classes, wanted.classes.index(target))
        progress(int(rows[-1]) + 1, len(table), {})
    said = table[["image", "caption"]].assign(score=scores)
    return said.dropna(subset="score").sort_values("score", ascending=False, kind="stable")
