"""Health: whether a verdict can be given at all, judged by what a defender has: D, the clean reference, the model under
suspicion, and labelled images of the defender's own. Never the ground truth, and never the judge's images.

A check says which answers it puts in doubt. A reference that knows nothing, captions that are all alike and a D_topk of
a few pairs put both in doubt, for then score and displacement mean nothing. A D_susp too small to hold the poisons, a
reference that is the suspect itself, a displacement that only the map's own error keeps under its bar, and a displaced
group that is too few for a crowd can hide a backdoor, but cannot make one up: a model that is over all its bars is
poisoned all the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ubt.core.errors import BadInput
from ubt.core.run import Run, derive_seed
from ubt.data.roles import CleanSettings, LabelledSettings
from ubt.data.user_roles import OwnSettings, labelled_clean

POISONED, NOT_POISONED, CANNOT_TELL = "poisoned", "not poisoned", "cannot tell"
BOTH, NEGATIVE = (POISONED, NOT_POISONED), (NOT_POISONED,)

RETRIEVED = 0.4
"""How far from chance to all other captions those have to reach that a pair's own caption beats in the mean."""
OTHERS = 500
"""Captions of D_normal that each pair's own is compared with."""
COMPARED = 20_000
"""Most pairs of D that are compared."""
LOWEST = 0.1
"""A pair whose caption is beaten by all but this share of others fits badly: of pairs whose captions have nothing to do
with their images this share is below (Storey's estimate of a share of true null hypotheses, 2002).
"""
SMALLEST_K = 4
"""Pairs of a group of D_topk, below which their concentration is an accident."""
TIMES_K = 8
"""Pairs of D_susp to one of D_topk, below which D_topk is hardly a choice."""
SAME = 0.005
"""1 - cosine, in the median, of an image's features under the reference and under the model, below which these are the
same model.
"""
HIGHEST = 1.0
"""Bar of displacement that no backdoor reaches: its images would have to lie at right angles to where they belong."""
ALIKE = 25.0
"""Percent of all pairs of captions that say the same, above which captions tell nothing apart."""


@dataclass(frozen=True)
class Check:
    """One check: its figure, the bar that the figure is held against, whether it `passed`, both in words (`said`), why
    it matters, what to do where it fails, and which answers it then puts in doubt.
    """

    check: str
    figure: float
    bar: float
    passed: bool
    said: str
    why: str
    advice: str
    doubts: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """The same as JSON keeps it."""
        return asdict(self) | {"doubts": list(self.doubts)}


def own_caption_beats(
    images: np.ndarray, texts: np.ndarray, normal: np.ndarray, seed: int, fold: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """How well each pair's own caption fits, against those of other pairs.

    Args:
        images, texts: features under the reference, (n, embedding). normal: rows of D_normal. fold: where these are
            features of several models beside each other, the one that was not trained on each pair, (n,): it alone
            says how well the pair fits, among pairs that it was not trained on either.

    Returns:
        The rows (m,) that were compared, and for each the share of `OTHERS` captions of D_normal that fit its image
        worse than its own does; ties count half.
    """
    random = np.random.default_rng(derive_seed(seed, "health"))
    others = random.permutation(normal if len(normal) else len(images))[:OTHERS]
    rows = np.sort(random.permutation(len(images))[:COMPARED])
    others, beaten = np.sort(others), np.empty(len(rows))
    if fold is None:
        parts = [(np.arange(len(rows)), others, slice(None))]
    else:
        width = images.shape[1] // (count := int(fold.max()) + 1)
        parts = [
            (np.flatnonzero(fold[rows] == f), others[fold[others] == f], slice(f * width, (f + 1) * width))
            for f in range(count)
        ]
    for within, compared, columns in parts:
        captions = np.asarray(texts[compared])[:, columns]
        for i in range(0, len(within), 4096):
            some = rows[at := within[i : i + 4096]]
            image, own = np.asarray(images[some])[:, columns], np.asarray(texts[some])[:, columns]
            fits, fitting = image @ captions.T, np.einsum("ij,ij->i", image, own)[:, None]
            same = np.isclose(fits, fitting, rtol=0, atol=1e-6)
            beaten[at] = ((fits < fitting) & ~same).mean(1) + 0.5 * same.mean(1)
    return rows, beaten


def fits_badly(beaten: np.ndarray) -> float:
    """Share of pairs whose captions have nothing to do with their images, estimated from what `own_caption_beats`
    gives, (m,).

    >>> fits_badly(np.array([0.05, 0.5, 0.95, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    1.0
    """
    return min(1.0, float((beaten < LOWEST).mean() + 0.5 * (beaten == LOWEST).mean()) / LOWEST)


def said_the_same(captions: pd.Series) -> float:
    """Percent of all pairs of captions that are the same but for case, numbers and punctuation.

    >>> said_the_same(pd.Series(["Photo 1", "photo 2.", "a cat", "a dog"])) == 100 * (2**2 + 1 + 1) / 4**2
    True
    """
    plain = captions.map(lambda said: re.sub(r"[\W\d_]+", " ", said.casefold()).strip())
    return 100 * float((plain.value_counts(normalize=True) ** 2).sum())


def accuracy(
    images: pd.DataFrame,
    classes: list[str],
    about: dict,
    model,
    test: LabelledSettings,
    settings: CleanSettings,
    own: OwnSettings,
    run: Run,
) -> dict:
    """How well the reference names labelled images of the defender's own, `clean.per_class` of each class after those
    that the judge takes; arguments as `ubt.data.user_roles.labelled_clean`'s.

    Returns:
        `accuracy`: percent `right`, percent of `chance`, the number of `images`; `right` is None where the judge leaves
        none.
    """
    from ubt.evaluation import zeroshot

    try:
        held = labelled_clean(images, classes, about, model, test, settings, own, run)
    except BadInput:
        return {"accuracy": {"right": None, "chance": 100 / len(classes), "images": 0}}
    predicted = zeroshot.classify(model, held["images"], zeroshot.class_weights(model, held["prompts"]))
    right = zeroshot.accuracy(predicted, np.asarray(held["labels"]))
    return {"accuracy": {"right": right, "chance": 100 / len(classes), "images": len(held["labels"])}}


def of_the_reference(beaten: np.ndarray, cut: float, named: Mapping[str, Any] | None) -> list[Check]:
    """Whether a reference knows such pairs.

    Args:
        beaten: as `own_caption_beats` gives it, (m,), of D_normal, whose pairs are those that are left when the share
            `cut` that fits worst is taken away; so that of any features at all they fit better than chance.
        named: its accuracy, as `accuracy` gives it, None where there are no labelled images.
    """
    figure, chance = 100 * float(beaten.mean()), 50 * (1 + cut)
    bar = chance + RETRIEVED * (100 - chance)
    why = "everything rests on the reference: D_susp is what it finds unfitting, displacement is measured from it"
    advice = "take a clean model that knows such images and captions (own.reference, --reference)"
    found = [
        Check(
            "reference, retrieval of D_normal's captions",
            figure,
            bar,
            figure >= bar,
            f"a pair's own caption beats {figure:.1f} % of others, at least {bar:.1f} needed, chance {chance:.1f}",
            why,
            advice,
            BOTH,
        )
    ]
    if named is not None and named["right"] is not None:
        chance, right = named["chance"], named["right"]
        bar = min(2 * chance, chance + (100 - chance) / 10)
        said = f"{right:.1f} % of {named['images']:,} right, at least {bar:.1f} needed, chance {chance:.1f}"
        found.append(Check("reference, accuracy on labelled images", right, bar, right >= bar, said, why, advice, BOTH))
    return found


def of_the_captions(captions: pd.Series) -> Check:
    """Whether captions tell images apart."""
    same = said_the_same(captions)
    return Check(
        "captions",
        same,
        ALIKE,
        same <= ALIKE,
        f"two captions in {same:.1f} % of cases say the same, at most {ALIKE:g} allowed",
        "where captions are alike any caption fits any image, poisoned or not",
        "take pairs whose captions say what their images show",
        BOTH,
    )


def _of_the_pairs(captions: pd.Series, topk: pd.DataFrame, suspicious: int, beaten: np.ndarray) -> list[Check]:
    k = int(topk["group"].value_counts().min())
    badly, times = round(fits_badly(beaten) * len(captions)), suspicious / k
    return [
        of_the_captions(captions),
        Check(
            "pairs in D_topk",
            k,
            SMALLEST_K,
            k >= SMALLEST_K,
            f"{k} in the smallest group, at least {SMALLEST_K} needed",
            "a few pairs are alike by accident",
            f"bring more pairs, or set select.k to {SMALLEST_K} or more",
            BOTH,
        ),
        Check(
            "D_susp against k",
            times,
            TIMES_K,
            times >= TIMES_K,
            f"{times:.1f} pairs in D_susp to one in D_topk, at least {TIMES_K} needed",
            "D_topk has to be a choice among many, or clean pairs fill it up",
            "bring more pairs, or raise split.fraction",
            NEGATIVE,
        ),
        Check(
            "D_susp against what fits badly",
            suspicious,
            badly,
            suspicious >= badly,
            f"{suspicious:,} pairs in D_susp, about {badly:,} in D fit badly",
            "pairs that fit badly anyhow come first, and a small D_susp may hold them and no poison",
            f"raise split.fraction, to {min(1.0, 1.2 * badly / len(captions)):.2f} or more",
            NEGATIVE,
        ),
    ]


def _of_the_map(between: Sequence[float], scatter: float, floor: float, least: float) -> Check:
    known = np.isfinite(scatter)
    raised = f"scatter {scatter:.3f} raises the bar from {floor:g} to {least:.3g}" if least > floor else "not raised"
    said = f"{raised}; {len(between)} concentrated groups in between" if known else "no map could be fitted"
    said += f", displaced by {', '.join(f'{away:.3f}' for away in between)}" if between else ""
    said += f"; no backdoor is displaced by more than {HIGHEST:g}" if least > HIGHEST else ""
    return Check(
        "bar of displacement",
        len(between),
        0,
        bool(known and not between and least <= HIGHEST),
        said,
        "a group that is a crowd of its own and displaced may be a backdoor; only the map's own error says otherwise",
        "take a reference of the model's own kind and training, or a larger retain.pool",
        NEGATIVE,
    )


def _of_the_crowd(few: Sequence[tuple[float, float | None]], bar: float, times: float) -> Check:
    said = f"{len(few)} concentrated and displaced groups that do not stand apart"
    for apart, exceeds in few:
        said += f"; separated by {apart:.2f}, above {bar:g} needed, or "
        said += (
            "too few other pairs to compare displacement with"
            if exceeds is None
            else f"displaced {exceeds:.2f} times as far as what else fits badly, above {times:g} needed"
        )
    return Check(
        "stands apart",
        len(few),
        0,
        not few,
        said,
        "false captions that were learned by heart displace images as a few poisons do",
        "look at the group's pairs (Inspect), scan the model without any pairs (Scan), or bring more pairs",
        NEGATIVE,
    )


def _of_the_suspect(reference: np.ndarray, suspect: np.ndarray) -> Check:
    apart = float("inf")
    if reference.shape == suspect.shape:
        apart = float(np.median(1 - np.einsum("ij,ij->i", reference, suspect)))
    said = f"images moved by {apart:.4f} in the median" if np.isfinite(apart) else "models of different sizes"
    return Check(
        "suspect and reference differ",
        min(apart, 2.0),
        SAME,
        apart >= SAME,
        f"{said}, at least {SAME:g} needed",
        "measured from itself no model is displaced, so that a backdoor of both stays unseen",
        "take a clean model of other origin as the reference",
        NEGATIVE,
    )


def checked(
    reference_images: np.ndarray,
    reference_texts: np.ndarray,
    looked_at: np.ndarray,
    suspect_images: np.ndarray,
    captions: pd.Series,
    suspicious: np.ndarray,
    topk: pd.DataFrame,
    between: Sequence[float],
    few: tuple[Sequence[tuple[float, float | None]], float, float],
    bars: tuple[float, float, float],
    accuracy: Mapping[str, Any] | None,
    run: Run,
    fold: np.ndarray | None = None,
) -> list[Check]:
    """Every check of a verdict.

    Args:
        reference_images, reference_texts: features of D under the reference, (n, embedding). looked_at: rows (m,) of
            D whose image features under the suspect are `suspect_images` (m, embedding). suspicious: which pairs are of
            D_susp, (n,). between: displacement of groups that are over their bars but for what the map raised. few: how
            far those are apart, and exceed others, that are over all other bars, and these two bars. bars: the map's
            scatter, the floor of displacement, and the bar that the scatter made of it. accuracy: as `accuracy` gives
            it, None where there are no labelled images.
    """
    rows, beaten = own_caption_beats(reference_images, reference_texts, np.flatnonzero(~suspicious), run.seed, fold)
    own = ~suspicious[rows]
    return [
        *of_the_reference(beaten[own] if own.any() else beaten, float(suspicious.mean()), accuracy),
        *_of_the_pairs(captions, topk, int(suspicious.sum()), beaten),
        _of_the_map(between, *bars),
        _of_the_crowd(*few),
        _of_the_suspect(np.asarray(reference_images[looked_at]), np.asarray(suspect_images)),
    ]
