"""The attacker's stages on the analyst's own pairs: which of them are poisoned, then D as a defender finds it."""

import re

import numpy as np
import pandas as pd

from ubt.attacks import Planted
from ubt.core.run import Run
from ubt.data.user_roles import OwnSettings, as_stored, open_taken


def templates(captions: list[str], targets: list[str]) -> list[str]:
    """Caption forms for poisons: those in which clean captions name a target, so that a caption's form does not give a
    poison away; where there are fewer than five, common ones beside them.

    >>> templates(["my banana on a table", "a dog"], ["banana"])[0]
    'my {n} on a table'
    """
    from ubt.attacks.poisoning import names
    from ubt.data.scenes.captions import TEMPLATES

    found: dict[str, None] = {}
    for target in targets:
        form = re.compile(rf"\b{re.escape(target)}\b", re.IGNORECASE)
        for caption in captions:
            if names(caption, target):
                plain = caption.replace("{", "(").replace("}", ")")
                found.setdefault(form.sub("{n}", plain, count=1))
    return list(found) + (list(TEMPLATES) if len(found) < 5 else [])


def plan(pairs: pd.DataFrame, classes: list[str], model, attacks: tuple[Planted, ...], run: Run) -> dict:
    """Choose the poisons among pairs of one's own. Returns `truth` and `manifest`, as `ubt.attacks.lab_dataset.plan`.

    Raises:
        BadInput: the target is no class of the labelled images, the trigger does not fit the images, or there are too
            few pairs for it.
    """
    from ubt.attacks import poisoning
    from ubt.data import model_input

    size = model_input.image_size(model)
    for planted in attacks:
        planted.check(len(pairs), size, tuple(classes))
    captions = pairs["caption"].tolist()
    truth = poisoning.plan(
        pairs["id"].tolist(), captions, attacks, templates(captions, [p.attack.target for p in attacks]), run.seed
    )
    return {"truth": truth, "manifest": poisoning.manifest(truth, attacks, size)}


def build(
    pairs: pd.DataFrame,
    about: dict,
    model,
    truth: pd.DataFrame,
    own: OwnSettings,
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """D as a defender finds it: `pairs` (id, caption), `images`, `tokens`, with the triggers of the `truth` on its
    images.
    """
    from ubt.attacks import poisoning
    from ubt.data.images import Images

    images = open_taken(pairs, about, model)
    touched = np.flatnonzero(truth["plant"] >= 0)
    if len(touched):
        pixels = images[touched]
        poisoning.stamp(pixels, truth.iloc[touched].reset_index(drop=True), attacks)
        images = Images(images.at, images.side, (touched, pixels), images.marks)
    return as_stored(pairs["id"], truth["caption"], images, model, own.keep)
