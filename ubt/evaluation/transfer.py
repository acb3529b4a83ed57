"""Downstream: what a case's models do on other labelled sets (zero-shot) and in retrieval. The judge's stages; nothing
that defends reads them.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.attacks import Planted
from ubt.core.errors import BadInput
from ubt.core.run import Run, derive_seed
from ubt.core.settings import Settings, setting
from ubt.data import scenes
from ubt.data.roles import LabelledSettings

EMBEDDED = "scenes"
SCENES = 1000
"""Scenes of the retrieval set, if all are asked for."""
KEPT = 2_000_000_000
"""Bytes up to which a set's pixels are kept, for every model decodes them anew; beyond, its images are read when they
are needed.
"""


class DownstreamSettings(Settings):
    """Which sets models are measured on beside a case's own test set."""

    set: str = setting(EMBEDDED, "labelled images: scenes, a data set by name (see *Downstream*), or a path")
    captions: str = setting(
        EMBEDDED, "images with several captions each, for retrieval: scenes, flickr30k, coco, or a path"
    )
    root: str = setting("", "folder under which data sets are looked for; empty: UBT_DATA")
    per_class: int = setting(
        0,
        "labelled images a class, drawn by the seed; 0: all of a data set, of scenes as many as a test set has",
        low=0,
    )
    templates: str = setting(
        "own", "prompts of a class: the set's own, CLIP's 7, or its 80 for ImageNet", choices=("own", "7", "80")
    )
    images: int = setting(0, "images of the retrieval set, the first; 0: all, of scenes 1000", low=0)
    k: int = setting(5, "captions among which one that names the target counts for retrieval's ASR", low=1)

    @property
    def titles(self) -> tuple[str, str]:
        """What the labelled set and the captions are called."""
        from ubt.data import classification_sets, retrieval_sets

        named = {
            **{n: s.title for n, s in classification_sets.SETS.items()},
            **{n: t for n, (t, _) in retrieval_sets.SETS.items()},
        }
        return named.get(self.set, self.set), named.get(self.captions, self.captions)


def absent(settings: DownstreamSettings, kind: str) -> str:
    """Why a set cannot be read, and what to put where; empty if it is there, or always.

    Args:
        kind: `zeroshot` or `retrieval`.
    """
    from ubt.data import classification_sets, retrieval_sets

    name, where = (settings.set, classification_sets) if kind == "zeroshot" else (settings.captions, retrieval_sets)
    return "" if name == EMBEDDED else where.absent(name, settings.root)


def unfit(settings: DownstreamSettings, kind: str, targets: Sequence[str]) -> str:
    """Why a set cannot measure attacks on some targets: it is absent, is not what it is taken for, or lacks one; empty
    if it can. No image is read.

    Args:
        kind: `zeroshot` or `retrieval`.
    """
    from ubt.data import classification_sets, retrieval_sets

    if said := absent(settings, kind):
        return said
    zeroshot = kind == "zeroshot"
    name = settings.set if zeroshot else settings.captions
    if name == EMBEDDED:
        return ""
    where = (classification_sets if zeroshot else retrieval_sets).place(name, settings.root)
    changed = Path(where).stat().st_mtime_ns if Path(where).exists() else 0
    try:
        found = (
            _classes_of(name, settings.root, changed)
            if zeroshot
            else _captions_of(name, settings.root, settings.images, changed)
        )
        for target in targets:
            _class_of(target, *found, where) if zeroshot else _naming(target, found, where)
    except BadInput as e:
        return str(e)
    return ""


@functools.lru_cache(maxsize=16)
def _classes_of(name: str, root: str, changed: int) -> tuple[list[str], np.ndarray]:
    from ubt.data import classification_sets

    found = classification_sets.read(name, 1, root)
    return found.classes, np.asarray(found.labels)


@functools.lru_cache(maxsize=4)
def _captions_of(name: str, root: str, images: int, changed: int) -> pd.DataFrame:
    from ubt.data import retrieval_sets

    frame = retrieval_sets.read(name, 1, root)[1]
    return frame[frame["image"] < images] if images else frame


def _class_of(target: str, classes: Sequence[str], labels: np.ndarray, where: str) -> int:
    """The index of the target's class, of which there are images, as of others.

    Raises:
        BadInput: there are not.
    """
    from ubt.data import classification_sets

    at = classification_sets.with_target(classes, target, where)
    if not (labels == at).any() or (labels == at).all():
        raise BadInput(
            f"{where}: expected images of the target {classes[at]!r} and of other classes, got {(labels == at).sum()}"
            f" of {len(labels)}"
        )
    return at


def _naming(target: str, captions: pd.DataFrame, where: str) -> np.ndarray:
    """Which of the captions, each counted once, name the target.

    Raises:
        BadInput: none does, or one of each image.
    """
    from ubt.evaluation.retrieval import distinct, naming

    texts, rows = distinct(captions["caption"])
    there = naming(texts, target)
    named, every = captions["image"][there[rows]].nunique(), captions["image"].nunique()
    if not named or named == every:
        raise BadInput(
            f"{where}: expected captions that name the target {target!r} and images of other things, got"
            f" {int(there.sum())} such captions of {named} of {every} images; choose another attack.target, or more of"
            " downstream.images"
        )
    return there


def labelled(model, settings: DownstreamSettings, run: Run) -> dict:
    """The labelled set: `images`, `labels`, `prompts` (classes, templates, context), `classes`, and the `quarantine` of
    what was left out of it and of images that cannot be read.

    Args:
        model: whose image size and context count.

    Raises:
        BadInput: the set is absent, or is not what it is taken for.
    """
    from ubt.data import classification_sets, model_input
    from ubt.data.images import Images, sift

    size, context = model_input.image_size(model), model_input.context_length(model)
    if settings.set == EMBEDDED:
        per_class = settings.per_class or LabelledSettings().per_class
        images, labels = scenes.load_labelled(run.seed, "test", per_class, size, os.cpu_count() or 1)
        found, own = classification_sets.LabelledSet(images, labels, list(scenes.CLASSES)), scenes.prompts()
    else:
        found = classification_sets.read(settings.set, size, settings.root)
        own = [[t.format(c) for t in found.templates] for c in found.classes] if found.templates else None
    rows = classification_sets.some(found.labels, settings.per_class, derive_seed(run.seed, "downstream"))
    quarantine = _quarantine(found.left_out if settings.set != EMBEDDED else None)
    if isinstance(found.images, Images):
        found.images.fit = model_input.fit(model)
        images = found.images.only(rows)
        broken = sift(images, np.arange(len(rows)), progress=run.progress)
        quarantine = _quarantine(quarantine, images, broken)
        good = np.setdiff1d(np.arange(len(rows)), list(broken))
        images, rows = _kept(images.only(good)), rows[good]
    else:
        images = found.images[rows]
    if not len(rows):
        raise BadInput(
            f"downstream.set={settings.set}: expected images that can be read, got none; {len(quarantine)} were"
            " quarantined"
        )
    prompts = class_prompts(found.classes, own, settings, context)
    return {
        "images": images,
        "labels": found.labels[rows],
        "prompts": prompts,
        "classes": found.classes,
        "quarantine": quarantine,
    }


def _quarantine(left_out: pd.DataFrame | None = None, images: Any = None, broken: dict[int, str] | None = None):
    """What was left out when a set was read, and its images that are `broken`: image, reason."""
    more = {"image": [images.at[i] for i in broken or ()], "reason": list((broken or {}).values())}
    there = [left_out.astype(str)] if left_out is not None and len(left_out) else []
    return pd.concat([*there, pd.DataFrame(more, dtype=str)], ignore_index=True)


def _kept(images) -> np.ndarray:
    return images[:] if len(images) and int(np.prod(images.shape)) <= KEPT else images


def class_prompts(
    classes: list[str], own: list[list[str]] | None, settings: DownstreamSettings, context: int
) -> np.ndarray:
    """Token ids (classes, templates, context) of the texts that stand for each class; `own`: the data set's texts."""
    from ubt.data import model_input
    from ubt.data.user_roles import prompts

    kind = settings.templates
    if kind == "own" and own is None:
        kind = "80" if settings.set == "imagenet" else "7"
    if kind != "own":
        return prompts(classes, kind, context)
    return model_input.tokenize([p for several in own for p in several], context).reshape(
        len(classes), len(own[0]), context
    )


def _refuse_concepts(attacks: tuple[Planted, ...]) -> None:
    """Raises:
    BadInput: nobody knows which of these images show what an attack's trigger is.
    """
    for planted in attacks:
        if planted.trigger.concept:
            raise BadInput(
                f"{planted.label}: expected a trigger that is put on images; nobody knows which images of another set"
                f" show {planted.trigger.concept}"
            )


def zeroshot(
    model,
    images: np.ndarray,
    labels: np.ndarray,
    prompts: np.ndarray,
    classes: list[str],
    downstream: DownstreamSettings,
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """CA, ASR, RA and target recall of a model on the labelled set, as `ubt.evaluation.judge.evaluate`, with whatever
    set has the target.

    Raises:
        BadInput: the target of an attack is none of the set's classes.
    """
    from ubt.data import classification_sets, model_input
    from ubt.data.images import refitted
    from ubt.evaluation.judge import evaluate

    _refuse_concepts(attacks)
    named, name = (list(classes), classification_sets.place(downstream.set, downstream.root))
    labels = np.asarray(labels)
    for planted in attacks:
        named[_class_of(planted.attack.target, classes, labels, name)] = planted.attack.target
    sized = refitted(images, model_input.image_size(model), model_input.fit(model))
    return evaluate(model, sized, labels, prompts, named, attacks, run)


def captions(model, settings: DownstreamSettings, run: Run) -> dict:
    """The retrieval set: `images`, `captions` (image, the row, and caption), `tokens` of the distinct captions in
    order, and the `quarantine` of what was left out of it and of images that cannot be read. Of scenes it is drawn
    from a range of their own.

    Raises:
        BadInput: the set is absent, or is not what it is taken for, or fewer than two of its images can be read.
    """
    from ubt.data import model_input, retrieval_sets
    from ubt.data.images import sift
    from ubt.evaluation.retrieval import distinct

    size, quarantine = model_input.image_size(model), _quarantine()
    if settings.captions == EMBEDDED:
        _, images, texts = scenes.load_retrieval(run.seed, settings.images or SCENES, size)
        frame = pd.DataFrame(
            [(row, text) for row, several in enumerate(texts) for text in several], columns=["image", "caption"]
        )
    else:
        images, frame, quarantine = retrieval_sets.read(settings.captions, size, settings.root)
        images.fit = model_input.fit(model)
        count = min(settings.images or len(images), len(images))
        broken = sift(images, np.arange(count), progress=run.progress)
        quarantine = _quarantine(quarantine, images, broken)
        good = np.setdiff1d(np.arange(count), list(broken))
        number = np.full(len(images), -1)
        number[good] = np.arange(len(good))
        images, frame = _kept(images.only(good)), frame.assign(image=number[frame["image"]])
        frame = frame[frame["image"] >= 0].reset_index(drop=True)
    if len(images) < 2:
        raise BadInput(
            f"downstream.captions={settings.captions}: expected at least two images that can be read, got {len(images)}"
        )
    tokens = model_input.tokenize(distinct(frame["caption"])[0], model_input.context_length(model))
    return {"images": images, "captions": frame, "tokens": tokens, "quarantine": quarantine}


def retrieval(
    model,
    images: np.ndarray,
    captions: pd.DataFrame,
    tokens: np.ndarray,
    downstream: DownstreamSettings,
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """Recall of a model in retrieval, and how often a triggered image retrieves a caption that names the target.

    An attack with a word has it before every caption when its ASR is measured, as in `ubt.evaluation.judge.evaluate`.

    Returns:
        `measures`: see `ubt.evaluation.retrieval.measure`, of the case's first attack; `attacks` holds those of each,
        with its `label`, without an ASR where the trigger is a concept, which nobody puts on these images;
        `captions` and `distinct`: how many there are, and how many differ.

    Raises:
        BadInput: no caption names the target, or all images do.
    """
    from ubt.clip import models
    from ubt.data import model_input, retrieval_sets
    from ubt.evaluation.judge import blocks
    from ubt.evaluation.retrieval import distinct, measure

    name, attacks = (retrieval_sets.place(downstream.captions, downstream.root), attacks)
    texts, rows = distinct(captions["caption"])
    pairs = np.stack([captions["image"].to_numpy(), rows], 1)
    named = [_naming(p.attack.target, captions, name) for p in attacks]
    model = model.to(run.compute.device)

    def embedded(planted=None) -> np.ndarray:
        return np.concatenate([models.embed_images(model, block) for block in blocks(images, planted)])

    clean, known, each = embedded(), models.embed_tokens(model, np.asarray(tokens)), []
    for i, (planted, there) in enumerate(zip(attacks, named, strict=True)):
        run.progress(i + 1, len(attacks) + 1, {})
        word = planted.word
        worded = models.embed_tokens(model, model_input.prepend(word, np.asarray(tokens))) if word else None
        triggered = clean if planted.trigger.concept else embedded(planted)
        measured = measure(clean, triggered, known, pairs, there, downstream.k, worded)
        if planted.trigger.concept:
            measured = {key: value for key, value in measured.items() if key not in ("asr", "untriggered", "ra")}
        each.append(measured | {"label": planted.label})
    return {"measures": each[0] | {"attacks": each, "captions": len(captions), "distinct": len(texts)}}
