"""PoisonCAM (Qian et al., 2023): find trigger patches without captions, by where masking an image changes its cluster;
tell poisoned images by a classifier trained on the patches found; train again without them.
"""

import numpy as np
import pandas as pd

from ubt.clip.cost import SCORED, trained
from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, Settings, setting
from ubt.core.stage import D, Stage, takes
from ubt.defenses.base import Defense
from ubt.evaluation.stages import trained_stages

STRATEGIES = ("full coverage", "interval", "random")
GREY = 127


class LocateSettings(Settings):
    """Cluster activation masking, and how the candidates are ranked."""

    clusters: int = setting(100, "clusters of M_bd's image embeddings (paper: 1000 for 127K images)", low=2)
    side: float = setting(0.25, "side of a mask, as a share of the image's (paper: 60 of 224 px)", low=0.02, high=1)
    strategy: str = setting(
        "full coverage",
        "which windows are masked: all, half a side apart; every second; or as many at random",
        choices=STRATEGIES,
    )
    images: int = setting(600, "images of D, drawn at random, in which triggers are sought", low=2)
    pasted: int = setting(
        40, "images of D on which a candidate is pasted to see whether it takes them to its cluster", low=1
    )
    top: int = setting(10, "candidates of most flips that are taken for triggers (paper: 20)", low=1)


class ClassifySettings(FitSettings):
    """The poison classifier."""

    steps: int = setting(300, "optimiser steps", low=1)
    batch: int = setting(128, "images in a step, half of them with a trigger pasted", low=2)
    lr: float = setting(2e-3, "peak learning rate", low=0)
    threshold: float = setting(
        0.5,
        "probability from which an image is left out of training; lower if the images the triggers were found in ask"
        " for it",
        low=0,
        high=1,
    )
    most: float = setting(0.1, "share of D that is left out at most", low=0, high=1)


def windows(height: int, width: int, side: int, strategy: str, seed: int) -> np.ndarray:
    """Upper left corners (windows, 2) of square masks.

    >>> windows(8, 8, 4, "full coverage", 0).tolist()
    [[0, 0], [0, 2], [0, 4], [2, 0], [2, 2], [2, 4], [4, 0], [4, 2], [4, 4]]
    >>> windows(8, 8, 4, "interval", 0).tolist()
    [[0, 0], [0, 4], [2, 2], [4, 0], [4, 4]]
    """
    step = max(1, side // 2)
    rows, columns = (np.unique([*range(0, n - side + 1, step), n - side]) for n in (height, width))
    full = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    if strategy == "full coverage":
        return full.reshape(-1, 2)
    every = full[np.add.outer(np.arange(len(rows)), np.arange(len(columns))) % 2 == 0]
    if strategy == "interval":
        return every
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, n - side + 1, len(every)) for n in (height, width)], axis=1)


def masked(image: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Copies (windows, H, W, 3) of an image, one window of each grey."""
    copies = np.repeat(image[None], len(corners), axis=0)
    for copy, (y, x) in zip(copies, corners, strict=True):
        copy[y : y + side, x : x + side] = GREY
    return copies


def clusters(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centres (count, embedding) of spherical k-means over unit vectors, unit vectors themselves."""
    import faiss

    features = np.ascontiguousarray(features, np.float32)
    how = {"niter": 20, "spherical": True, "seed": seed % 2**31, "min_points_per_centroid": 1}
    found = faiss.Kmeans(features.shape[1], min(count, len(features)), **how)
    found.train(features)
    return found.centroids


def activation(own: np.ndarray, changed: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What masking does to an image's cluster.

    Args:
        own: the image's embedding (embedding,). changed: those of its masked copies (windows, embedding).

    Returns:
        Whether each mask changes the cluster, bool (windows,), and how much similarity with the image's own cluster it
        costs (windows,).
    """
    mine = int((centres @ own).argmax())
    similarity = changed @ centres.T
    return similarity.argmax(1) != mine, float(own @ centres[mine]) - similarity[:, mine]


def locate(
    model, images: np.ndarray, features: np.ndarray, pairs: pd.DataFrame, settings: LocateSettings, run: Run
) -> dict:
    """Candidate trigger patches of images of D, and which of them take other images to their cluster.

    Returns:
        `candidates`: id, row, the patch's `y`, `x` and `side` in pixels, whether masking it `changes` the cluster, the
        `drop` of similarity with the image's own cluster, the share of `flips` of images that it was pasted on, and its
        `rank` from 1; `maps`: the drop at each window of each image (images, windows); `windows`: corners (windows, 2);
        `patches`: uint8 (images, side, side, 3).
    """
    from ubt.clip import distributed, models

    model = model.to(run.compute.device)
    n, height, width = images.shape[:3]
    side = max(2, round(settings.side * min(height, width)))
    random = np.random.default_rng(derive_seed(run.seed, "poisoncam"))
    rows = np.sort(random.permutation(n)[: settings.images])
    corners = windows(height, width, side, settings.strategy, derive_seed(run.seed, "poisoncam/windows"))
    centres = clusters(features, settings.clusters, derive_seed(run.seed, "poisoncam/clusters"))
    found, maps, patches = [], [], []
    for done, row in enumerate(rows, 1):
        image = np.asarray(images[row])
        changes, drop = activation(features[row], models.embed_images(model, masked(image, corners, side)), centres)
        at = int(np.where(changes, drop, drop - 4).argmax())
        y, x = corners[at]
        found.append((pairs["id"].iloc[row], row, y, x, side, changes[at], drop[at]))
        maps.append(drop)
        patches.append(image[y : y + side, x : x + side])
        run.progress(done, 2 * len(rows), {})
    found, patches = distributed.from_first(lambda: (found, patches))
    candidates = pd.DataFrame(found, columns=["id", "row", "y", "x", "side", "changes", "drop"])
    onto = np.asarray(images[np.sort(random.permutation(n)[: settings.pasted])])
    flips, before = np.zeros(len(rows)), (models.embed_images(model, onto) @ centres.T).argmax(1)
    for i, (y, x) in enumerate(candidates[["y", "x"]].to_numpy()):
        if candidates["changes"][i]:
            target = int((centres @ features[rows[i]]).argmax())
            pasted = onto.copy()
            pasted[:, y : y + side, x : x + side] = patches[i]
            after = (models.embed_images(model, pasted) @ centres.T).argmax(1)
            flips[i] = ((after == target) & (before != target)).sum() / max(1, (before != target).sum())
        run.progress(len(rows) + i + 1, 2 * len(rows), {})
    order = np.lexsort((-candidates["drop"], -flips))
    candidates["flips"] = flips
    candidates["rank"] = np.argsort(order) + 1
    made = {"maps": np.array(maps, np.float32), "windows": corners, "patches": np.array(patches)}
    return {"candidates": candidates, **made}


def _classifier():
    """A small convolutional network; the largest response anywhere decides, as a trigger may stand anywhere."""
    from torch import nn

    def block(a: int, b: int) -> nn.Sequential:
        parts = [(nn.Conv2d(n, b, 3, padding=1), nn.GroupNorm(8, b), nn.ReLU()) for n in (a, b)]
        return nn.Sequential(*parts[0], *parts[1])

    return nn.Sequential(
        block(3, 16),
        nn.MaxPool2d(2),
        block(16, 32),
        nn.MaxPool2d(2),
        block(32, 64),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 1),
    )


def _logits(model, images):
    """Of uint8 images (n, 3, H, W): fp32 (n,)."""
    return model(images.float() / 127.5 - 1).squeeze(1).float()


def _probability(model, images: np.ndarray, device: str) -> np.ndarray:
    """That images, uint8 (n, H, W, 3), hold a trigger, as the classifier reads them: fp64 (n,)."""
    import torch

    with torch.inference_mode():
        step = 64 if device == "cpu" else 512
        blocks = (torch.from_numpy(np.array(images[i : i + step])).to(device) for i in range(0, len(images), step))
        parts = [_logits(model, block.permute(0, 3, 1, 2)).cpu() for block in blocks]
    return torch.cat(parts).double().sigmoid().numpy()


def _pasted(images: np.ndarray, patches: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Copies of images, each with one of the patches at a random place."""
    copies, side = images.copy(), patches.shape[1]
    height, width = images.shape[1:3]
    places = np.stack([random.integers(0, n - side + 1, len(copies)) for n in (height, width)], axis=1)
    for copy, (y, x), patch in zip(copies, places, patches[random.integers(0, len(patches), len(copies))], strict=True):
        copy[y : y + side, x : x + side] = patch
    return copies


def cut(probability: np.ndarray, found_in: np.ndarray, settings: ClassifySettings) -> float:
    """The probability from which an image is left out of training, unless that were too many (`settings.most`).

    D's own poisons are among the images that count as clean in training, so that the classifier is shy of them. The
    threshold is therefore at most half way, in logits, from D's median to what nine in ten of the images have in which
    triggers were found.

    Args:
        probability: of every image of D (n,). found_in: rows of the images in which the triggers were found.
    """
    p = np.clip(probability, 1e-300, 1 - 2**-53)
    logits = np.log(p) - np.log1p(-p)
    between = (np.quantile(logits[found_in], 0.1) + np.median(logits)) / 2
    return min(settings.threshold, float(1 / (1 + np.exp(-between))))


def classify(
    images: np.ndarray,
    pairs: pd.DataFrame,
    candidates: pd.DataFrame,
    patches: np.ndarray,
    locate: LocateSettings,
    settings: ClassifySettings,
    run: Run,
) -> dict:
    """Train a classifier to tell images with a found trigger pasted from images with a piece of another image pasted,
    and read D with it. What is left out of D has at least the probability `cut`.

    Returns:
        `scores`: id and score, the probability of being poisoned; `kept`: rows of D that stay in training; `history`.
    """
    import torch
    import torch.nn.functional as F

    from ubt.clip import recipes, training

    found = candidates["rank"].to_numpy() <= locate.top
    triggers, others = patches[found], patches[~found] if (~found).any() else patches
    seed = training.batch_seed(run.seed, "poisoncam")
    shuffled = training.Shuffled(np.arange(len(images)), settings.batch, seed)

    def batches(step: int):
        random, some = np.random.default_rng([seed, step]), np.asarray(images[shuffled.at(step)])
        half = len(some) // 2
        labels = np.arange(len(some)) < half
        shown = np.concatenate([_pasted(some[:half], triggers, random), _pasted(some[half:], others, random)])
        channels_first = torch.from_numpy(
            np.ascontiguousarray(shown.transpose(0, 3, 1, 2))
        )  # a view trains at half the speed in bf16 on a CPU
        return {"images": channels_first, "labels": torch.from_numpy(labels).float()}

    def objective(model, batch):
        logits = _logits(model, batch["images"])
        return F.binary_cross_entropy_with_logits(logits, batch["labels"]), {
            "accuracy": ((logits > 0) == (batch["labels"] > 0.5)).float().mean()
        }

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model = _classifier()
    history = recipes.train(model, objective, batches, settings.steps, settings, run)["history"]
    probability = _probability(model, images, run.compute.device)
    least = cut(probability, candidates["row"].to_numpy()[found], settings)
    left_out = min((probability >= least).sum(), round(settings.most * len(images)))
    kept = np.setdiff1d(np.arange(len(images)), np.argsort(-probability, kind="stable")[:left_out])
    return {"scores": pd.DataFrame({"id": pairs["id"], "score": probability}), "kept": kept, "history": history}


def retrain(model, images: np.ndarray, tokens: np.ndarray, kept: np.ndarray, settings, run: Run) -> dict:
    """The reference trained on what the classifier left of D, as M_bd was on all of it. Returns the `model` and its
    `history`.
    """
    from ubt.attacks.train_backdoor import first
    from ubt.clip import recipes
    from ubt.clip.score import some

    model = first(model, tokens, settings, run)
    left = some(images, kept)
    return recipes.train_on_pairs(model, left, tokens[kept], settings, run, "poison", shifts=settings.shifts)


STAGES: tuple[Stage, ...] = (
    Stage(
        "poisoncam_locate",
        "patches whose masking changes an image's cluster, ranked by what they do to others (PoisonCAM)",
        "ubt.defenses.poisoncam:locate",
        takes("poison.model", "data.images", "data.pairs", features="score_poisoned.image_features"),
        {"settings": "locate"},
        cost=lambda s: (
            SCORED * s.locate.images * (1 / s.locate.side * 2) ** 2 * (1 if s.locate.strategy == STRATEGIES[0] else 0.5)
        ),
        gives=("candidates", "maps", "windows", "patches"),
    ),
    Stage(
        "poisoncam_classify",
        "which images hold one of the patches found (PoisonCAM)",
        "ubt.defenses.poisoncam:classify",
        takes("data.images", "data.pairs", "poisoncam_locate.candidates", "poisoncam_locate.patches"),
        {"locate": "locate", "settings": "classify"},
        version=2,
        cost=lambda s: trained(s.classify.steps, s.classify.batch),
        gives=("scores", "kept", "history"),
    ),
    *trained_stages(
        "poisoncam",
        "the model trained after PoisonCAM",
        "the reference trained on what PoisonCAM left of D",
        "ubt.defenses.poisoncam:retrain",
        takes("reference.model", "poisoncam_classify.kept", **D),
        {"settings": "poison"},
        lambda s: trained(s.poison.epochs, s.data.pairs),
    ),
)

DEFENSE = Defense(
    "PoisonCAM",
    STAGES,
    "evaluate_poisoncam",
    "a clean reference",
    trains=True,
    settings={"locate": LocateSettings, "classify": ClassifySettings},
    paper=lambda scale: {"locate.clusters": 1000, "locate.side": 60 / 224, "locate.top": 20},
    look=("#5B6BC0", "hexagon", "dashdot"),
)
