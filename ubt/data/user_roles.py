"""The sets of a case on imported pairs: which pairs it takes, D of an audit, labelled images, the defender's clean
pairs, and in an audit the suspect model. What the attacker plants is in `ubt.attacks.user_dataset`.

What was imported (`pairs-…`, `labelled-…`, `model-…` of the store) is content-addressed, so that a case names it by its
key.
"""

import re
from typing import Any

import numpy as np
import pandas as pd

from ubt.core.errors import BadInput
from ubt.core.run import Run, derive_seed
from ubt.core.settings import Settings, setting
from ubt.data.roles import CleanSettings, DataSettings, LabelledSettings

KINDS = {
    "pairs": "pairs",
    "test": "labelled",
    "reference": "model",
    "suspect": "model",
    "start": "model",
    "other": "model",
}
"""What the store calls each thing that can be imported, by its setting."""
HOW_TO_IMPORT = "python -m ubt data, python -m ubt models"
CHUNK = 16_384
MOST_SPARED = 0.95
"""The largest share of the pairs that can be reserved for a reference."""


class OwnSettings(Settings):
    """What an analyst imported, by its name in the store (`python -m ubt data`, `python -m ubt models`)."""

    pairs: str = setting("", "pairs of one's own; empty: embedded scenes")
    test: str = setting(
        "", "labelled images that measure CA and ASR; empty: embedded scenes, or none beside pairs of one's own"
    )
    reference: str = setting(
        "",
        "the clean reference model; empty: the shipped one, or in an audit models trained on folds of its pairs; on"
        " scenes the defender's alone, M_bd starts from the shipped one",
    )
    suspect: str = setting("", "the model to audit; empty: a lab case, which trains M_bd itself")
    start: str = setting(
        "",
        "of a lab case, the clean model that M_bd, and what is trained in its place, starts from; empty: the reference",
    )
    other: str = setting(
        "", "of a lab case, a clean model of other training, whose ASR counts as natural as well; empty: none"
    )
    spare: float = setting(
        0.0,
        "share of the pairs, by a digest of their images' places, that trained the reference and is not taken",
        low=0,
        high=MOST_SPARED,
    )
    templates: str = setting("7", "prompts of a class: CLIP's 7 or its 80 for ImageNet", choices=("7", "80"))
    keep: float = setting(
        2.0,
        "gigabytes up to which D's pixels are kept beside the case; beyond, images are read when they are needed",
        low=0,
    )

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: values that do not fit each other.
        """
        for name, kind in KINDS.items():
            key = getattr(self, name)
            if key and not re.fullmatch(rf"{kind}-[0-9a-f]{{16}}", key):
                raise BadInput(
                    f"own.{name}: expected the name of something imported, as {kind}-0123456789abcdef"
                    f" ({HOW_TO_IMPORT}), got {key!r}"
                )
        if (self.suspect or self.test) and not self.pairs:
            raise BadInput(
                f"own: expected pairs of one's own beside a model to audit or labelled images ({HOW_TO_IMPORT})"
            )

        if self.suspect and (self.start or self.other):
            raise BadInput("own: expected start and other in a lab case alone, got a model to audit beside them")

    @property
    def planted_in(self) -> str:
        """The imported model that the attacker of a lab case starts from, its reference; empty for the shipped one. On
        scenes that is always the shipped one: a reference there is the defender's alone.
        """
        return self.reference if self.pairs else ""

    @property
    def audits(self) -> bool:
        """Whether there is a model to audit, so that there is no truth."""
        return bool(self.suspect)


def _places(pairs: pd.DataFrame, about: dict, model):
    """The images of some rows as the model takes them; none is read yet."""
    from ubt.data import model_input
    from ubt.data.catalogue import open_images

    return open_images(about, pairs["image"].to_numpy(object), model_input.image_size(model), model_input.fit(model))


def spared(images: pd.Series, share: float) -> np.ndarray:
    """Which pairs (n,) are reserved for a reference, by a digest of their images' places alone, so that every case and
    seed reserves the same ones, and all captions of an image together.
    """
    if not share:
        return np.zeros(len(images), bool)
    return pd.util.hash_array(images.to_numpy(object), hash_key="ubt-reference-00").astype(np.float64) / 2.0**64 < share


def take(pairs: pd.DataFrame, about: dict, model, data: DataSettings, own: OwnSettings, run: Run) -> dict:
    """The pairs of D: drawn from the imported ones by the case's seed, each image decoded once; broken ones are
    quarantined and others take their place as long as there are any.

    Args:
        pairs: id, caption, image (its place). about: where the places are, see `ubt.data.catalogue.read`. model: whose
            image size counts.

    Returns:
        `pairs`: id, caption, image, of at most `data.pairs` pairs, and `mark`, by which an image that changed is known;
        `quarantine`: id, image, reason; `rest`: the pairs left for other roles.

    Raises:
        BadInput: fewer than 16 pairs are left.
    """
    from ubt.data.images import sift

    wanted, free = data.pairs, np.flatnonzero(~spared(pairs["image"], own.spare))
    shown, unique = pd.factorize(pairs["image"].iloc[free])
    drawn = np.random.default_rng(derive_seed(run.seed, "own/pairs")).permutation(len(unique))
    order = free[np.argsort(np.argsort(drawn)[shown], kind="stable")]
    images = _places(pairs, about, model)
    good, broken, at = [], {}, 0
    while at < len(order) and len(good) < wanted:
        rows = order[at : at + min(CHUNK, wanted - len(good))]
        found = sift(images, np.sort(rows))
        broken |= found
        good += [row for row in rows.tolist() if row not in found]
        at += len(rows)
        run.progress(min(len(good), wanted), wanted, {})
    if len(good) < 16:
        raise BadInput(
            f"own.pairs: expected at least 16 pairs with images that can be read, got {len(good)}; {len(broken)} were"
            " quarantined"
        )
    rest = pairs.iloc[order[at:]]
    return {
        "pairs": pairs.iloc[good][["id", "caption", "image"]].assign(mark=images.marks[good]).reset_index(drop=True),
        "quarantine": (
            pairs.iloc[list(broken)][["id", "image"]].assign(reason=list(broken.values())).reset_index(drop=True)
        ),
        "rest": rest[~rest["image"].isin(pairs["image"].iloc[good])][["id", "caption", "image"]].reset_index(drop=True),
    }


def kept(images, gigabytes: float):
    """The pixels themselves where they are few enough."""
    return images[:] if int(np.prod(images.shape)) <= gigabytes * 1e9 else images


def open_taken(pairs: pd.DataFrame, about: dict, model):
    """The images of the pairs of D at the model's size, with the marks by which a changed one is known."""
    images = _places(pairs, about, model)
    images.marks[:] = pairs["mark"]
    return images


def as_stored(ids: pd.Series, captions: pd.Series, images, model, gigabytes: float) -> dict:
    """D as it is kept: `pairs` (id, caption), `images`, `tokens`."""
    from ubt.data import model_input

    tokens = model_input.tokenize(captions.tolist(), model_input.context_length(model))
    return {
        "pairs": pd.DataFrame({"id": ids, "caption": captions}),
        "images": kept(images, gigabytes),
        "tokens": tokens,
    }


def as_found(pairs: pd.DataFrame, about: dict, model, own: OwnSettings, run: Run) -> dict:
    """D of an audit, as it was imported: `pairs` (id, caption), `images`, `tokens`."""
    return as_stored(pairs["id"], pairs["caption"], open_taken(pairs, about, model), model, own.keep)


def prompts(classes: list[str], kind: str, context: int) -> np.ndarray:
    """Token ids (classes, templates, context) of every class in CLIP's 7 or 80 templates."""
    import open_clip

    from ubt.data import model_input

    forms = open_clip.SIMPLE_IMAGENET_TEMPLATES if kind == "7" else open_clip.OPENAI_IMAGENET_TEMPLATES
    return model_input.tokenize([form(name) for name in classes for form in forms], context).reshape(
        len(classes), len(forms), context
    )


def _labelled(
    images: pd.DataFrame, about: dict, model, seed: int, first: int, count: int, keep: float, run: Run
) -> dict:
    """`images` and `labels` of `count` labelled images a class from the `first` on, in an order of the seed; and the
    `quarantine`.
    """
    from ubt.data.images import sift

    order = np.random.default_rng(derive_seed(seed, "own/labelled")).permutation(len(images))
    nth = images.iloc[order].groupby("label").cumcount().to_numpy()
    part = images.iloc[np.sort(order[(nth >= first) & (nth < first + count)])].reset_index(drop=True)
    pixels = _places(part, about, model)
    broken = sift(pixels, np.arange(len(part)), progress=run.progress)
    good = np.setdiff1d(np.arange(len(part)), list(broken))
    return {
        "images": kept(pixels.only(good), keep),
        "labels": part["label"].to_numpy()[good],
        "quarantine": part.iloc[list(broken)][["image"]].assign(reason=list(broken.values())),
    }


def test(
    images: pd.DataFrame, classes: list[str], about: dict, model, settings: LabelledSettings, own: OwnSettings, run: Run
) -> dict:
    """The judge's labelled images, `test.per_class` of each class: `images`, `labels`, `prompts`, `classes`, and the
    `quarantine` of those that cannot be read.

    Args:
        images: image (its place) and label (index into `classes`).
    """
    from ubt.data import model_input

    found = _labelled(images, about, model, run.seed, 0, settings.per_class, own.keep, run)
    return found | {"prompts": prompts(classes, own.templates, model_input.context_length(model)), "classes": classes}


def labelled_clean(
    images: pd.DataFrame,
    classes: list[str],
    about: dict,
    model,
    test: LabelledSettings,
    settings: CleanSettings,
    own: OwnSettings,
    run: Run,
) -> dict:
    """Labelled images of the defender's own, `clean.per_class` of each class after those of the test set; otherwise as
    `test`.

    Raises:
        BadInput: the test set leaves none.
    """
    from ubt.data import model_input

    found = _labelled(images, about, model, run.seed, test.per_class, settings.per_class, own.keep, run)
    if not len(found["labels"]):
        raise BadInput(
            "clean.per_class: expected labelled images beyond those of the test set, got none; lower test.per_class or"
            " import more"
        )
    return found | {"prompts": prompts(classes, own.templates, model_input.context_length(model)), "classes": classes}


def suspect(model, run: Run) -> dict:
    """The model to audit, as it was imported."""
    return {"model": model}


def more_pairs(rest: pd.DataFrame, about: dict, model, start: int, count: int, keep: float, what: str) -> dict:
    """`pairs` and `images` of the pairs that D leaves, `count` from the `start` on; `what`: the setting that asks.

    Raises:
        BadInput: fewer than two are left.
    """
    from ubt.data.images import sift

    before, part = rest["image"].iloc[:start], rest.iloc[start : start + count]
    part = part[~part["image"].isin(before)].reset_index(drop=True)
    images = _places(part, about, model)
    good = np.setdiff1d(np.arange(len(part)), list(sift(images, np.arange(len(part)))))
    if len(good) < 2:
        raise BadInput(
            f"{what}: expected pairs beyond those of D for it, got {len(good)}; import more pairs, or lower data.pairs"
        )
    return {"pairs": part.iloc[good][["id", "caption"]].reset_index(drop=True), "images": kept(images.only(good), keep)}


def clean(rest: pd.DataFrame, about: dict, model, settings: CleanSettings, own: OwnSettings, run: Run) -> dict:
    """Clean pairs of the defender's own, beyond D: `pairs` and `images`.

    Raises:
        BadInput: D leaves none.
    """
    return more_pairs(rest, about, model, 0, settings.pairs, own.keep, "clean.pairs")
