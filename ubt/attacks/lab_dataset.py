"""The attacker's stages on the embedded scenes: which pairs are poisoned, then D as a defender finds it."""

import os

import pandas as pd

from ubt.attacks import Planted, poisoning
from ubt.core.run import Run
from ubt.data import scenes
from ubt.data.roles import DataSettings
from ubt.data.scenes.captions import TEMPLATES


def plan(data: DataSettings, attacks: tuple[Planted, ...], run: Run) -> dict:
    """Choose the poisons (see `ubt.attacks.poisoning.plan`).

    Returns:
        `truth`: the ground truth, one row a pair; `manifest`: what was done to which pair, where, how strongly.

    Raises:
        BadInput: an attack asks for more pairs than it can have, or there is none that it could take.
    """
    indices = scenes.ROLES["pairs"][: data.pairs]
    captions = [scenes.captioned(run.seed, i, data.mismatched) for i in indices]
    ids = [scenes.pair_id(run.seed, i) for i in indices]
    shown = [scenes.concepts(run.seed, i) for i in indices] if any(p.trigger.concept for p in attacks) else None
    truth = poisoning.plan(ids, captions, attacks, TEMPLATES, run.seed, shown)
    return {"truth": truth, "manifest": poisoning.manifest(truth, attacks, scenes.SIZE)}


def build(truth: pd.DataFrame, data: DataSettings, attacks: tuple[Planted, ...], run: Run) -> dict:
    """D as a defender finds it. All rows go through the same drawing and the same 8 bits.

    Returns:
        `pairs`: ids and captions; `images`, with the trigger where one was planted; `tokens`.
    """
    from ubt.data import model_input

    images = scenes.draw_many(run.seed, scenes.ROLES["pairs"][: data.pairs], scenes.SIZE, os.cpu_count() or 1)
    poisoning.stamp(images, truth, attacks)
    tokens = model_input.tokenize(truth["caption"].tolist(), scenes.CONTEXT)
    return {"pairs": truth[["id", "caption"]].copy(), "images": images, "tokens": tokens}
