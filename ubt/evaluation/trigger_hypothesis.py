"""A hypothesis on trial: is this patch, pattern or word a trigger, and this text its target? No ground truth of which
pairs are poisoned is needed.

A model is asked of each image which of some texts fits it best, zero-shot: the classes where labelled images are there,
else the target, the image's own caption and a bank of other captions. It is asked of images that do not show the
target, in three forms: as they are (the *natural* rate at which they are taken for the target), with the trigger, and
with a *control* in the trigger's place, a piece of another clean image, so that what any occluder does is not put down
to the trigger. The hypothesised ASR is the share of the images that the model reads otherwise as they are and takes for
the target with the trigger.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ubt.core.errors import BadInput
from ubt.core.settings import Settings, setting
from ubt.evaluation.backdoor import interval

FORMS, PLACES = ("patch", "pattern", "none"), ("fixed", "random")
LONGEST = 200
"""Characters of a target, and of a word."""


class Hypothesis(Settings):
    """What is held to be the trigger, beside its pixels, and what it is held to do."""

    target: str = setting("", "what images with the trigger are taken for")
    form: str = setting(
        "patch",
        "a patch replaces the pixels under it, a pattern is blended over the whole image; none is a word alone",
        choices=FORMS,
    )
    place: str = setting("fixed", "where a patch lies: in one place, or anew in each image", choices=PLACES)
    top: float = setting(0.0, "the patch's upper edge, as a share of the image's height", low=0, high=1)
    left: float = setting(0.0, "its left edge, as a share of the image's width", low=0, high=1)
    alpha: float = setting(0.2, "share of a pattern in the image", low=0, high=1)
    word: str = setting("", "a word before every text, as dual-key attacks have it; empty: none")
    images: int = setting(500, "images that it is tried on, at most", low=1, high=100_000)
    bank: int = setting(
        100, "other captions that a model chooses among where there are no labelled images", low=1, high=10_000
    )

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: values that do not fit each other.
        """
        for name in ("target", "word"):
            if len(getattr(self, name)) > LONGEST:
                raise BadInput(f"{name}: expected at most {LONGEST} characters, got {len(getattr(self, name))}")
        if not self.target.strip():
            raise BadInput("target: expected a text that triggered images would be taken for, got none")
        if self.form == "none" and not self.word.strip():
            raise BadInput("trigger: expected a patch, a pattern or a word, got none of them")

    def check(self, pixels: np.ndarray | None, height: int, width: int) -> None:
        """Raises:
        BadInput: `pixels`, uint8 (height, width, 3), are no trigger of this form for images of this size.
        """
        if self.form == "none":
            return
        if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            got = "nothing" if pixels is None else f"{pixels.dtype} {pixels.shape}"
            raise BadInput(f"trigger: expected uint8 pixels (height, width, 3), got {got}")
        h, w = pixels.shape[:2]
        if self.form == "patch" and not (1 <= h <= height and 1 <= w <= width):
            raise BadInput(
                f"trigger: expected a patch of 1 x 1 to {height} x {width} pixels, as the images are, got {h} x {w}"
            )
        if self.form == "pattern" and (h, w) != (height, width):
            raise BadInput(
                f"trigger: expected a pattern of {height} x {width} pixels, as the images are, got {h} x {w}"
            )


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Args:
        images: uint8 (n, H, W, 3), none of which shows the target. texts: token ids of each text that all images choose
            among, in one or more prompts (prompts, context) each. names: how each text is called. target: index among
            them.
        own: token ids (n, context) of a further text for each image, its own caption; None: there is none. captions:
            how those are called.
    """

    images: np.ndarray
    texts: Sequence[np.ndarray]
    names: Sequence[str]
    target: int
    own: np.ndarray | None = None
    captions: Sequence[str] = ()

    def name(self, image: int, choice: int) -> str:
        """What an image was read as."""
        return self.captions[image] if choice == len(self.names) else self.names[choice]


def among_classes(
    images: np.ndarray,
    labels: np.ndarray,
    prompts: np.ndarray,
    classes: Sequence[str],
    target: str,
    target_prompts: np.ndarray,
    count: int,
    seed: int,
) -> Question:
    """The question of labelled images: which class, or the target where it is none of them?

    Args:
        prompts: token ids (classes, templates, context). target_prompts: the target's own (templates, context).
            count: images, at most.
    """
    names, texts = list(classes), list(np.asarray(prompts))
    known = [n.casefold() for n in names]
    at = known.index(target.strip().casefold()) if target.strip().casefold() in known else len(names)
    if at == len(names):
        names, texts = [*names, target], [*texts, target_prompts]
    rows = _some(np.flatnonzero(np.asarray(labels) != at), count, seed, target)
    return Question(np.asarray(images[rows]), texts, names, at)


def among_captions(
    images: np.ndarray,
    tokens: np.ndarray,
    captions: Sequence[str],
    rows: np.ndarray,
    target: str,
    target_prompts: np.ndarray,
    count: int,
    bank: int,
    seed: int,
) -> Question:
    """The question of pairs: the target, the image's own caption, or one of a bank of captions of other pairs?

    Args:
        tokens: token ids (n, context) of `captions` (n,). rows: which pairs may be asked; those whose caption names the
            target are not. target_prompts: the target's prompts (templates, context).
    """
    from ubt.attacks.poisoning import names

    free = [row for row in np.asarray(rows).tolist() if not names(captions[row], target.strip())]
    chosen = _some(np.array(free, np.int64), count, seed, target)
    different = {captions[row]: row for row in reversed(free)}
    others = np.random.default_rng([seed % 2**63, 1]).permutation(np.array(sorted(different.values())))[:bank]
    texts = [target_prompts, *np.asarray(tokens[others])[:, None]]
    return Question(
        np.asarray(images[chosen]),
        texts,
        [target, *(captions[row] for row in others)],
        0,
        np.asarray(tokens[chosen]),
        [captions[row] for row in chosen],
    )


def _some(rows: np.ndarray, count: int, seed: int, target: str) -> np.ndarray:
    if not len(rows):
        raise BadInput(
            f"target: expected images that do not show {target[:60]!r} to try the trigger on, found none; name it more"
            " exactly"
        )
    return np.sort(np.random.default_rng(seed % 2**63).permutation(rows)[:count])


def stamped(
    images: np.ndarray, pixels: np.ndarray | None, hypothesis: Hypothesis, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Copies of images (n, H, W, 3) with the trigger, and with the control: in the same place, as large or as strong, a
    piece of another of the images (of the image itself if it is the only one).

    Raises:
        BadInput: the trigger does not fit the images.
    """
    n, height, width = images.shape[:3]
    hypothesis.check(pixels, height, width)
    random = np.random.default_rng([seed % 2**63, 2])
    donors = images[(np.arange(n) + (random.integers(1, n) if n > 1 else 0)) % n]
    if hypothesis.form == "none":
        return images, images
    if hypothesis.form == "pattern":
        a, over = hypothesis.alpha, (pixels[None], donors)
        return tuple(
            np.rint(a * o.astype(np.float32) + (1 - a) * images.astype(np.float32)).astype(np.uint8) for o in over
        )
    h, w = pixels.shape[:2]
    corners = np.tile(
        [min(round(hypothesis.top * height), height - h), min(round(hypothesis.left * width), width - w)], (n, 1)
    )
    if hypothesis.place == "random":
        corners = np.stack([random.integers(0, height - h + 1, n), random.integers(0, width - w + 1, n)], axis=1)
    triggered, control = images.copy(), images.copy()
    for i, (y, x) in enumerate(corners):
        triggered[i, y : y + h, x : x + w] = pixels
        control[i, y : y + h, x : x + w] = donors[i, y : y + h, x : x + w]
    return triggered, control


def read(model, question: Question, images: np.ndarray, word: str = "") -> np.ndarray:
    """What a model takes images for (n,): indices among the question's texts; one more means the image's own
    caption.
    """
    from ubt.clip import models
    from ubt.data import model_input
    from ubt.evaluation import zeroshot

    def with_word(tokens: np.ndarray) -> np.ndarray:
        return model_input.prepend(word, tokens) if word else tokens

    weights = np.empty((len(question.texts), 0), np.float32)
    for prompts in sorted({len(text) for text in question.texts}):
        at = [i for i, text in enumerate(question.texts) if len(text) == prompts]
        found = zeroshot.class_weights(model, with_word(np.stack([question.texts[i] for i in at])))
        weights = weights if weights.size else np.empty((len(question.texts), found.shape[1]), np.float32)
        weights[at] = found
    features = models.embed_images(model, images)
    fits = features @ weights.T
    if question.own is not None:
        own = (features * models.embed_tokens(model, with_word(question.own))).sum(1, keepdims=True)
        fits = np.concatenate([fits, own], axis=1)
    return fits.argmax(1)


def measure(natural: np.ndarray, triggered: np.ndarray, control: np.ndarray, target: int) -> dict:
    """Rates in percent from what a model takes the images for as they are, with the trigger and with the control (n,).

    Returns:
        `natural`: share of all images taken for the target as they are; `asr`, `control`: of the images read otherwise
        as they are, the share taken for the target with the trigger and with the control; None where there is no such
        image. `intervals`: Wilson's, 95 %.
        `images`: of how many each is a share.

    >>> found = measure(np.array([0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, 2]), np.array([0, 1, 1, 2, 0]), 0)
    >>> found["natural"], found["asr"], found["control"]
    (20.0, 75.0, 25.0)
    """
    otherwise = natural != target
    hits = {
        "natural": natural == target,
        "asr": triggered[otherwise] == target,
        "control": control[otherwise] == target,
    }
    return {
        **{name: 100 * float(h.mean()) if len(h) else None for name, h in hits.items()},
        "intervals": {name: interval(h) if len(h) else None for name, h in hits.items()},
        "images": {name: len(h) for name, h in hits.items()},
    }
