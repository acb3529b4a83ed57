"""Makes BadCLIP's patch of scenes or of imported pairs, and measures what it does to clean models: `python -m ubt
optimize-patch`. Three are shipped in `ubt/assets/weights/badclip-48`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ubt.attacks.badclip import NAMES
from ubt.attacks.badclip_patch import CleanModel, PatchSettings, check_folder, make, write
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, digest, scrap
from ubt.core.run import Compute, Progress, Run, fixed_threads, silent
from ubt.data import model_input, scenes
from ubt.data.roles import labelled
from ubt.data.scenes import CLASSES
from ubt.evaluation import zeroshot

PER_CLASS = 20
"""Validation scenes a class, on which the shipped patches' natural ASR is measured."""


def clean(store: Store, named: str) -> CleanModel:
    """A clean model by its name: in the store, of a folder, or empty for the shipped reference.

    Raises:
        BadInput: there is none.
    """
    if not named:
        return CleanModel(models.load(REFERENCE), "the shipped reference")
    if Path(named).is_dir():
        return CleanModel(models.load(Path(named)), Path(named).name)
    from ubt.workflows.import_model import opened

    found = opened(store, named)
    return CleanModel(found.read("model"), str(found["card"]["name"]))


def optimize(
    store: Store,
    folder: Path,
    settings: PatchSettings,
    where: Compute,
    model: str = "",
    pairs: str = "",
    others: Sequence[str] = (),
    progress: Progress = silent,
) -> dict:
    """Make a patch, put it into `folder` with its card, and return the card.

    Args:
        model: the clean model that it is optimised on, as `clean` takes it. pairs: imported pairs of the attacker's, by
            their name in the store; empty: scenes that no case uses. others: further clean models whose natural ASR is
            measured, on scenes alone.

    Raises:
        BadInput: there is no such model, too few pairs name the target, or the folder cannot be written. Cancelled:
            `progress` asked to stop; the same call goes on from there.
    """
    if not pairs and settings.target not in CLASSES:
        raise BadInput(
            f"target: expected one of the classes of scenes ({', '.join(CLASSES)}), got {settings.target!r}; or import"
            " pairs of your own"
        )
    on, rest = clean(store, model), [clean(store, name) for name in others]
    if len(named := {m.name for m in (on, *rest)}) <= len(rest):
        raise BadInput(f"--other: expected models of different names, got two of one among {', '.join(sorted(named))}")
    if folder.name == str(folder) and folder.name in NAMES:
        raise BadInput(f"--out: expected another name than that of a shipped patch ({', '.join(NAMES)}), got {folder}")
    check_folder(folder)
    images, captions = _pairs(store, pairs, on, settings)
    work = folder / f".{digest([settings.to_dict(), *where.identity, model, pairs])}"
    with fixed_threads(where):
        patch, card = make(images, captions, on, settings, Run(settings.seed, where, progress, work))
        if not pairs:
            card["natural ASR"] = {m.name: _fooled(m, patch, card, settings.seed) for m in (on, *rest)}
    write(patch, card, folder)
    scrap(work)
    return card


def _pairs(store: Store, pairs: str, on: CleanModel, settings: PatchSettings) -> tuple[np.ndarray, list[str]]:
    """Images of the model's size, and captions."""
    size = model_input.image_size(on.model)
    if not pairs:
        indices = scenes.ROLES["reference"][: settings.pairs]
        captions = [scenes.describe(settings.seed, i) for i in indices]
        return scenes.draw_many(settings.seed, indices, size), captions
    from ubt.data.catalogue import open_images
    from ubt.data.images import sift

    found = store.imported(pairs)
    table = found["pairs"]
    rows = np.random.default_rng(settings.seed).permutation(len(table))[: settings.pairs]
    table = table.iloc[np.sort(rows)].reset_index(drop=True)
    images = open_images(found["about"], table["image"].to_numpy(object), size, model_input.fit(on.model))
    good = np.setdiff1d(np.arange(len(table)), list(sift(images, np.arange(len(table)))))
    return np.asarray(images[good]), table["caption"].iloc[good].tolist()


def _fooled(clean: CleanModel, patch: np.ndarray, card: dict, seed: int) -> float:
    """The natural ASR of a patch in percent: of validation scenes of other classes, how many a clean model takes for
    the target.
    """
    held, model = labelled("validation", PER_CLASS, seed), clean.model
    others = held["labels"] != CLASSES.index(card["target"])
    images, side, top, left = held["images"][others], card["side"], card["top"], card["left"]
    if images.shape[1] != card["size"]:
        indices = scenes.labelled("validation", PER_CLASS)
        images = scenes.draw_many(seed, indices, card["size"])[others]
    images[:, top : top + side, left : left + side] = patch
    predicted = zeroshot.classify(model, images, zeroshot.class_weights(model, held["prompts"]))
    return round(100 * float((predicted == CLASSES.index(card["target"])).mean()), 1)
