"""What a scan or a gate is given: models by how they are called, clean images, names of classes."""

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, digest
from ubt.core.run import Progress, derive_seed, silent
from ubt.data import scenes, unlabelled
from ubt.data.labelled import parse_classes

SCENES = "scenes"
"""As images: scenes drawn by the library, for a model that knows such."""
SHIPPED = "shipped"
"""As a reference: the one that comes with the library."""
OF_CASE = "case:"
"""How a case's model is named where a model is asked for."""


def models(
    store: Store,
    model: str,
    reference: str,
    architecture: str = "",
    quick_gelu: bool | None = None,
    progress: Progress = silent,
) -> tuple[str, str]:
    """The names in the store of a model and of a clean one (empty: none), imported if they are not there; otherwise as
    `prepare`.

    Raises:
        BadInput: one cannot be read.
    """
    from ubt.workflows.import_model import import_model

    suspect, clean = resolved(store, model), resolved(store, reference)
    if suspect == model:
        suspect = import_model(store, model, architecture, "suspect", progress, quick_gelu)
    if clean == reference and reference:
        clean = import_model(store, reference, "", "clean", progress)
    return suspect, clean


def images_and_names(store: Store, images: str, classes: str) -> tuple[str, tuple[str, ...]]:
    """What clean images are called, imported if they are not there, and the names of classes: those that are given, or
    the images' own; there may be none.

    Raises:
        BadInput: something cannot be read.
    """
    found = named_images(store, Path(images)) if images else SCENES
    return found, tuple(named_classes(classes)) or names_of(store, found)


def resolved(store: Store, named: str) -> str:
    """The name in the store of a case's model or of the shipped reference; any other name as it is.

    Raises:
        BadInput: there is no such case or model.
    """
    from ubt.workflows.import_model import import_model

    if named == SHIPPED:
        with roots.also(REFERENCE):
            return import_model(store, str(REFERENCE), "", "clean")
    if named.startswith(OF_CASE):
        return _of_case(store, *named.removeprefix(OF_CASE).partition("/")[::2])
    return named


def _of_case(store: Store, name: str, stage: str = "") -> str:
    """Put a case's model, M_bd or the one that a stage made, among the imported ones; its name."""
    from ubt.workflows.export_model import card
    from ubt.workflows.import_model import KEY

    record = store.case(name)
    own = CaseSettings.from_dict(record.settings).own
    if not stage and own.audits:
        return own.suspect
    about = card(store, name, stage or "poison")
    key = f"{KEY}{digest([about['digest'], about['state'], about['name']])}"
    if store.find(key) is None:
        model = store.open(record.artefacts[stage or "poison"])["model"]
        store.put(key, {"model": model, "card": about}, {"stage": "model", "brought": True, "seconds": 0.0})
    return key


def drawn(
    store: Store | None, images: str, model: Any, count: int, seed: int, use: str
) -> tuple[np.ndarray, dict[str, int]]:
    """The same, uint8 (n, size, size, 3) and how many could not be used, of images by what a scan calls them: `SCENES`,
    imported ones by their name in the store, or the path of a folder or a zip.

    Raises:
        BadInput: there are none.
    """
    from ubt.data import model_input
    from ubt.data.catalogue import open_images

    size, of_use = model_input.image_size(model), derive_seed(seed, use)
    if images == SCENES:
        first = int(np.random.default_rng(of_use).integers(10**8))
        return scenes.draw_many(seed, scenes.ROLES["clean"][first : first + count], size), {}
    if store is not None and images.startswith(("pairs-", "labelled-")):
        found = store.imported(images)
        table = found["pairs" if images.startswith("pairs-") else "images"]
        opened = open_images(found["about"], table["image"].to_numpy(object), size, model_input.fit(model))
        return unlabelled.some(opened, count, of_use)
    return unlabelled.read(Path(images), size, count, of_use, model_input.fit(model))


def names_of(store: Store, images: str) -> tuple[str, ...]:
    """The names of classes that images say themselves: scenes, and labelled ones; else none."""
    if images == SCENES:
        return tuple(scenes.CLASSES)
    return tuple(store.imported(images)["classes"]) if images.startswith("labelled-") else ()


def named_images(store: Store, path: Path, progress: Progress = silent) -> str:
    """What a scan calls images: labelled ones or pairs, imported here; or the whole path of a folder, or of a zip, of
    images alone.

    Raises:
        BadInput: there are none.
    """
    from ubt.workflows.ingest import import_labelled, import_pairs

    said = []
    for read in (import_labelled, import_pairs):
        try:
            return read(store, path, None, progress)
        except BadInput as e:
            said.append(str(e))
    if path.is_dir() or zipfile.is_zipfile(path):
        return str(path.resolve())
    raise BadInput(f"--images: {said[0]}")


def named_classes(classes: str) -> list[str]:
    """Names of classes from a file, or separated by commas."""
    if not classes:
        return []
    path = Path(classes)
    with contextlib.suppress(OSError):  # a list of names may be too long for a path
        if path.is_file():
            return parse_classes(path.read_bytes(), str(path))
    return parse_classes("\n".join(part.strip() for part in classes.split(",")).encode(), "--classes")
