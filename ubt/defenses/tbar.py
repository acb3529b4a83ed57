"""TBAR, trigger removal by backdoor arithmetic (arXiv 2510.14845): M_bd is fine-tuned on pairs that carry the trigger;
what that adds to its weights, the task vector, is taken from them `alpha` times.

The paper knows the trigger, or finds it from the model. Here the pairs are those whose images ours flags, and clean
pairs of the defender's own choose `alpha`.
"""

from typing import Any

import numpy as np
import pandas as pd

from ubt.clip.cost import measured, trained
from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import TRAINED, D, Stage, takes
from ubt.defenses.base import Defense
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.evaluation.stages import along_stage, evaluate_stage

ALONG = "along_tbar"
"""The stage that measures every alpha that is tried."""
LOOKED_AT = 2000
"""Most clean pairs by which alpha is chosen."""


class TbarSettings(FitSettings):
    """Of the paper its abstract alone was read, which states no settings; all are scaled, the best of eight trials by
    CA - ASR (`ubt.reports.paper.tuning`).
    """

    steps: int = setting(20, "optimiser steps of fine-tuning on flagged pairs", low=1)
    batch: int = setting(64, "pairs in a step", low=2)
    lr: float = setting(2e-5, "peak learning rate", low=0)
    most: float = setting(20.0, "the largest alpha that is tried", low=0.1, high=100)
    tried: int = setting(21, "how many alphas are tried, from 0 on", low=2, high=1000)
    lost: float = setting(
        0.1, "share of clean pairs, of those whose caption is the nearest in its batch, that may be lost", low=0, high=1
    )


def tune(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    flagged: pd.DataFrame,
    verdict: dict,
    settings: TbarSettings,
    run: Run,
) -> dict:
    """Fine-tune M_bd with InfoNCE on the pairs that are flagged. A model that is not judged poisoned, or of which fewer
    than two pairs are, stays as it came.

    Returns:
        the tuned `model` and its `history`: loss and mean similarity.
    """
    from ubt.clip import recipes

    rows = np.flatnonzero(flagged["poisoned"])
    if len(rows) < 2 or not judged_poisoned(verdict):
        return {"model": model, "history": pd.DataFrame({"loss": [], "similarity": []})}
    return recipes.train_on_pairs(model, images, tokens, settings, run, "tbar", rows, settings.steps)


def subtract(
    model, tuned, clean_images: np.ndarray, clean_pairs: pd.DataFrame, settings: TbarSettings, run: Run
) -> dict:
    """M_bd minus `alpha` times the task vector, by the largest alpha up to which at most a share of the clean pairs
    that it told apart are lost.

    Returns:
        the purified `model`; `alphas`: `alpha`, the share of clean pairs `found` in their batch, which one is `chosen`.
    """
    from ubt.clip import models
    from ubt.data import model_input

    rows = np.unique(np.linspace(0, len(clean_pairs) - 1, min(LOOKED_AT, len(clean_pairs))).astype(int))
    captions = clean_pairs["caption"].iloc[rows].tolist()
    tokens, images = model_input.tokenize(captions, model_input.context_length(model)), np.asarray(clean_images[rows])
    alphas = np.linspace(0, settings.most, settings.tried)
    found = np.empty(len(alphas))
    for i, alpha in enumerate(alphas):
        left = models.moved(model, tuned, -alpha).to(run.compute.device)
        found[i] = _found(left, images, tokens, settings.batch)
        run.progress(i + 1, len(alphas), {"found": float(found[i])})
    kept = np.logical_and.accumulate(found >= (1 - settings.lost) * found[0])
    chosen = int(np.flatnonzero(kept)[-1]) if found[0] else 0
    return {
        "model": models.moved(model, tuned, -alphas[chosen]),
        "alphas": pd.DataFrame({"alpha": alphas, "found": found, "chosen": np.arange(len(alphas)) == chosen}),
    }


def _found(model, images: np.ndarray, tokens: np.ndarray, batch: int) -> float:
    """The share of pairs whose image is nearest to its own caption, or one that says the same, in a batch of pairs."""
    from ubt.clip import models

    image, text = models.embed_images(model, images), models.embed_tokens(model, tokens)
    right = 0
    for at in range(0, len(tokens), batch):
        some = slice(at, at + batch)
        nearest = (image[some] @ text[some].T).argmax(1)
        right += int((tokens[some][nearest] == tokens[some]).all(1).sum())
    return right / len(tokens)


def _cost(settings: Any) -> float:
    """Seconds that encoding the clean pairs under each alpha takes."""
    return 5e-4 * settings.tbar.tried * min(LOOKED_AT, settings.clean.pairs)


STAGES: tuple[Stage, ...] = (
    Stage(
        "tbar_task",
        "M_bd fine-tuned on the pairs that are flagged, from which TBAR's task vector is taken",
        "ubt.defenses.tbar:tune",
        takes("poison.model", "flag.flagged", "verdict.verdict", **D),
        {"settings": "tbar"},
        observed=True,
        version=5,
        gives=TRAINED,
        cost=lambda s: trained(s.tbar.steps, s.tbar.batch),
    ),
    Stage(
        "tbar",
        "M_bd minus alpha times the task vector (TBAR)",
        "ubt.defenses.tbar:subtract",
        takes("poison.model", tuned="tbar_task.model", clean_images="clean.images", clean_pairs="clean.pairs"),
        {"settings": "tbar"},
        version=5,
        gives=("model", "alphas"),
        cost=_cost,
    ),
    evaluate_stage("evaluate_tbar", "tbar.model", "the model purified by TBAR"),
    along_stage(ALONG, "tbar_task.model", "tbar.alphas", lambda s: s.tbar.tried * measured(s)),
)


DEFENSE = Defense(
    "TBAR",
    STAGES,
    "evaluate_tbar",
    "clean pairs",
    settings={"tbar": TbarSettings},
    toy={"tbar.steps": 2, "tbar.batch": 16, "tbar.tried": 3},
    look=("#A846A0", "hexagram", "dot"),
)
