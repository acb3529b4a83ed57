"""A scan: is there a trigger in this model at all, and for which class? Nobody's pairs are needed, only clean images
without labels, names of classes, and, better, a clean model to compare with.

What an inversion found is kept by the model's weights, so that a reference is inverted once.
"""

import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ubt import __version__
from ubt.cases.artifact import Artefact
from ubt.cases.litter import INVERTED
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute, Progress, Run, derive_seed, fixed_threads, silent
from ubt.core.settings import Settings, setting
from ubt.data import unlabelled
from ubt.data.labelled import parse_classes
from ubt.data.user_roles import prompts
from ubt.defenses.token_unlearning.health import POISONED
from ubt.detectors.inversion import METHODS
from ubt.detectors.inversion.base import LEAST_IMAGES, Given, Inverted, Trigger
from ubt.detectors.inversion.faint import FaintSettings
from ubt.detectors.inversion.masked import MaskedSettings
from ubt.detectors.inversion.target_free import TargetFreeSettings
from ubt.detectors.inversion.verdict import Judged, ScanVerdictSettings, judge, plain
from ubt.workflows.sources import SCENES, drawn, models, named_classes, named_images, names_of

VERSION = 1
"""Of what is computed; raised when it changes."""
LIMITS = (
    "A scan finds triggers that are put on images, and that turn any image. It does not find a trigger that needs a"
    " word in the caption too, a concept that images show already, or one that turns images of a single class."
)


class ScanSettings(Settings):
    """A scan."""

    images: int = setting(64, "images that triggers are looked for on", low=16, high=4096)
    held: int = setting(64, "further images that they are measured on", low=16, high=4096)
    target_free_too: bool = setting(
        False, "also look for a trigger without a target (DECREE); the verdict does not use it"
    )
    seed: int = setting(0, "the one seed", low=0, high=2**31)
    faint: FaintSettings = FaintSettings()
    masked: MaskedSettings = MaskedSettings()
    target_free: TargetFreeSettings = TargetFreeSettings()
    verdict: ScanVerdictSettings = ScanVerdictSettings()

    @property
    def methods(self) -> list[str]:
        """The methods that are used."""
        return [name for name, method in METHODS.items() if method.by_class or self.target_free_too]


@dataclass(frozen=True)
class Scan:
    """What is scanned: `model` and `reference` by their names in the store (no reference: empty), `images`, the name of
    imported pairs or labelled images, a folder of images, or `SCENES`; and the names of the `classes`.

    Raises:
        BadInput: the reference is the model itself.
    """

    model: str
    reference: str
    images: str
    classes: tuple[str, ...]
    settings: ScanSettings = field(default_factory=ScanSettings)


def prepare(
    store: Store,
    model: str,
    reference: str = "",
    images: str = "",
    classes: str = "",
    settings: ScanSettings | None = None,
    architecture: str = "",
    quick_gelu: bool | None = None,
    progress: Progress = silent,
) -> Scan:
    """Import what a scan needs and say what it is.

    Args:
        model, reference: as `ubt.workflows.import_model.read_model` reads them; the model may be a case's, as
            `case:NAME` (M_bd, or the model audited) or `case:NAME/STAGE`, and the reference `SHIPPED`.
        images: labelled images or pairs, as `data labels` and `data pairs` read them, or a folder of images; none:
            scenes.
        classes: a file with a name a line, or names separated by commas; none: those of the labelled images, or of
            scenes.

    Raises:
        BadInput: something cannot be read, or there are no names of classes.
    """
    suspect, clean = models(store, model, reference, architecture, quick_gelu, progress)
    found = named_images(store, Path(images), progress) if images else SCENES
    return of_imported(store, suspect, clean, found, named_classes(classes), settings)


def of_imported(
    store: Store,
    model: str,
    reference: str,
    images: str,
    classes: Sequence[str] = (),
    settings: ScanSettings | None = None,
) -> Scan:
    """A scan of what was imported already, by its names in the store; otherwise as `prepare`.

    Raises:
        BadInput: the reference is the model itself, or there are no names of classes.
    """
    if reference and store.imported(model)["card"]["digest"] == store.imported(reference)["card"]["digest"]:
        raise BadInput("--reference: expected a clean model to compare with, got the very model to be scanned")
    names = tuple(classes) or names_of(store, images)
    if not names:
        raise BadInput(
            "--classes: expected the names of classes that the model knows (a file with one a line, or separated by"
            " commas), for these images say none"
        )
    names = tuple(parse_classes("\n".join(names).encode(), "--classes"))
    return Scan(model, reference, images, names, settings or ScanSettings())


def key_of(store: Store, scan: Scan, where: Compute) -> str:
    """The name of a scan's result in the store, decided by the models, what the images are called, the classes and the
    settings.
    """
    folder = unlabelled.identity(Path(scan.images)) if Path(scan.images).is_absolute() else ""
    made_of = [
        VERSION,
        scan.model,
        scan.reference,
        scan.images,
        folder,
        list(scan.classes),
        scan.settings.changes(),
        *where.identity,
    ]
    return f"scan-{digest(made_of)}"


def scan(store: Store, wanted: Scan, where: Compute, progress: Progress = silent) -> str:
    """Scan a model and put what was found into the store; returns its name there. What is there is not made again.

    Raises:
        BadInput: images cannot be read, or there are too few. UbtError: the model's features are not finite. Cancelled:
            `progress` asked to stop; the same call goes on from there.
    """
    key = key_of(store, wanted, where)
    if store.find(key, whole=True) is not None:
        return key
    started = time.monotonic()
    sides = {"suspect": wanted.model} | ({"reference": wanted.reference} if wanted.reference else {})
    with fixed_threads(where):
        models = {side: store.imported(name)["model"] for side, name in sides.items()}
        count = wanted.settings.images + wanted.settings.held
        seen = {side: pixels(store, wanted, model, count) for side, model in models.items()}
        told = _Told(progress, [(side, name) for side in sides for name in wanted.settings.methods], wanted)
        found: dict[str, dict[str, Inverted]] = {}
        given: dict[str, Given] = {}
        for side, model in models.items():
            parts = halves(seen[side][0], wanted.settings.images, wanted.settings.held)
            given[side] = given_of(model.to(where.device), *parts, wanted.classes)
            found[side] = {
                name: _inverted(store, given[side], name, sides[side], wanted, where, told(side, name))
                for name in wanted.settings.methods
            }
        by_class = {s: {n: i for n, i in m.items() if METHODS[n].by_class} for s, m in found.items()}
        as_they_are = {side: taken(one) for side, one in given.items()}
        verdict = judge(
            by_class["suspect"], by_class.get("reference"), as_they_are, wanted.classes, wanted.settings.verdict
        )
        shown = _shown(found["suspect"][verdict.method], verdict, given["suspect"], wanted, where)
    examples = seen["suspect"][0][:8]
    result = {
        "verdict": plain(verdict, wanted.classes),
        "classes": verdict.classes.assign(name=[wanted.classes[i] for i in verdict.classes["class"]]),
        "pattern": shown.pattern,
        "examples": examples,
        "triggered": shown.apply(examples),
        "about": _about(store, wanted, where, seen["suspect"][1], time.monotonic() - started),
    } | ({} if shown.mask is None else {"mask": shown.mask})
    if "target_free" in found["suspect"]:
        result["target_free"] = found["suspect"]["target_free"].measures
    of = [name for name in (*sides.values(), wanted.images) if name.startswith(("model-", "pairs-", "labelled-"))]
    seconds = round(time.monotonic() - started, 1)
    store.put(key, result, {"stage": "scan", "brought": True, "of": of, "seconds": seconds})
    return key


def _shown(found: Inverted, verdict: Judged, given: Given, wanted: Scan, where: Compute) -> Trigger:
    """The trigger of the class that a verdict is about; looked for again where it is not among those kept."""
    for one in found.triggers:
        if one.target == verdict.target:
            return one
    settings, only = getattr(wanted.settings, verdict.method), replace(given, only=(verdict.target,))
    run = Run(derive_seed(wanted.settings.seed, f"scan/{verdict.method}") % 2**31, where)
    return METHODS[verdict.method].invert(only, settings, run).triggers[0]


def halves(images: np.ndarray, to_look: int, to_measure: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (n, H, W, 3), to look for triggers on and to measure them on, where there are fewer than asked for
    in the same proportion, but enough to measure.
    """
    held = min(to_measure, max(LEAST_IMAGES, round(len(images) * to_measure / (to_look + to_measure))))
    cut = max(0, len(images) - held)
    return images[:cut], images[cut:]


class _Told:
    """Progress of several inversions as one, by the images that each looks at."""

    def __init__(self, progress: Progress, parts: Sequence[tuple[str, str]], wanted: Scan):
        self.progress, self.before, self.total = progress, {}, 0
        for side, name in parts:
            s = getattr(wanted.settings, name)
            self.before[side, name] = self.total
            self.total += s.steps * s.batch * (len(wanted.classes) if METHODS[name].by_class else s.starts)
        self.ends = [*list(self.before.values())[1:], self.total]

    def __call__(self, side: str, name: str) -> Progress:
        first = self.before[side, name]
        last = self.ends[list(self.before).index((side, name))]

        def progress(done: int, total: int, figures: dict[str, float]) -> None:
            self.progress(first + (last - first) * done // max(1, total), self.total, figures)

        return progress


def pixels(
    store: Store, wanted: Scan, model: Any, count: int, use: str = "images"
) -> tuple[np.ndarray, dict[str, int]]:
    """So many of a scan's images as a model takes them, uint8 (n, size, size, 3), drawn by its seed for a `use`; and
    how many could not be used, by reason.

    Raises:
        BadInput: there are none.
    """
    return drawn(store, wanted.images, model, count, wanted.settings.seed, f"scan/{use}")


def given_of(model: Any, images: np.ndarray, held: np.ndarray, classes: Sequence[str]) -> Given:
    """What an inversion of a model is given, images and held ones uint8 (n, H, W, 3), with the class weights of its own
    text tower.

    Raises:
        BadInput: there are too few images or classes.
    """
    from ubt.data import model_input
    from ubt.evaluation import zeroshot

    own = prompts(list(classes), "7", model_input.context_length(model))
    return Given(model, images, held, zeroshot.class_weights(model, own))


def taken(given: Given) -> np.ndarray:
    """What a model takes the held images for as they are: class indices (n,)."""
    from ubt.clip import models

    return (models.embed_images(given.model, given.held) @ given.weights.T).argmax(1)


def _inverted(
    store: Store, given: Given, name: str, model: str, wanted: Scan, where: Compute, progress: Progress
) -> Inverted:
    """What a method finds in a model; what was found before is read."""
    settings = getattr(wanted.settings, name)
    pixels = hashlib.sha256(np.ascontiguousarray(given.images).tobytes() + given.held.tobytes()).hexdigest()
    of = [VERSION, name, model, pixels, list(wanted.classes), settings.to_dict(), wanted.settings.seed]
    key = f"{INVERTED}{digest([*of, *where.identity])}"
    with store.lock(key):
        if (there := store.find(key, whole=True)) is not None:
            return Inverted.read(there)
        started, scratch = time.monotonic(), store.scratch(key)
        run = Run(derive_seed(wanted.settings.seed, f"scan/{name}") % 2**31, where, progress, scratch / "work")
        found = METHODS[name].invert(given, settings, run)
        seconds = round(time.monotonic() - started, 1)
        store.set_aside(key)
        store.write(key, found.plain(), {"stage": "inversion", "brought": True, "of": [model], "seconds": seconds})
    return found


def _about(store: Store, wanted: Scan, where: Compute, left_out: Mapping[str, int], seconds: float) -> dict[str, Any]:
    known = ("name", "digest", "architecture")
    cards = {
        side: {name: store.imported(key)["card"][name] for name in known} | {"key": key}
        for side, key in (("model", wanted.model), ("reference", wanted.reference))
        if key
    }
    return {
        "models": cards,
        "images": wanted.images,
        "classes": list(wanted.classes),
        "left_out": dict(left_out),
        "settings": wanted.settings.to_dict(),
        "compute": vars(where),
        "seconds": round(seconds, 1),
        "made_by": f"UBT Inspector {__version__}",
        "limits": LIMITS,
    }


def again(found: Artefact) -> Scan:
    """What was scanned."""
    about = found["about"]
    keys = {side: about["models"].get(side, {}).get("key", "") for side in ("model", "reference")}
    settings = ScanSettings.from_dict(about["settings"])
    return Scan(keys["model"], keys["reference"], about["images"], tuple(about["classes"]), settings)


def told(found: Artefact) -> dict[str, Any]:
    """What a scan says, as plain values: the verdict, and what it was made of."""
    about = {name: value for name, value in found["about"].items() if name != "classes"}
    free = {"target_free": found["target_free"].to_dict("records")} if "target_free" in found else {}
    return {**found["verdict"], **free, **about}


def trigger(found: Artefact) -> Trigger:
    """The trigger that a scan shows."""
    entries = {name: found[name] for name in ("pattern", "mask") if name in found}
    return Trigger(-1, entries["pattern"], entries.get("mask"))


def picture(found: Trigger, scale: int = 8) -> np.ndarray:
    """A trigger as a picture, uint8 (height, width, 4), `scale` times its size but at most 512 pixels a side: a masked
    one with its mask as opacity; one that is added around grey, made as strong as can be shown.
    """
    if found.mask is None:
        strongest = max(float(np.abs(found.pattern).max()), 1e-6)
        rgb, alpha = 0.5 + 0.5 * found.pattern / strongest, np.ones(found.pattern.shape[:2], np.float32)
    else:
        rgb, alpha = found.pattern, found.mask
    pixels = np.rint(255 * np.concatenate([rgb, alpha[..., None]], 2).clip(0, 1)).astype(np.uint8)
    scale = max(1, min(scale, 512 // max(pixels.shape[:2])))
    return pixels.repeat(scale, 0).repeat(scale, 1)


def on_grey(picture: np.ndarray) -> np.ndarray:
    """A picture with opacity, uint8 (H, W, 4), on grey: uint8 (H, W, 3)."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(alpha * picture[..., :3] + (1 - alpha) * 128).astype(np.uint8)


def as_png(pixels: np.ndarray) -> bytes:
    """A picture, uint8 (H, W, 3 or 4), as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def judged_poisoned(found: Artefact) -> bool:
    """Whether a scan's verdict is "poisoned"."""
    return found["verdict"]["verdict"] == POISONED


def listed(store: Store) -> pd.DataFrame:
    """The scans of a store, newest first: name, model, reference, verdict, target, score."""
    rows = [
        {
            "scan": key,
            "model": found["about"]["models"]["model"]["name"],
            "reference": found["about"]["models"].get("reference", {}).get("name", ""),
            **{name: found["verdict"][name] for name in ("verdict", "target", "score")},
        }
        for key, found in store.all_imported("scan").items()
    ]
    return pd.DataFrame(rows, columns=["scan", "model", "reference", "verdict", "target", "score"])
