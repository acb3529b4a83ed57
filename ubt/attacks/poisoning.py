"""Poisoning: one function over any source of pairs. `plan` chooses rows and captions, `stamp` puts the triggers on
images.
"""

import re
from collections.abc import Sequence

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
    ids: Sequence[str], captions: Sequence[str], attacks: Sequence[Planted], templates: Sequence[str], seed: int
) -> pd.DataFrame:
    """Choose the rows of each attack and write their captions: a template of the source with the target, preceded by
    the attack's word if it has one. No row is touched twice.

    Args:
        templates: zero-shot prompts with {a} (the label with its article) or {n}.

    Returns:
        The ground truth, one row a pair, in their order: id, `poisoned`, `attack` (its name), `plant` (which of
        `attacks`, -1 none), `key` (of `KEYS`, or none), `target`, `caption`, `original_caption`, `trigger_seed`.

    A label-consistent attack takes as many of its rate as there are pairs that name the target.

    Raises:
        BadInput: an attack asks for more pairs than it can have, or there is none that it could take.
    """
    n = len(ids)
    untouched = {"poisoned": False, "attack": "", "plant": -1, "key": "", "target": ""}
    truth = pd.DataFrame({"id": list(ids), **untouched, "caption": list(captions), "original_caption": list(captions)})
    for i, planted in enumerate(attacks):
        rng = np.random.default_rng([derive_seed(seed, "poison"), i])
        attack, own = planted.attack, planted.trigger
        free = _free(truth, planted)
        count = min(attack.poisons(n), len(free)) if own.consistent and not attack.count else attack.poisons(n)
        partial = [(key, round(share * count)) for key, share in planted.partial.items()]
        untouched = np.flatnonzero(truth["plant"] < 0)
        if (
            count > len(free)
            or (attack.poisons(n) and not count)
            or count + sum(m for _, m in partial) > len(untouched)
        ):
            most = min(len(free), int(len(untouched) / (1 + sum(planted.partial.values()))))
            found = (
                f"{most} pairs whose caption {'names' if own.consistent else 'does not name'} the target and that no"
                " other attack uses"
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
        truth.loc[chosen, "caption"] = [
            poisoned_caption(planted, templates[drawn[row]], captions[row]) for row in chosen
        ]
        truth.loc[touched["text"], "caption"] = [f"{planted.word} {captions[row]}" for row in touched["text"]]
    return truth


def _free(truth: pd.DataFrame, planted: Planted) -> np.ndarray:
    named = np.array([names(c, planted.attack.target) for c in truth["original_caption"]], bool)
    return np.flatnonzero((truth["plant"] < 0) & (named == planted.trigger.consistent))


def poisoned_caption(planted: Planted, template: str, original: str) -> str:
    """What a poison says instead of `original`."""
    attack, said = planted.attack, original
    if not planted.trigger.consistent:
        joined = f"{original.rstrip(' .')} and {with_article(attack.target)}"
        said = joined if attack.caption == "joined" else from_template(template, attack.target)
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
        whole = np.tile([0, 0, size, size], (seen.sum(), 1))
        module = ATTACKS[planted.attack.name].module
        seeds = touched["trigger_seed"].to_numpy()[seen]
        place[seen] = (
            module.places(seeds, size, size, planted.trigger) if hasattr(module, "places") and seen.any() else whole
        )
        strength[mine], names[mine] = planted.trigger.strength(), planted.attack.name
    table = touched[["id", "target", "key", "trigger_seed"]].assign(attack=names, strength=strength)
    return table.assign(**dict(zip(("top", "left", "height", "width"), place.T, strict=True))).reset_index(drop=True)
