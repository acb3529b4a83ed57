"""A gate for images: is this one triggered, for this model? Detectors of one image (`ubt.detectors.gate`) score it, and
clean images that no detector has seen say how rare such a score is without a trigger.

`calibrate` is made once a model and kept in the store; `ubt.gate` makes the same for a program that serves a model.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ubt.cases.artifact import Artefact
from ubt.cases.litter import CALIBRATED
from ubt.cases.store import Store
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, derive_seed, fixed_threads, silent
from ubt.core.settings import Settings, setting
from ubt.data import unlabelled
from ubt.data.images import decode, of_picture
from ubt.data.model_input import fit, image_size
from ubt.data.quarantine import BrokenImage
from ubt.data.scenes import SIZE
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.detectors.gate import IMAGE_DETECTORS, possible
from ubt.detectors.gate.base import Score, Watched, embed
from ubt.workflows.gate_scores import PART, digest_of, prepared, scored, scored_in_parts
from ubt.workflows.sources import SCENES, drawn

KIND = "gate"
VERSION = 3
"""Of what is computed; raised when it changes."""
TRIGGERED, NOT_TRIGGERED = "triggered", "not triggered"
ANSWERS = (TRIGGERED, NOT_TRIGGERED, CANNOT_TELL)
FEWEST, FEWEST_HELD = 32, 20
"""Clean images that detectors are prepared on, and held ones, at least."""
NOTICED = 0.9
"""Share of clean images, moved to where others lie, that a gate has to notice before it may clear one."""
UNLIKE = "it is unlike the clean images that the gate knows"


class GateSettings(Settings):
    """On which clean images a gate rests."""

    clean: int = setting(512, "clean images that detectors are prepared on", low=FEWEST, high=100_000)
    held: int = setting(1000, "further ones, which say how rare a score is", low=FEWEST_HELD, high=100_000)
    clear: float = setting(
        0.1, "an image is not triggered where at least this share of clean ones score as high", low=0, high=1
    )
    unlike: float = setting(
        0.005,
        "share of the held clean images that may be less like the others than an image that is judged",
        low=0,
        high=1,
    )
    seed: int = setting(0, "the one seed: which images, and what detectors draw", low=0, high=2**31)


@dataclass(frozen=True)
class Gate:
    """A gate that is ready: images in, a verdict each out.

    Args:
        watched: the model, and what detectors were prepared on. scores: by detector. held: what clean images score, by
            detector, (n,) each. known: unit features of `watched.clean`. near: how like the nearest of these the held
            images are, cosines (n,).
        power: what held images would score if a trigger had moved them, by detector, (n,) each; none of detectors that
            cannot say. detector: the one that decides. fpr: the share of clean images that may be called triggered.
    """

    watched: Watched
    scores: Mapping[str, Score]
    held: Mapping[str, np.ndarray]
    known: np.ndarray
    near: np.ndarray
    power: Mapping[str, np.ndarray]
    detector: str
    fpr: float
    settings: GateSettings = field(default_factory=GateSettings)

    @property
    def too_few(self) -> str:
        """Why it can tell nothing at its false positive rate; empty where it can."""
        held = len(self.held[self.detector])
        if (held + 1) * self.fpr >= 1:
            return ""
        return (
            f"a false positive rate of {self.fpr:g} takes {int(np.ceil(1 / self.fpr)) - 1:,} clean images at least, got"
            f" {held:,}; bring more, or allow a higher rate"
        )

    def rarity(self, detector: str, score: np.ndarray) -> np.ndarray:
        """The share of clean images with such a score or a higher one (n,), each image itself counted as clean."""
        held = np.sort(self.held[detector])
        return (1 + len(held) - np.searchsorted(held, score, side="left")) / (len(held) + 1)

    def threshold(self, detector: str = "") -> float:
        """The score above which an image counts as triggered."""
        held = np.sort(self.held[detector or self.detector])
        allowed = int((len(held) + 1) * self.fpr) - 1
        return float(held[len(held) - 1 - allowed]) if 0 <= allowed < len(held) else float("inf")

    def judge(self, images: np.ndarray) -> pd.DataFrame:
        """What each of some images, uint8 (n, H, W, 3) of the size that the model takes, is: `score`, `rarity` (the
        share of clean images with such a score), `verdict` of `ANSWERS`, the `reason` where it cannot tell, and whether
        it is `unlike` the clean images.

        Raises:
            BadInput: they are no such images. UbtError: a score is not finite.
        """
        _require_images(images, self.watched.model, "images")
        score = np.asarray(self.scores[self.detector](images), np.float64)
        return self.answers(score, self.nearest(images))

    def answers(self, score: np.ndarray, nearest: np.ndarray) -> pd.DataFrame:
        """What images with such scores (n,), and so like the nearest clean one (n,), are; as `judge`.

        Raises:
            UbtError: a score is not finite.
        """
        if not np.isfinite(score).all():
            raise UbtError(
                f"{self.detector}: expected finite scores, got {int((~np.isfinite(score)).sum())} that are not; the"
                " model's features are no numbers"
            )
        rare = self.rarity(self.detector, score)
        clear = rare >= self.settings.clear
        verdict = np.where(rare <= self.fpr, TRIGGERED, np.where(clear, NOT_TRIGGERED, CANNOT_TELL)).astype(object)
        reason = np.where(verdict == CANNOT_TELL, self._between, "").astype(object)
        unlike, green = nearest < np.quantile(self.near, self.settings.unlike), verdict == NOT_TRIGGERED
        for where, why in ((green & unlike, UNLIKE), (green & bool(self.blind), self.blind)):
            verdict[where], reason[where] = CANNOT_TELL, why
        if self.too_few:
            verdict, reason = np.full(len(score), CANNOT_TELL), np.full(len(score), self.too_few, object)
        found = {"score": score, "rarity": rare, "verdict": verdict, "reason": reason, "unlike": unlike}
        return pd.DataFrame(found)

    @property
    def blind(self) -> str:
        """Why it can clear no image, whatever its score; empty where it can."""
        if self.detector not in self.power:
            return f"{self.detector} sees some kinds of trigger alone; a clean reference would tell more"
        noticed = float((self.power[self.detector] > self.threshold()).mean())
        if noticed >= NOTICED:
            return ""
        return (
            f"the reference says too little of where this model puts images: of {len(self.power[self.detector]):,} that"
            f" were moved elsewhere it would notice {100 * noticed:.0f} %, and {100 * NOTICED:g} % are needed; bring a"
            " reference that knows such images"
        )

    @property
    def _between(self) -> str:
        low, high = 100 * self.fpr, 100 * self.settings.clear
        return f"between {low:g} and {high:g} % of clean images have such a score or a higher one"

    def nearest(self, images: np.ndarray) -> np.ndarray:
        """How like the nearest of the clean images each is under the model, cosines (n,)."""
        return _nearest(embed(self.watched.model, images), self.known)

    def read(self, images: Sequence[Any]) -> np.ndarray:
        """Images as the model takes them, uint8 (n, size, size, 3): pictures of Pillow, the bytes of image files, or
        paths of them.

        Raises:
            BrokenImage: one cannot be read. BadInput: it is something else.
        """
        size, how = image_size(self.watched.model), fit(self.watched.model)
        return np.stack([_read(image, size, how) for image in images])

    def __call__(self, images: Any) -> pd.DataFrame:
        """`judge` of images: an array as that takes it, or pictures, bytes or paths, one or several, as `read` does."""
        if isinstance(images, np.ndarray):
            return self.judge(images)
        return self.judge(self.read([images] if isinstance(images, (Image.Image, bytes, str, Path)) else list(images)))


def _read(image: Any, size: int, how: Any) -> np.ndarray:
    if isinstance(image, Image.Image):
        return of_picture(image, size, how)
    if isinstance(image, bytes):
        return decode(image, size, how)
    if isinstance(image, (str, Path)):
        try:
            return decode(Path(image).read_bytes(), size, how)
        except OSError as e:
            raise BrokenImage("unreadable file", f"{image} ({e.strerror})") from None
    raise BadInput(f"expected a picture, the bytes of an image file or its path, got {type(image).__name__}")


def _nearest(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    return (features @ known.T).max(1) if len(features) else np.zeros(0, np.float32)


def chosen(watched: Watched, detector: str) -> str:
    """The detector that is asked for, or the default.

    Raises:
        BadInput: there is no such detector, or what it needs is not there.
    """
    if detector and detector not in IMAGE_DETECTORS:
        raise BadInput(f"--detector: expected one of: {', '.join(IMAGE_DETECTORS)}; got {detector!r}")
    there = possible(watched)
    if detector and detector not in there:
        lacking = [need for need in IMAGE_DETECTORS[detector].needs if not watched.has(need)]
        raise BadInput(f"--detector {detector}: expected {' and '.join(lacking)} for it, got none")
    return detector or there[0]


def gate(
    model: Any,
    images: Any = SCENES,
    reference: Any = None,
    classes: Sequence[str] = (),
    detector: str = "",
    fpr: float = 0.01,
    settings: GateSettings | None = None,
) -> Gate:
    """A gate for a program that serves a model.

    Args:
        model, reference: the model to watch, and a clean one if there is one: open_clip models, or what
            `python -m ubt models import` takes. images: clean ones, as many as `settings.clean` and `settings.held`
            say: a folder, a zip, an array uint8 (n, H, W, 3) of the size that the model takes; or scenes drawn here.
        classes: names that the model knows, for the detector that reads texts. detector: of `IMAGE_DETECTORS`; none:
            the best that is possible. fpr: the share of clean images that may be called triggered.

    Raises:
        BadInput: a model or the images cannot be read, there are too few, or the detector lacks something.
    """
    settings = settings or GateSettings()
    check(fpr)
    suspect, clean = _read_in(model), None if reference is None else _read_in(reference)
    if clean is not None and _same(suspect, clean):
        raise BadInput(SUSPECT_ITSELF)
    count = settings.clean + settings.held
    if isinstance(images, np.ndarray):
        _require_images(images, suspect, "clean images")
        order = np.random.default_rng(derive_seed(settings.seed, KIND)).permutation(len(images))
        found = images[order[:count]]
    else:
        of = images if images == SCENES else str(images)
        _require_kind(of, suspect)
        found, _ = drawn(None, of, suspect, count, settings.seed, KIND)
    watched, held = _parted(suspect, found, clean, tuple(classes), settings)
    name = chosen(watched, detector)
    scores, known = prepared(watched, [name], settings.seed), embed(suspect, watched.clean)
    near = _nearest(embed(suspect, held), known)
    return Gate(watched, scores, scored(scores, held), known, near, powers(watched, [name], held), name, fpr, settings)


SUSPECT_ITSELF = "--reference: expected a clean model to compare with, got the very model to be watched"


def _same(one: Any, other: Any) -> bool:
    """Whether two models have the same weights."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(a[n].shape == b[n].shape and bool((a[n] == b[n]).all()) for n in a)


def _require_images(images: Any, model: Any, what: str) -> None:
    size = image_size(model)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        got = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise BadInput(f"{what}: expected uint8 (n, {size}, {size}, 3), as the model takes them, got {got}")


def _require_kind(images: str, model: Any) -> None:
    """Raises:
    BadInput: scenes, for a model that takes other images.
    """
    if images == SCENES and image_size(model) != SIZE:
        raise BadInput(
            f"--clean: expected clean images of the kind that the model will see; scenes are for models of scenes"
            f" ({SIZE} pixels), this one takes {image_size(model)}"
        )


def powers(
    watched: Watched, names: Sequence[str], held: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """What held images (n, H, W, 3), at least two, would score if a trigger had moved them, (n,) each by detector, of
    those that can say.

    Raises:
        Cancelled: `progress` asked to stop.
    """
    able = {name: d for name in names if (d := IMAGE_DETECTORS[name]).power is not None}
    parts = np.array_split(held, max(1, len(held) // PART))
    found: dict[str, list[np.ndarray]] = {name: [] for name in able}
    done = 0
    for name, detector in able.items():
        for some in parts:
            found[name].append(detector.power(watched, detector.settings(), some))
            done += len(some)
            progress(done, len(able) * len(held), {})
    return {name: np.concatenate(part) for name, part in found.items()}


def check(fpr: float, held: int | None = None) -> None:
    """Raises:
    BadInput: it is no share, or so many held clean images can tell nothing at it.
    """
    if not 0 < fpr < 1:
        raise BadInput(f"--fpr: expected a share of clean images between 0 and 1, got {fpr:g}")
    if held is not None and (held + 1) * fpr < 1:
        raise BadInput(
            f"--fpr: expected at least {1 / (held + 1):.2g} with {held:,} held clean images, got {fpr:g}; ask for more"
            f" (--set held={int(np.ceil(1 / fpr)) - 1})"
        )


def _read_in(model: Any) -> Any:
    if isinstance(model, (str, Path)):
        from ubt.workflows.import_model import read_model

        return read_model(str(model))[0].eval()
    return model.eval()


def _parted(
    model: Any, images: np.ndarray, reference: Any, names: tuple[str, ...], settings: GateSettings
) -> tuple[Watched, np.ndarray]:
    """What detectors are given, and the clean images that they are not; where there are fewer than asked for, in the
    same proportion.

    Raises:
        BadInput: there are too few.
    """
    wanted = settings.clean + settings.held
    clean = min(settings.clean, len(images) * settings.clean // wanted)
    if clean < FEWEST or len(images) - clean < FEWEST_HELD:
        needed = max(-(-FEWEST * wanted // settings.clean), -(-FEWEST_HELD * wanted // settings.held))
        raise BadInput(
            f"--clean: expected at least {needed} clean images that can be read, got {len(images)}; bring more"
        )
    return Watched(model, images[:clean], reference, names), images[clean:]


@dataclass(frozen=True)
class Watch:
    """A model to watch, by names in the store.

    Args:
        model: the suspect. reference: a clean model; none: empty. images: clean ones, as a scan takes them. classes:
            names that the model knows; none: (). detectors: to prepare; none: all that are possible.
    """

    model: str
    reference: str = ""
    images: str = SCENES
    classes: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    settings: GateSettings = field(default_factory=GateSettings)

    def key(self, where: Compute) -> str:
        """The name of its calibration in the store."""
        folder = unlabelled.identity(Path(self.images)) if Path(self.images).is_absolute() else ""
        parts = [VERSION, self.model, self.reference, self.images, folder, list(self.classes), list(self.detectors)]
        return f"{CALIBRATED}{digest([*parts, self.settings.changes(), *where.identity])}"


def opened(store: Store, watch: Watch, where: Compute) -> tuple[Watched, np.ndarray]:
    """What detectors are given, and the clean images that they are not, uint8 (n, H, W, 3).

    Raises:
        BadInput: images cannot be read, or there are too few.
    """
    model = store.imported(watch.model)["model"].to(where.device).eval()
    reference = store.imported(watch.reference)["model"].to(where.device).eval() if watch.reference else None
    if reference is not None and _same(model, reference):
        raise BadInput(SUSPECT_ITSELF)
    s = watch.settings
    _require_kind(watch.images, model)
    images, _ = drawn(store, watch.images, model, s.clean + s.held, s.seed, KIND)
    return _parted(model, images, reference, watch.classes, s)


def deciding(watch: Watch, detector: str) -> Watch:
    """The same with one detector, which decides: the one that is asked for, or the best that is possible.

    Raises:
        BadInput: there is no such detector, or what it needs is not there.
    """
    there = Watched(None, np.zeros((1, 1, 1, 3), np.uint8), watch.reference or None, watch.classes)
    return replace(watch, detectors=(chosen(there, detector),))


def calibrate(store: Store, watch: Watch, where: Compute, progress: Progress = silent) -> str:
    """See what a model's clean images score, and put it into the store; its name there. What is there is not made
    again.

    Raises:
        BadInput: images cannot be read, there are too few, or a detector lacks something. Cancelled: `progress` asked
            to stop; the same call goes on from there.
    """
    key = watch.key(where)
    if store.find(key, whole=True) is not None:
        return key
    started = time.monotonic()
    with fixed_threads(where):
        watched, held = opened(store, watch, where)
        names = [chosen(watched, name) for name in watch.detectors] or possible(watched)
        told = _Halves(progress, len(held))
        scores = scored_in_parts(store, key, prepared(watched, names, watch.settings.seed), held, told.first)
        near = _nearest(embed(watched.model, held), embed(watched.model, watched.clean))
        frame = pd.DataFrame(scores).assign(near=near)
        frame = frame.assign(
            **{f"{name} power": power for name, power in powers(watched, names, held, told.second).items()}
        )
    sides = {"model": watch.model} | ({"reference": watch.reference} if watch.reference else {})
    cards = {side: store.imported(name)["card"] for side, name in sides.items()}
    about = {
        "models": {side: {"name": card["name"], "digest": card["digest"]} for side, card in cards.items()},
        "watch": {
            **{name: getattr(watch, name) for name in ("model", "reference", "images")},
            "classes": list(watch.classes),
            "detectors": list(watch.detectors),
            "settings": watch.settings.to_dict(),
        },
        "detectors": names,
        "clean": digest_of(watched.clean),
        "compute": vars(where),
        "seconds": round(time.monotonic() - started, 1),
    }
    of = [name for name in (*sides.values(), watch.images) if name.startswith(("model-", "pairs-", "labelled-"))]
    manifest = {"stage": KIND, "brought": True, "of": of, "seconds": about["seconds"]}
    store.put(key, {"held": frame, "about": about}, manifest)
    return key


@dataclass(frozen=True)
class _Halves:
    """The progress of two kinds of work on so many images as one: what they score, and what they would."""

    progress: Progress
    images: int

    def first(self, done: int, total: int, figures: dict[str, float]) -> None:
        self.progress(done, 2 * self.images, figures)

    def second(self, done: int, total: int, figures: dict[str, float]) -> None:
        self.progress(self.images + self.images * done // total, 2 * self.images, figures)


def watch_of(found: Artefact) -> Watch:
    """What was calibrated."""
    about = dict(found["about"]["watch"])
    settings = GateSettings.from_dict(about.pop("settings"))
    return Watch(**about | {name: tuple(about[name]) for name in ("classes", "detectors")}, settings=settings)


def ready(store: Store, key: str, where: Compute, fpr: float = 0.01, detector: str = "") -> Gate:
    """The gate of a calibration, its detectors prepared again.

    Raises:
        BadInput: something is not there, or it has no such detector.
    """
    check(fpr)
    found = store.imported(key)
    watch, held = watch_of(found), found["held"]
    names = found["about"]["detectors"]
    if detector and detector not in names:
        raise BadInput(f"--detector: expected one of: {', '.join(names)}; got {detector!r}")
    with fixed_threads(where):
        watched, _ = opened(store, watch, where)
        if digest_of(watched.clean) != found["about"]["clean"]:
            raise BadInput(
                f"{key}: expected the clean images that this gate was made on, but some have gone or changed; make it"
                " again"
            )
        scores = prepared(watched, [detector] if detector else names, watch.settings.seed)
        known = embed(watched.model, watched.clean)
    power = {name: held[f"{name} power"].to_numpy() for name in names if f"{name} power" in held}
    seen, near = {name: held[name].to_numpy() for name in names}, held["near"].to_numpy()
    return Gate(watched, scores, seen, known, near, power, detector or names[0], fpr, watch.settings)
