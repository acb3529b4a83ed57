"""Labelled data sets by name, as torchvision lays them out on disk; nothing is ever downloaded.

A name is looked for under the folder of data (`UBT_DATA`, or one that is named): ImageNet-1K's validation folder with a
folder a wnid, and CIFAR-10, CIFAR-100, Caltech101, DTD, Oxford-IIIT Pet, Food101; or NAME.zip or the folder NAME, any
source that `ubt.data.labelled` reads.
"""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.data import formats, imagenet, labelled
from ubt.data.images import Images
from ubt.data.labelled import LabelledOptions
from ubt.data.locations import Locations

DATA = "UBT_DATA"
"""The environment variable that names the folder of data."""


@dataclass(frozen=True)
class LabelledSet:
    """Labelled images.

    Args:
        images: uint8 (n, side, side, 3), or `Images` still to be read. labels: (n,) indices into `classes`. templates:
            its prompts, `{}` for the class; empty: CLIP's 7. left_out: image, reason of what was not read, if anything.
    """

    images: np.ndarray | Images
    labels: np.ndarray
    classes: list[str]
    templates: tuple[str, ...] = ()
    left_out: pd.DataFrame | None = None


@dataclass(frozen=True)
class Known:
    """A data set by name, as `classification_sets.toml` tells it.

    Args:
        looked_for: what is looked for under the folder of data, what holds its images last. classes: how many it must
            have. put: what is to be put there. templates: its prompts, `{}` for the class; empty: CLIP's 7.
            torchvision: the class that reads it. spelled: what captions call the classes whose folders say it badly.
    """

    title: str
    looked_for: Sequence[str]
    classes: int
    put: str
    templates: Sequence[str] = ()
    torchvision: str = ""
    spelled: dict[str, str] = field(default_factory=dict)

    def read(self, root: Path) -> tuple[Any, Sequence[int], Sequence[str]]:
        """Places of images (or pixels), labels and the names of classes, from the folder of data."""
        if self.torchvision:
            return _torchvision(self.torchvision, root)
        return (_imagenet if self is SETS["imagenet"] else _caltech)(root)


def _torchvision(kind: str, root: Path) -> tuple:
    from torchvision import datasets

    made = getattr(datasets, kind)
    if kind.startswith("CIFAR"):
        found = made(root, train=False)
        return found.data, found.targets, found.classes
    found = made(root, split="test")
    files = found._images if kind == "OxfordIIITPet" else found._image_files
    return [str(p) for p in files], found._labels, found.classes


def _caltech(root: Path) -> tuple:
    """All images: the set has no split of its own."""
    folder = root / "caltech101/101_ObjectCategories"
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != "BACKGROUND_Google")
    files = [
        (f"{folder}/{name}/{f.name}", i) for i, name in enumerate(names) for f in sorted((folder / name).glob("*.jpg"))
    ]
    return [f for f, _ in files], [i for _, i in files], [SETS["caltech101"].spelled.get(name, name) for name in names]


def _imagenet(root: Path) -> tuple:
    from open_clip import IMAGENET_CLASSNAMES

    folder, expected = root / "imagenet/val", imagenet.wnids()
    there = {p.name for p in folder.iterdir() if p.is_dir()}
    if lacking := [name for name in expected if name not in there]:
        raise BadInput(
            f"{folder}: expected ImageNet-1K's 1000 folders {expected[0]} to {expected[-1]}, got {len(there)} folders"
            f" without {', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}; a part of it is read as any folder"
            " of class folders, by its path"
        )
    files = [
        (f"{folder}/{name}/{f.name}", i)
        for i, name in enumerate(expected)
        for f in sorted((folder / name).iterdir())
        if not f.name.startswith(".")
    ]
    return [f for f, _ in files], [i for _, i in files], IMAGENET_CLASSNAMES


SETS: dict[str, Known] = {
    name: Known(**about)
    for name, about in tomllib.loads(
        Path(__file__).with_name("classification_sets.toml").read_text(encoding="utf-8")
    ).items()
}
"""By name."""


def folder_of_data(root: str = "") -> Path | None:
    """The folder under which data sets are looked for: the one named, or that of `UBT_DATA`; None if neither is,
    or if it may not be read.
    """
    named = root or os.environ.get(DATA, "")
    return Path(named).expanduser().resolve() if named and roots.allowed(Path(named).expanduser()) else None


def absent(name: str, root: str = "") -> str:
    """Why a named set, or a path, cannot be read, and what to put where; empty if it is there. Nothing is read."""
    known, folder = SETS.get(name), folder_of_data(root)
    if _elsewhere(name, folder):
        return ""
    if known is None:
        if "/" in name or "." in name:
            return f"{name}: expected labelled images, got no such file or folder"
        where = (
            f"{folder}/{name}.zip or the folder {folder}/{name}"
            if folder
            else f"a folder of data ({DATA} or downstream.root)"
        )
        return (
            f"{name!r}: expected a data set of: {', '.join(('scenes', *SETS))}; or labelled images at a path, or as"
            f" {where}; got none"
        )
    if folder is None:
        there = f"put into it {known.put}, so that {known.looked_for[0]} is there"
        return f"{known.title}: expected a folder of data; name one with {DATA} or downstream.root, and {there}"
    if lacking := [str(folder / part) for part in known.looked_for if not (folder / part).exists()]:
        return f"{known.title}: expected {' and '.join(lacking)}, got no such file or folder; put there: {known.put}"
    return ""


def place(name: str, root: str = "") -> str:
    """The file or folder that a named set, or a path, is read from, as an error says it."""
    known, folder = SETS.get(name), folder_of_data(root)
    return str(_elsewhere(name, folder) or (folder / known.looked_for[0] if known and folder else name))


def _elsewhere(name: str, folder: Path | None) -> Path | None:
    """The labelled source, a path or one in the folder of data, that a name is; none if the set is there as torchvision
    has it.
    """
    known = SETS.get(name)
    if known and folder and all((folder / part).exists() for part in known.looked_for):
        return None
    if known is None and ("/" in name or "." in name):
        return Path(name) if roots.allowed(Path(name)) and Path(name).exists() else None
    return (
        next((p for p in (folder / f"{name}.zip", folder / name) if _holds_images(p, known)), None) if folder else None
    )


def _holds_images(path: Path, known: Known | None) -> bool:
    """Whether a file or folder may be a labelled source, and is not a known set's own folder."""
    return path.is_file() or (path.is_dir() and known is None)


def read(name: str, size: int, root: str = "") -> LabelledSet:
    """A labelled set by its name, or any labelled source by its path.

    Args:
        size: pixels a side of images that are still to be read; those of CIFAR stay as they are.

    Raises:
        BadInput: it is absent, its layout is another, or its classes do not match; the message names the file or folder
            that was looked for.
    """
    if said := absent(name, root):
        raise BadInput(said)
    known, folder = SETS.get(name), folder_of_data(root)
    if path := _elsewhere(name, folder):
        options = LabelledOptions(decode=False)
        source = formats.open_source(path, options)
        found = labelled.read_source(source, options)
        frame, classes = found["images"], list(found["classes"])
        _check_classes(known, classes, str(path))
        images = Images.of(source, frame["image"].to_numpy(object), size)
        left_out = found["quarantine"][["image", "reason"]]
        return LabelledSet(images, frame["label"].to_numpy(), classes, left_out=left_out)
    where = str(folder / known.looked_for[0])
    try:
        images, labels, classes = known.read(folder)
    except BadInput:
        raise
    except Exception as e:  # torchvision says in many ways that a layout is not what it expects
        raise BadInput(f"{where}: expected {known.title} as {known.put}, got another layout ({e!r:.200})") from None
    names = list(classes) if name == "imagenet" else [plain(c) for c in classes]
    _check_classes(known, names, where)
    if not len(labels):
        raise BadInput(f"{where}: expected images of {known.title}, got none; put there: {known.put}")
    if not isinstance(images, np.ndarray):
        top = folder / known.looked_for[-1]
        images = Images(Locations("files", str(top.resolve()), [p.removeprefix(f"{top}/") for p in images]), size)
    return LabelledSet(images, np.asarray(labels, np.int64), names, tuple(known.templates))


def _check_classes(known: Known | None, classes: Sequence[str], where: str) -> None:
    if known and len(classes) != known.classes:
        raise BadInput(
            f"{where}: expected {known.title}'s {known.classes} classes, got {len(classes)}"
            f" ({', '.join(classes[:4])}, …)"
        )


def plain(name: str) -> str:
    """A class's name as a caption would say it.

    >>> plain("aquarium_fish"), plain("Great Pyrenees")
    ('aquarium fish', 'great pyrenees')
    """
    return " ".join(name.replace("_", " ").split()).lower()


def with_target(classes: Sequence[str], target: str, where: str) -> int:
    """The index of the class that is the target, whatever its capitals.

    Args:
        where: what the classes are of, for the error.

    Raises:
        BadInput: there is none.
    """
    found = [i for i, c in enumerate(classes) if c.casefold() == target.casefold()]
    if not found:
        raise BadInput(
            f"{where}: expected the target {target!r} among its {len(classes)} classes ({', '.join(classes[:8])}, …),"
            " got none; name one of them"
        )
    return found[0]


def some(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """The rows (m,), in order, of at most `per_class` images a class, drawn by a seed; 0 takes all."""
    if not per_class:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    nth = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    return np.sort(order[nth < per_class])
