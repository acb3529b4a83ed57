"""Unlearn: push down the similarity of D_topk's images with D_topk's captions (Eqs. 6 and 7).

Published form: Eq. 7 alone, starting from M_bd. Ours adds what a defender can have: InfoNCE on a cleaned D_normal
(retention), a floor below which similarities are left alone, the images of flagged pairs, Eq. 7's pull on images only, a hold on clean pairs that show
what D_topk's captions say (anchors), and a rule for the best step. Both are this function with different settings.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import FitSettings, Run, setting

MASKED = ("text", "image", "image and text", "none")
"""The strategies of Table IV."""


@dataclass(frozen=True)
class UnlearnSettings(FitSettings):
    """Ours."""

    steps: int = setting(80, "optimiser steps", low=1)
    batch: int = setting(64, "pairs of D_unlearn in a step, for each group (paper: 64)", low=1)
    lr: float = setting(2e-4, "peak learning rate", low=0)
    weight_decay: float = setting(0.0, "weight decay", low=0)
    masked: str = setting("text", "what else D_unlearn holds: masked captions (Eq. 6), masked images, both; none is Algorithm 1, line 5", choices=MASKED)
    floor: float = setting(0.0, "similarities below this are left alone; -1 pushes without end, as published", low=-1, high=1)
    widen: int = setting(100, "flagged pairs of each group whose images join D_topk's in Eq. 7, those that grew most; 0 as published", low=0)
    move_captions: bool = setting(False, "Eq. 7 moves captions too, as published; off: images only, so that the target's word keeps its place")
    retention: float = setting(1.0, "weight of InfoNCE on the cleaned D_normal; 0 as published", low=0)
    retention_batch: int = setting(128, "pairs of the cleaned D_normal in a step", low=2)
    hold: float = setting(1.0, "weight of the hold: anchors' similarities may not fall below M_bd's; 0 as published", low=0)
    hold_batch: int = setting(32, "anchors in a step", low=1)
    ca_budget: float = setting(1.0, "points of validation CA that may be lost against M_bd", low=0)
    every: int = setting(10, "steps between two looks at validation images and flagged pairs; 0 never looks and keeps the last step, as published", low=0)

    patience: int = setting(4, "looks without a better step after which unlearning stops", low=1)


@dataclass(frozen=True)
class PublishedSettings(UnlearnSettings):
    """Eq. 7 alone. Paper: batch 64, lr 1e-5, 5 epochs of D_unlearn, 770 steps at k = 70; at k = 10 five epochs are 16 steps,
    too few to forget at 1e-5, so that steps and rate are scaled (the gentlest of four trials that forgot, on seed 100)."""

    steps: int = setting(40, "optimiser steps", low=1)
    lr: float = setting(2e-5, "peak learning rate", low=0)
    schedule: str = setting("constant", "how the learning rate goes on after the warm-up", choices=("cosine", "constant"))
    floor: float = setting(-1.0, "no floor", low=-1, high=1)
    widen: int = setting(0, "D_topk alone", low=0)
    move_captions: bool = setting(True, "Eq. 7 moves images and captions")
    retention: float = setting(0.0, "no retention", low=0)
    hold: float = setting(0.0, "no hold", low=0)
    every: int = setting(0, "no rule for the best step", low=0)


class BestStep:
    """The step to keep, by what a defender has.

    What M_bd reads in most of a group's images of D_topk is that group's presumed target. The probes are pairs that
    retention left out as poisoned and that unlearning does not see; the share of them still read as the presumed target
    estimates ASR. The backdoor is forgotten once that share is no higher than under the clean reference, and D_topk's mean
    similarity no higher than the floor or the reference's; of several groups the worst counts. Of the looks that forgot, the
    one of highest validation CA is kept, those inside the CA budget before others; if none forgot, the one with the fewest
    probes left; of equals the one of lowest similarity. After `patience` looks without a better one it stops.

    Args:
        validation: images, labels, prompts. probes: uint8 images, and the group of each; a group
        without any is probed with its own images of D_topk. topk: D_topk's images, token ids,
        groups.
        before, reference: M_bd and the clean reference.
    """

    def __init__(self, settings: UnlearnSettings, validation: tuple, probes: tuple, topk: tuple, before, reference):
        self.every, self.patience, self.validation, self.topk = settings.every, settings.patience, validation, topk
        read = self._read(before, topk[0])
        targets = np.array([np.bincount(read[topk[2] == g]).argmax() for g in range(topk[2].max() + 1)])
        unprobed = ~np.isin(topk[2], probes[1])
        self.probes, shown = np.concatenate([probes[0], topk[0][unprobed]]), np.concatenate([probes[1], topk[2][unprobed]])
        self.presumed = targets[shown]
        self.groups = [(shown == g, (topk[2] == g)[:, None] & (topk[2] == g)) for g in range(len(targets))]
        natural = self.measure(reference)
        self.natural, self.level = natural["probes_left"], max(natural["topk_similarity"], settings.floor)
        self.least_ca = self.measure(before)["validation_ca"] - settings.ca_budget

    def _read(self, model, images: np.ndarray) -> np.ndarray:
        from ubt.evaluation import zeroshot

        return zeroshot.classify(model, images, zeroshot.class_weights(model, self.validation[2]))

    def measure(self, model) -> dict[str, float]:
        from ubt import models

        images, labels, _ = self.validation
        read = self._read(model, np.concatenate([images, self.probes]))
        left = read[len(labels) :] == self.presumed
        similarity = models.embed_images(model, self.topk[0]) @ models.embed_tokens(model, self.topk[1]).T
        return {
            "validation_ca": 100 * float((read[: len(labels)] == labels).mean()),
            "probes_left": 100 * max(float(left[mine].mean()) for mine, _ in self.groups),
            "topk_similarity": max(float(similarity[product].mean()) for _, product in self.groups),
        }

    def _key(self, row: dict) -> tuple:
        forgotten = row["probes_left"] <= self.natural and row["topk_similarity"] <= self.level
        within = row["validation_ca"] >= self.least_ca
        return forgotten and within, forgotten, row["validation_ca"] if forgotten else -row["probes_left"], -row["topk_similarity"]

    def better(self, history: list[dict]) -> bool:
        looks = [r for r in history if "validation_ca" in r]
        return all(self._key(looks[-1]) > self._key(r) for r in looks[:-1])

    def stop(self, history: list[dict]) -> bool:
        looks = [r for r in history if "validation_ca" in r]
        return len(looks) > self.patience and not any(r.get("best") for r in looks[-self.patience :])


def _widened(rows: np.ndarray, group: np.ndarray, retain: pd.DataFrame, widen: int) -> tuple[np.ndarray, np.ndarray]:
    """D_topk's rows and groups, and after them the flagged pairs of each group that grew most; half of a group's flagged
    pairs at most, so that the rest can probe what is left."""
    wide, shown = [rows], [group]
    for g in range(group.max() + 1):
        flagged = np.setdiff1d(np.flatnonzero(retain["poisoned"] & (retain["group"] == g)), rows)
        most = flagged[np.argsort(-retain["growth"].to_numpy()[flagged], kind="stable")][: min(widen, len(flagged) // 2)]
        wide.append(most)
        shown.append(np.full(len(most), g))
    return np.concatenate(wide), np.concatenate(shown)


def unlearn(
    model, reference, images: np.ndarray, tokens: np.ndarray, topk: pd.DataFrame, masked_tokens: np.ndarray, attributed: pd.DataFrame, maps: np.ndarray,
    how: dict, retain: pd.DataFrame, verdict: dict, validation_images: np.ndarray, validation_labels: np.ndarray, prompts: np.ndarray,
    settings: UnlearnSettings, run: Run,
) -> dict:  # fmt: skip
    """Purify M_bd. A model judged clean is returned as it came.

    D_unlearn is, of each group, the product of D_topk's k images (and of as many flagged ones as `widen` says) with its k
    captions, and as many pairs again of what `masked` says: the same with masked captions, with masked images, with both.

    Returns:
        `model`, and `history`: loss, mean similarity of D_unlearn's batch and, at each look, validation CA and the share
        of probes left, in percent, and D_topk's mean similarity; `best` marks the looks that were better than all before.
    """
    if not verdict["poisoned"]:
        return {"model": model, "history": pd.DataFrame({"step": pd.Series(dtype=int), "loss": pd.Series(dtype=float)})}
    import torch

    from ubt import attribution, models, training

    rows, group = topk["row"].to_numpy(), topk["group"].to_numpy()
    wide, shown = _widened(rows, group, retain, settings.widen)
    pixels, captions = np.asarray(images[wide]), np.asarray(tokens[rows])
    wanted = own = shown[:, None] == group
    if "text" in settings.masked:
        captions = np.concatenate([captions, masked_tokens])
        wanted = np.hstack([own, own])
    if "image" in settings.masked:
        mine = pd.Index(attributed["row"]).get_indexer(wide)
        pixels = np.concatenate([pixels, attribution.masked_images(pixels, maps[mine], how["image_threshold"])])
        wanted = np.vstack([own, own])
    if settings.masked == "image and text":
        nothing = np.zeros_like(own)
        wanted = np.block([[own, nothing], [nothing, own]])
    model, reference = model.to(run.compute.device), reference.to(run.compute.device)

    seed = training.batch_seed(run.seed, "unlearn")
    product = training.Shuffled(np.flatnonzero(wanted), settings.batch * (group.max() + 1), seed)
    fixed = {"images": torch.from_numpy(pixels), "tokens": torch.from_numpy(captions).long()}
    sources = {}
    if settings.retention:
        sources["kept"] = training.PairBatches(images, tokens, settings.retention_batch, seed + 1, np.flatnonzero(retain["kept"]))
    anchors = np.flatnonzero(retain["anchor"])
    if settings.hold and len(anchors):
        sources["anchor"] = training.PairBatches(images, tokens, settings.hold_batch, seed + 2, anchors)
        level = np.zeros(len(images), np.float32)
        level[anchors] = (models.embed_images(model, images[anchors]) * models.embed_tokens(model, tokens[anchors])).sum(-1)

    def batches(step: int):
        batch = {**fixed, "pairs": torch.from_numpy(product.at(step))}
        for name, source in sources.items():
            batch |= {f"{name}_{k}": v for k, v in source(step).items()}
        if "anchor" in sources:
            batch["anchor_level"] = torch.from_numpy(level[sources["anchor"].at(step)])
        return batch

    def objective(model, batch):
        image, text = training.clip_features(model, batch["images"], batch["tokens"])
        text = text if settings.move_captions else text.detach()
        similarity = (image @ text.T).flatten()[batch["pairs"]]
        loss = similarity.clamp_min(settings.floor).mean()
        if "kept" in sources:
            features = training.clip_features(model, batch["kept_images"], batch["kept_tokens"])
            loss = loss + settings.retention * training.contrastive_loss(*features, model.logit_scale.exp())
        if "anchor" in sources:
            image, text = training.clip_features(model, batch["anchor_images"], batch["anchor_tokens"])
            loss = loss + settings.hold * (batch["anchor_level"] - (image * text).sum(-1)).clamp_min(0).mean()
        return loss, {"similarity": similarity.mean()}

    watch = None
    if settings.every:
        flagged = np.setdiff1d(np.flatnonzero(retain["poisoned"]), wide)[:500]
        probes = (np.asarray(images[flagged]), retain["group"].to_numpy()[flagged]) if len(flagged) else (pixels[: len(wide)], shown)
        validation = np.asarray(validation_images), np.asarray(validation_labels), prompts
        watch = BestStep(settings, validation, probes, (np.asarray(images[rows]), np.asarray(tokens[rows]), group), model, reference)
    vocabulary = np.concatenate([np.unique(a) for a in (tokens, captions, prompts)])
    history = training.fit(
        model, objective, batches, settings.steps, settings, run.compute, vocabulary=vocabulary, frozen=("logit_scale",), progress=run.progress,
        checkpoint=training.Checkpoint.under(run.scratch), watch=watch, observe=run.observe,
    )  # fmt: skip
    return {"model": model, "history": pd.DataFrame(history)}
