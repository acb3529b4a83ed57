"""Retain: which pairs look poisoned by their images, which are kept, and what every image should be like.

The clean reference never learned the trigger: where it puts an image, M_bd would put it, but for the backdoor. A linear
map from the reference's image features to M_bd's, fitted on D_normal, says where that is (the image *restored*). A
poison's image under M_bd lies far from its restored place, towards what D_topk's captions say; by that growth poisons
are found whose captions the split could not tell, and the restored features, without what the trigger does to the
reference itself, are what unlearning leads flagged images back to. Clean pairs that show what D_topk's captions say
("banana" must stay a banana) are anchors. No step looks at a label.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from ubt.core.run import Run, derive_seed
from ubt.core.settings import Settings, setting

LEAST = 0.15
"""Displacement below which no group of D_topk is taken to carry a backdoor, however well the map fits."""
TIMES = 4
"""The same, in times the map's own scatter on clean images."""
APART = 0.7
"""Pairs of D_susp pulled as far as a group's, to one pulled half as far, from which on the group counts as a crowd of
its own.
"""
EXCEEDS = 1.5
"""Times that a group is displaced farther than nine in ten of the pairs of D_susp that say something else, from which
on it need be no crowd.
"""
USUAL = 0.9
"""Which quantile of their displacement that is."""
FEW = 20
"""Others below which nothing is usual among them."""
FAR, HALF = 0.7, 0.3
"""How far these are, as shares of the group's own growth."""
STEP = 2048
"""Images that are held at once."""
FITTED = 10_000
"""Most rows that a map is fitted on, and that are looked at in one go."""
TRIMMED = 0.1
"""Share of the pairs farthest from a first fit that the second one leaves out: poisons of D_normal are among them."""


class RetainSettings(Settings):
    """What counts as poisoned, and what unlearning may hold on to."""

    share: float = setting(
        0.5,
        "an image is poisoned when its pull towards D_topk's captions grew, against its restored place, by this share"
        " of D_topk's own growth, or of 0.15 where that is less",
        low=0,
        high=1,
    )
    pool: int = setting(
        800, "pairs of D_normal, drawn at random, that fit the map (take several to a dimension) and are kept", low=2
    )
    anchors: int = setting(
        100, "pairs of D_normal that look most like each group's captions say, for unlearning to hold on to", low=0
    )
    ridge: float = setting(1.0, "ridge of the map from the reference's image features to M_bd's", low=1e-6)


def pull(features: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """Cosine similarity (n,) of images with the mean direction of some captions."""
    centre = captions.mean(0)
    return features @ (centre / np.linalg.norm(centre))


def restored(reference: np.ndarray, model: np.ndarray, fit: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Where a model would put images, by where the reference puts them: ridge regression, fitted twice, the second time
    without the `TRIMMED` share that the first fitted worst.

    Args:
        reference, model: normalised image features of the same images, (n, reference embedding) and (n, embedding).
            fit: their rows to fit on; of more than `FITTED` an even part.

    Returns:
        normalised fp32 (n, embedding); and the map's `scatter`, the median of 1 - cosine of the images it was fitted on
        with where it would put each if fitted without it (leave-one-out, in closed form).
    """
    weights, scatter = fitted(reference, model, fit, ridge)
    return np.concatenate([back for _, back in _mapped(reference, model, weights)]), scatter


def fitted(reference: np.ndarray, model: np.ndarray, fit: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """The map itself and its scatter, as `restored` fits it.

    Args:
        reference, model: features of the same images, (n, reference embedding) and (n, embedding). fit: rows (m,).

    Returns:
        fp64 (reference embedding, embedding), and a number.
    """
    fit = fit if len(fit) <= FITTED else fit[np.linspace(0, len(fit) - 1, FITTED).astype(int)]
    a, b = reference[fit].astype(np.float64), model[fit]
    # D_normal holds the poisons that the split missed, and they lie farthest from a first fit: the second omits them
    _, near = _solved(a, b, np.arange(len(fit)), ridge)
    weights, near = _solved(a, b, np.flatnonzero(near >= np.quantile(near, TRIMMED)), ridge)
    return weights, float(np.median(1 - near))


def _mapped(reference: np.ndarray, model: np.ndarray, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of some images at a time, features under a model and restored ones, which together may not fit into memory."""
    for i in range(0, len(model), FITTED):
        yield model[i : i + FITTED], put(reference[i : i + FITTED], weights)


def put(reference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Where a map puts images, by features under the reference (n, reference embedding): normalised fp32
    (n, embedding).
    """
    return _normalised(reference.astype(np.float64) @ weights).astype(np.float32)


def _normalised(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _solved(a: np.ndarray, b: np.ndarray, rows: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The map from `a` to `b` fitted on some rows, and the cosine of each row of `b` with where it is put by a map
    that was fitted without it.

    Leave-one-out without fitting again: a ridge regression without row i puts a_i at (put_i - h_i b_i) / (1 - h_i),
    where put_i is where the whole fit puts it and h_i = a_i (A'A + ridge I)^-1 a_i' its leverage, by the matrix
    inversion lemma (Allen's PRESS, 1974). A row that was not fitted on has h_i = 0, and stays at put_i. Otherwise the
    map would be judged by images it has adapted to, and the more so the fewer there are to a dimension.
    """
    inverse = np.linalg.inv(a[rows].T @ a[rows] + ridge * np.eye(a.shape[1]))
    weights = inverse @ (a[rows].T @ b[rows])
    put, leverage = a @ weights, np.zeros((len(a), 1))
    leverage[rows, 0] = np.einsum("ij,jk,ik->i", a[rows], inverse, a[rows], optimize=True)
    return weights, (_normalised((put - leverage * b) / (1 - leverage)) * b).sum(1)


def least_displaced(scatter: float, floor: float = LEAST) -> float:
    """Displacement from which on a group counts as carrying a backdoor: what the map leaves of clean images, several
    times, or a floor. A floor below 0 lets every group count.

    >>> least_displaced(0.01), least_displaced(0.04), least_displaced(0.04, -1)
    (0.15, 0.16, -1)
    """
    return max(floor, TIMES * scatter) if floor >= 0 else floor


def crowd(growth: np.ndarray, own: float) -> float:
    """How many images, of this growth (n,), are pulled as far as a group's own, for each that is pulled about half as
    far: a backdoor pulls all that carry its trigger alike, while what a model has learned by heart thins out.

    >>> crowd(np.array([0.1, 0.5, 0.5, 0.9, 1.0, 1.1, 1.0]), 1.0)
    2.0
    """
    far, half = growth > FAR * own, growth > HALF * own
    return float(far.sum() / max(1, (half & ~far).sum()))


def exceeding(displaced: float, others: np.ndarray) -> float:
    """How many times as far a group is displaced as nine in ten of the `others` (n,): whatever fits badly and was
    learned by heart is displaced by as much as it was learned, while one trigger carries few images as far as many. Not
    a number where there are too few others to tell.

    >>> exceeding(0.3, np.array([0.1] * 18 + [0.2] * 2)) > 2
    True
    """
    if len(others) < FEW:
        return float("nan")
    return float(displaced / max(np.quantile(others, USUAL), np.finfo(np.float32).eps))


def is_apart(
    apart: np.ndarray | float, exceeds: np.ndarray | float, least: float = APART, times: float = EXCEEDS
) -> np.ndarray:
    """Whether a group stands apart: as a crowd, or because it is displaced much farther than what else fits badly; of
    any shape, alike for both.
    """
    return (np.asarray(apart) > least) | (np.asarray(exceeds) > times)


def without_common(restored: np.ndarray, group: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Restored features, of flagged images without what those of a group have in common and kept ones do not.

    The reference need not be blind to a trigger: a patch that was optimised on it draws every image to one side there
    too, and restored features would lead M_bd back to that. Where poisons show all kinds of things, as kept images do,
    what the mean of a group differs by is the trigger as the reference sees it; where they all show one thing (the
    target itself, a concept), it is that as well, which is then led away from too. Along that direction images are put
    no farther than the median kept one, by as much of the excess as the difference is more than chance: its share is
    that of James and Stein's estimate, 1 - (variance of the difference) / (its square).

    Args:
        restored: normalised (n, embedding). group: of flagged images, else -1, (n,). kept: which are, (n,).

    Returns:
        The same, normalised fp32.
    """
    found = restored.astype(np.float64)
    if kept.sum() < 2:
        return found.astype(np.float32)
    usual, noise = found[kept].mean(0), _variance_of_mean(found[kept])
    for g in np.unique(group[group >= 0]):
        own = group == g
        common = found[own].mean(0) - usual
        size = np.linalg.norm(common)
        share = 1 - (_variance_of_mean(found[own]) + noise) / size**2 if own.sum() > 1 and size else 0.0
        if share > 0:
            along = common / size
            excess = np.maximum(found[own] @ along - np.median(found[kept] @ along), 0)
            found[own] = _normalised(found[own] - share * np.outer(excess, along))
    return found.astype(np.float32)


def _variance_of_mean(features: np.ndarray) -> float:
    """Of some (n > 1, embedding), summed over its components."""
    return float(features.var(0, ddof=1).sum() / len(features))


def _growth(
    images: Iterable[tuple[np.ndarray, np.ndarray]],
    captions: list[np.ndarray],
    own: list[np.ndarray],
    suspicious: np.ndarray,
    said: np.ndarray,
    share: float,
    scatter: float,
) -> tuple[dict, pd.DataFrame]:
    """How far each image's pull towards each group's captions grew, of the group it grew most towards by that group's
    own growth; and the groups, as `retain` returns them. Beside groups that are displaced and apart, others claim no
    image.

    Args:
        images: features under M_bd, and restored ones, (some, embedding) each, of some of the n at a time.
        captions: features of each group's. own: rows of each group's images.
        suspicious: which images are of D_susp, (n,). said: features of what is said of those, (their number,
            embedding).
    """
    parts = [
        (1 - (features * back).sum(1), np.array([pull(features, c) - pull(back, c) for c in captions]))
        for features, back in images
    ]
    away, grown = np.concatenate([a for a, _ in parts]), np.concatenate([g for _, g in parts], axis=1)
    medians = [float(np.median(g[rows])) for g, rows in zip(grown, own, strict=True)]
    displaced = np.array([float(away[rows].mean()) for rows in own])
    shares = np.array([g / max(LEAST, m) for g, m in zip(grown, medians, strict=True)])
    apart = np.array([crowd(g[suspicious], m) for g, m in zip(grown, medians, strict=True)])
    far = displaced >= least_displaced(scatter)
    crowds = far & (apart >= APART)
    claimed = np.isin(np.flatnonzero(suspicious), np.concatenate(own)) | (shares[crowds][:, suspicious] > share).any(0)
    unlike = [pulled < np.median(pulled) for pulled in (pull(said, c) for c in captions)]
    others = [away[suspicious][some & ~claimed] for some in unlike]
    exceeds = np.array([exceeding(d, some) for d, some in zip(displaced, others, strict=True)])
    # a group without a backdoor would claim clean images that merely resemble its captions
    if (carrying := far & is_apart(apart, exceeds)).any():
        shares[~carrying] = -np.inf
    nearest = shares.argmax(0)
    poisoned = shares.max(0) > share
    own_growth, group = grown[nearest, np.arange(len(nearest))], np.where(poisoned, nearest, -1)
    found = {"growth": own_growth, "poisoned": poisoned, "group": group}
    by_group = {"growth": medians, "displaced": displaced, "scatter": scatter, "apart": apart, "exceeds": exceeds}
    return found, pd.DataFrame({"group": range(len(own))} | by_group)


def retain(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    topk: pd.DataFrame,
    split: pd.DataFrame,
    reference_images: np.ndarray,
    reference_texts: np.ndarray,
    settings: RetainSettings,
    run: Run,
) -> dict:
    """Look at D_susp, D_topk, a random pool of D_normal and the anchors, which is all that unlearning needs.

    Returns:
        `retain`, of the pairs looked at: id, row, `growth` of the pull (of the group it grew most towards, by that
        group's own growth), whether the pair looks `poisoned`, the `group` it then belongs to (else -1), whether it is
        `kept` for unlearning to hold on to, and whether it is an `anchor` among them; `groups`: of each, the median
        `growth` of its own images, how far they are `displaced`, the mean of 1 - cosine of their features with the
        restored ones, the map's `scatter`, how far the group is `apart` (see `crowd`) and by how much it
        `exceeds` what else is displaced (see `exceeding`);
        `features`, `restored`: M_bd's image features and the restored
        ones, normalised fp32 (pairs looked at, embedding).
    """
    from ubt.clip import models

    model = model.to(run.compute.device)
    rows, group = topk["row"].to_numpy(), topk["group"].to_numpy()
    normal, random = np.flatnonzero(~split["suspicious"]), np.random.default_rng(derive_seed(run.seed, "retain"))
    groups = range(group.max() + 1)
    looked_at = [normal[i : i + FITTED] for i in range(0, max(1, len(normal)), FITTED)]
    like = [
        np.concatenate([pull(reference_images[some], reference_texts[rows[group == g]]) for some in looked_at])
        for g in groups
    ]
    anchors = np.unique(
        np.concatenate([normal[np.argsort(-pulled, kind="stable")[: settings.anchors]] for pulled in like])
    )
    pool = random.permutation(normal)[: settings.pool]
    known = np.unique(np.concatenate([np.flatnonzero(split["suspicious"]), rows, anchors, pool]))
    run.progress(0, len(known), {})
    parts = [models.embed_images(model, images[known[i : i + STEP]]) for i in range(0, len(known), STEP)]
    features, texts = np.concatenate(parts), models.embed_tokens(model, tokens[rows])
    run.progress(len(known), len(known), {})
    within = np.isin(known, pool) & np.isin(known, normal) if len(normal) else np.ones(len(known), bool)
    back, scatter = restored(np.asarray(reference_images[known]), features, np.flatnonzero(within), settings.ridge)
    own = [np.searchsorted(known, rows[group == g]) for g in groups]
    suspicious = split["suspicious"].to_numpy()[known]
    captions = [texts[group == g] for g in groups]
    said = models.embed_tokens(model, tokens[known[suspicious]])
    growth, by_group = _growth([(features, back)], captions, own, suspicious, said, settings.share, scatter)
    found = pd.DataFrame({"id": split["id"].to_numpy()[known], "row": known} | growth)
    kept = ~found["poisoned"] & np.isin(known, normal) & ~np.isin(known, rows)
    return {
        "retain": found.assign(kept=kept, anchor=kept & np.isin(known, anchors)),
        "groups": by_group,
        "features": features,
        "restored": back,
    }


def flag(
    topk: pd.DataFrame,
    split: pd.DataFrame,
    image_features: np.ndarray,
    text_features: np.ndarray,
    reference_images: np.ndarray,
    settings: RetainSettings,
    run: Run,
) -> dict:
    """The same for all of D, for an analyst, by a map fitted on all of D_normal: a pair near the threshold may be read
    otherwise by `retain`.

    Args:
        image_features, text_features: under M_bd. reference_images: under the reference.

    Returns:
        `flagged`: id, `growth`, whether the pair looks `poisoned`, the `group` it then belongs to (else -1), in the
            order of D.
    """
    rows, group = topk["row"].to_numpy(), topk["group"].to_numpy()
    features, normal = np.asarray(image_features), np.flatnonzero(~split["suspicious"])
    fit = normal if len(normal) else np.arange(len(features))
    reference = np.asarray(reference_images)
    weights, scatter = fitted(reference, features, fit, settings.ridge)
    own = [rows[group == g] for g in range(group.max() + 1)]
    captions, suspicious = [np.asarray(text_features[r]) for r in own], split["suspicious"].to_numpy()
    mapped = _mapped(reference, features, weights)
    said = np.asarray(text_features[np.flatnonzero(suspicious)])
    found, _ = _growth(mapped, captions, own, suspicious, said, settings.share, scatter)
    return {"flagged": pd.DataFrame({"id": split["id"], **found})}
