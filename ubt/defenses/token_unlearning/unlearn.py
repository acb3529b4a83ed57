"""Unlearn: push down the similarity of D_topk's images with D_topk's captions (Eqs. 6 and 7).

The published form is Eq. 7 alone, from M_bd. Ours needs neither labels nor clean data of one's own: Eq. 7 pushes images
little lower than the clean reference says they belong (`margin`), flagged images are led back to where it would put
them, without what they have in common there (`ubt.defenses.token_unlearning.retain`), and images that are kept stay
where M_bd has them. Captions and the text tower are left alone, so that the target's word keeps its place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.defenses.token_unlearning.retain import without_common
from ubt.defenses.token_unlearning.verdict import judged_poisoned

if TYPE_CHECKING:
    from ubt.clip.training import Batch, Objective

MASKED = ("text", "image", "image and text", "none")
"""The strategies of Table IV."""
_STRATEGY = "what else D_unlearn holds: masked captions (Eq. 6), masked images, both; none is Algorithm 1, line 5"


class UnlearnSettings(FitSettings):
    """Ours."""

    steps: int = setting(20, "optimiser steps", low=1)
    batch: int = setting(24, "images of D_unlearn in a step, for each group, each with all of its captions", low=1)
    lr: float = setting(7e-4, "peak learning rate", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    masked: str = setting("text", _STRATEGY, choices=MASKED)
    widen: int = setting(200, "flagged pairs of each group whose images join D_topk's, those that grew most", low=0)
    margin: float = setting(
        0.05, "how far below the similarity of where it is led Eq. 7 pushes an image", low=0, high=2
    )
    restore: float = setting(1.0, "weight of 1 - cosine of D_unlearn's images with where they are led", low=0)
    keep: float = setting(8.0, "weight of 1 - cosine of kept images with what they are under M_bd", low=0)
    keep_batch: int = setting(96, "kept pairs in a step", low=1)
    anchor_batch: int = setting(16, "anchors beside them in a step, for each group; 0: none", low=0)


class PublishedSettings(FitSettings):
    """Eq. 7 alone. Paper: batch 64, lr 1e-5, 5 epochs of D_unlearn, 770 steps at k = 70; at k = 10 five epochs are 16
    steps, too few to forget at 1e-5, so that steps and rate are scaled (the best of eight trials on seed 100,
    `ubt.reports.paper.tuning`).
    """

    steps: int = setting(40, "optimiser steps", low=1)
    batch: int = setting(64, "pairs of D_unlearn in a step, for each group (paper: 64)", low=1)
    lr: float = setting(2e-5, "peak learning rate", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    schedule: str = setting(
        "constant", "how the learning rate goes on after the warm-up", choices=("cosine", "constant")
    )
    masked: str = setting("text", _STRATEGY, choices=MASKED)


@dataclass(frozen=True)
class _Product:
    """D_unlearn: uint8 `images` (m, H, W, 3), `row` of D and `group` of each, token ids of `captions` (c, context), and
    which pairs of them are `wanted` (m, c).
    """

    images: np.ndarray
    row: np.ndarray
    group: np.ndarray
    captions: np.ndarray
    wanted: np.ndarray


def _product(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    topk: pd.DataFrame,
    row: np.ndarray,
    group: np.ndarray,
    masked: str,
    masks: tuple[np.ndarray, pd.DataFrame, np.ndarray, dict],
) -> _Product:
    """Of each group, the images `row` with D_topk's captions, and as many pairs again of what `masked` says: the same
    with masked captions, with masked images, with both. `masks`: D_topk's masked captions, and the pairs that were
    attributed, their maps and how, as `ubt.defenses.token_unlearning.mask` gives them.
    """
    from ubt.clip import attribution

    masked_tokens, attributed, maps, how = masks
    pixels, captions = np.asarray(images[row]), np.asarray(tokens[topk["row"].to_numpy()])
    wanted = own = group[:, None] == topk["group"].to_numpy()
    if "text" in masked:
        captions, wanted = np.concatenate([captions, masked_tokens]), np.hstack([own, own])
    if "image" in masked:
        mine = pd.Index(attributed["row"]).get_indexer(row)
        pixels = np.concatenate([pixels, attribution.masked_images(model, pixels, maps[mine], how["image_threshold"])])
        row, group, wanted = np.concatenate([row, row]), np.concatenate([group, group]), np.vstack([own, own])
    if masked == "image and text":
        nothing = np.zeros_like(own)
        wanted = np.block([[own, nothing], [nothing, own]])
    return _Product(pixels, row, group, captions, wanted)


def as_published(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    topk: pd.DataFrame,
    masked_tokens: np.ndarray,
    attributed: pd.DataFrame,
    maps: np.ndarray,
    how: dict,
    verdict: dict,
    settings: PublishedSettings,
    run: Run,
) -> dict:
    """Purify M_bd as published: descend the mean similarity of D_unlearn's pairs, images and captions alike. A model
    that is not judged poisoned is returned as it came.

    Returns:
        `model`, and `history`: loss and mean similarity of the batch.
    """
    if not judged_poisoned(verdict):
        return {"model": model, "history": _untouched()}
    import torch

    from ubt.clip import recipes, training

    chosen = _backdoors(topk, verdict)
    held = np.isin(topk["group"], chosen["group"])
    row, group = chosen["row"].to_numpy(), chosen["group"].to_numpy()
    masks = masked_tokens[held], attributed, maps, how
    product = _product(model, images, tokens, chosen, row, group, settings.masked, masks)
    batch, seed = settings.batch * chosen["group"].nunique(), training.batch_seed(run.seed, "unlearn")
    pairs = training.Shuffled(np.flatnonzero(product.wanted), batch, seed)
    fixed = {"images": torch.from_numpy(product.images), "tokens": torch.from_numpy(product.captions).long()}

    def batches(step: int):
        return {**fixed, "pairs": torch.from_numpy(pairs.at(step))}

    def objective(model, batch):
        image, text = training.clip_features(model, batch["images"], batch["tokens"])
        loss = (image @ text.T).flatten()[batch["pairs"]].mean()
        return loss, {"similarity": loss}

    vocabulary = np.concatenate([np.unique(a) for a in (tokens, product.captions)])
    return recipes.train(model, objective, batches, settings.steps, settings, run, vocabulary, ("logit_scale",))


def ours(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    topk: pd.DataFrame,
    masked_tokens: np.ndarray,
    attributed: pd.DataFrame,
    maps: np.ndarray,
    how: dict,
    retain: pd.DataFrame,
    features: np.ndarray,
    restored: np.ndarray,
    verdict: dict,
    settings: UnlearnSettings,
    run: Run,
) -> dict:
    """Purify M_bd, ours. A model that is not judged poisoned is returned as it came. A masked image is led to the place
    of the whole one.

    Args:
        retain, features, restored: see `ubt.defenses.token_unlearning.retain.retain`; rows alike.

    Returns:
        `model`, and `history`: loss, mean similarity of D_unlearn's batch, mean cosine of its images with where they
        are led (`restored`), of kept ones with where they were (`kept`).
    """
    if not judged_poisoned(verdict):
        return {"model": model, "history": _untouched()}
    from ubt.clip import models, recipes

    model, chosen = model.to(run.compute.device), _backdoors(topk, verdict)
    held = np.isin(topk["group"], chosen["group"])
    row, group = _widened(chosen, retain, settings.widen)
    masks = masked_tokens[held], attributed, maps, how
    product = _product(model, images, tokens, chosen, row, group, settings.masked, masks)
    texts = models.embed_tokens(model, product.captions)
    groups = chosen["group"].nunique()
    batches = _restoring_batches(product, texts, groups, images, retain, features, np.asarray(restored), settings, run)
    text_tower = tuple(n for n, _ in model.named_parameters() if not n.startswith("visual."))
    objective = _restoring_objective(settings)
    return recipes.train(model, objective, batches, settings.steps, settings, run, frozen=text_tower)


def _restoring_batches(
    product: _Product,
    texts: np.ndarray,
    groups: int,
    images: np.ndarray,
    retain: pd.DataFrame,
    features: np.ndarray,
    restored: np.ndarray,
    settings: UnlearnSettings,
    run: Run,
) -> "Callable[[int], Batch]":
    """Step to batch: `images`, those of D_unlearn first and kept ones after them, each with its `target` feature; of
    the first, the `level` (m, c) of similarity with the captions that Eq. 7 pushes down to, and which pairs are
    `wanted`; and the captions' features, `texts` (c, embedding).
    """
    import torch

    from ubt.clip import training

    known, kept = retain["row"].to_numpy(), (retain["kept"] & ~retain["anchor"]).to_numpy()
    at, of = np.searchsorted(known, product.row), retain["group"].to_numpy().copy()
    of[at] = product.group  # D_topk's are unlearned whether they are flagged or not
    target = without_common(restored, of, kept)[at]
    level = target @ texts.T - settings.margin
    seed = training.batch_seed(run.seed, "unlearn")
    pushed = training.Shuffled(np.arange(len(product.images)), settings.batch * groups, seed)
    held = [
        (settings.keep_batch, retain["kept"].to_numpy()),
        (settings.anchor_batch * groups, retain["anchor"].to_numpy()),
    ]
    held_batches = [
        training.Shuffled(np.flatnonzero(rows), size, seed + 1 + i)
        for i, (size, rows) in enumerate(held)
        if size and rows.any()
    ]

    def batches(step: int) -> "Batch":
        own, other = pushed.at(step), np.concatenate([np.zeros(0, int), *(h.at(step) for h in held_batches)])
        arrays = {
            "images": np.concatenate([product.images[own], np.asarray(images[known[other]])]),
            "target": np.concatenate([target[own], features[other]]),
            "level": level[own],
            "wanted": product.wanted[own],
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()} | {
            "texts": torch.from_numpy(texts)
        }

    return batches


def _restoring_objective(settings: UnlearnSettings) -> "Objective":
    """Eq. 7 down to each pair's level, and 1 - cosine of all images with their targets."""
    from ubt.clip import training

    def objective(model, batch):
        image = training.image_features(model, batch["images"])
        n = len(batch["level"])
        near, wanted = (image * batch["target"]).sum(1), batch["wanted"]
        similarity = image[:n] @ batch["texts"].T
        loss = (similarity - batch["level"]).clamp_min(0)[wanted].mean() + settings.restore * (1 - near[:n]).mean()
        figures = {"similarity": similarity[wanted].mean(), "restored": near[:n].mean()}
        if len(image) > n:
            loss, figures = loss + settings.keep * (1 - near[n:]).mean(), figures | {"kept": near[n:].mean()}
        return loss, figures

    return objective


def _untouched() -> pd.DataFrame:
    return pd.DataFrame({"step": pd.Series(dtype=int), "loss": pd.Series(dtype=float)})


def _backdoors(topk: pd.DataFrame, verdict: dict) -> pd.DataFrame:
    """D_topk's rows of the groups that were judged to carry a backdoor."""
    return topk[topk["group"].isin(verdict["groups"])]


def _widened(topk: pd.DataFrame, retain: pd.DataFrame, widen: int) -> tuple[np.ndarray, np.ndarray]:
    """D_topk's rows and groups, and after them the flagged pairs of each group that grew most."""
    rows, groups = [topk["row"].to_numpy()], [topk["group"].to_numpy()]
    for g in topk["group"].unique():
        flagged = retain[retain["poisoned"] & (retain["group"] == g) & ~retain["row"].isin(rows[0])].nlargest(
            widen, "growth"
        )["row"]
        rows.append(flagged.to_numpy())
        groups.append(np.full(len(flagged), g))
    return np.concatenate(rows), np.concatenate(groups)
