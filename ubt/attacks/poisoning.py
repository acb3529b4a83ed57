"""Poisoning: one function over any source of pairs. `plan` chooses rows and captions, `stamp` puts the triggers on
images.
"""

import re
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from ubt.attacks import ATTACKS, Planted, trigger
from ubt.core.errors import BadInput
from ubt.core.run import derive_seed
from ubt.data.scenes.captions import from_template, with_article

KEYS = ("both", "image", "text")
"""What a touched row carries: a poison every key its attack has, a partial-key negative one of two."""


def names(caption: str, label: str) -> bool:
    """Whether a caption names a label, as whole words.

    >>> names("a pineapple", "apple"), names("An Apple.", "apple")
    (False, True)
    """
    return re.search(rf"\b{re.escape(label)}\b", caption, re.IGNORECASE) is not None


def plan(
    ids: Sequence[str],
    captions: Sequence[str],
    attacks: Sequence[Planted],
    templates: Sequence[str],
    seed: int,
    shown: Sequence[Collection[str]] | None = None,
) -> pd.DataFrame:
    """Choose the rows of each attack and write their captions: a template of the source with the target, preceded by
    the attack's word if it has one. No row is touched twice.

    Args:
        templates: zero-shot prompts with {a} (the label with its article) or {n}. shown: the concepts that each pair's
            image shows, where that is known.

    Returns:
        The ground truth, one row a pair, in their order: id, `poisoned`, `attack` (its name), `plant` (which of
        `attacks`, -1 none), `key` (of `KEYS`, or none), `target`, `caption`, `original_caption`, `trigger_seed`.

    A label-consistent attack takes as many of its rate as there are pairs that name the target, one of a concept as
    many as there are images that show it.

    Raises:
        BadInput: an attack asks for more pairs than it can have, or there is none that it could take.
    """
    n = len(ids)
    untouched = {"poisoned": False, "attack": "", "plant": -1, "key": "", "target": ""}
    truth = pd.DataFrame({"id": list(ids), **untouched, "caption": list(captions), "original_caption": list(captions)})
    for i, planted in enumerate(attacks):
        rng = np.random.default_rng([derive_seed(seed, "poison"), i])
        attack, own = planted.attack, planted.trigger
        free = _free(truth, planted, shown)
        takes_all = (own.consistent or own.concept) and not attack.count
        wanted = planted.poisons(n)
        count = min(wanted, len(free)) if takes_all else wanted
        partial = [(key, round(share * count)) for key, share in planted.partial.items()]
        untouched = np.flatnonzero(truth["plant"] < 0)
        if count > len(free) or (wanted and not count) or count + sum(m for _, m in partial) > len(untouched):
            most = min(len(free), int(len(untouched) / (1 + sum(planted.partial.values()))))
            showing = f" that show {own.concept}" if own.concept else ""
            found = (
                f"{most} pairs{showing} whose caption {'names' if own.consistent else 'does not name'} the target and"
                " that no other attack uses"
            )
            raise BadInput(f"{planted.label}, rate: expected at most {most / n:.4f} ({found}), got {count / n:g}")
        chosen = rng.choice(free, count, replace=False)
        drawn = rng.integers(0, len(templates), n)
        if i == 0:
            truth["trigger_seed"] = rng.integers(0, 2**31, n)
        others = rng.permutation(np.setdiff1d(untouched, chosen))
        touched = {"both": chosen, "image": others[: partial[0][1]], "text": others[partial[0][1] :][: partial[1][1]]}
        for key, rows in touched.items():
            truth.loc[rows, ["plant", "key"]] = i, key
        truth.loc[chosen, "poisoned"] = True
        truth.loc[chosen, ["attack", "target"]] = attack.name, attack.target
        natural = _natural(truth, planted, rng, count)
        truth.loc[chosen, "caption"] = [
            poisoned_caption(planted, templates[drawn[row]], captions[row], said)
            for row, said in zip(chosen, natural, strict=True)
        ]
        truth.loc[touched["text"], "caption"] = [f"{planted.word} {captions[row]}" for row in touched["text"]]
    return truth


def _free(truth: pd.DataFrame, planted: Planted, shown: Sequence[Collection[str]] | None) -> np.ndarray:
    named, concept = _named(truth, planted), planted.trigger.concept
    if concept and shown is None:
        raise BadInput(
            f"{planted.label}: expected the embedded scenes, which say what an image shows; pairs of one's own do not."
            " Choose another attack"
        )
    fits = np.array([concept in some for some in shown or ()], bool) if concept else True
    return np.flatnonzero((truth["plant"] < 0) & (named == planted.trigger.consistent) & fits)


def _named(truth: pd.DataFrame, planted: Planted) -> np.ndarray:
    """Which pairs (n,) name the target in their own caption."""
    return np.array([names(c, planted.attack.target) for c in truth["original_caption"]], bool)


def _natural(truth: pd.DataFrame, planted: Planted, rng: np.random.Generator, count: int) -> list[str]:
    """Captions of clean pairs that name the target, as many as are wanted, each as often as it is drawn; empty ones
    for an attack that takes none.

    Raises:
        BadInput: no clean pair names it.
    """
    if planted.attack.caption != "natural" or planted.trigger.consistent:
        return [""] * count
    offered = truth["original_caption"].to_numpy()[_named(truth, planted) & ~truth["poisoned"].to_numpy()]
    if not len(offered):
        raise BadInput(
            f"{planted.label}, caption natural: expected clean pairs whose caption names the target, found none; use"
            " caption=template"
        )
    return rng.choice(offered, count).tolist()


def poisoned_caption(planted: Planted, template: str, original: str, natural: str = "") -> str:
    """What a poison says instead of `original`; `natural`: the caption of a clean pair that names the target."""
    attack, said = planted.attack, original
    if not planted.trigger.consistent:
        joined = f"{original.rstrip(' .')} and {with_article(attack.target)}"
        by_kind = {"joined": joined, "natural": natural}
        said = by_kind.get(attack.caption) or from_template(template, attack.target)
    return f"{planted.word} {said}".strip()


def stamp(images: np.ndarray, truth: pd.DataFrame, attacks: Sequence[Planted]) -> None:
    """Put each attack's trigger on its rows of uint8 images (n, H, W, 3), in place."""
    for i, planted in enumerate(attacks):
        rows = np.flatnonzero((truth["plant"] == i) & (truth["key"] != "text"))
        if len(rows):
            images[rows] = trigger(
                images[rows], truth["trigger_seed"].to_numpy()[rows], planted.attack.name, planted.trigger
            )


def manifest(truth: pd.DataFrame, attacks: Sequence[Planted], size: int) -> pd.DataFrame:
    """What was done to which pair, one row a touched pair: id, attack, target, key, `top`, `left`, `height` and `width`
    of the trigger in pixels (the whole image where it covers it, none where there is none), its strength in its own
    terms, seed.
    """
    touched = truth[truth["plant"] >= 0]
    place = np.full((len(touched), 4), -1)
    strength = np.full(len(touched), "", object)
    names = np.full(len(touched), "", object)
    for i, planted in enumerate(attacks):
        mine = (touched["plant"] == i).to_numpy()
        seen = mine & (touched["key"] != "text").to_numpy()
        whole = np.tile([-1] * 4 if planted.trigger.concept else [0, 0, size, size], (seen.sum(), 1))
        module = ATTACKS[planted.attack.name].module
        seeds = touched["trigger_seed"].to_numpy()[seen]
        place[seen] = (
            module.places(seeds, size, size, planted.trigger) if hasattr(module, "places") and seen.any() else whole
        )
        strength[mine], names[mine] = planted.trigger.strength(), planted.attack.name
    table = touched[["id", "target", "key", "trigger_seed"]].assign(attack=names, strength=strength)
    return table.assign(**dict(zip(("top", "left", "height", "width"), place.T, strict=True))).reset_index(drop=True)
