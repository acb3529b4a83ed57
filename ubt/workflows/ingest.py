"""Imports pairs, labelled images and models (`ubt.workflows.import_model`) into the store, once, named by content; and
exports a case's D, for others to import.
"""

import contextlib
import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.litter import UPLOADS
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.core.files import digest, replace_file
from ubt.core.run import Progress, derive_seed, silent
from ubt.data import catalogue, classification_sets, labelled
from ubt.data.catalogue import Quarantine, SourceOptions
from ubt.data.labelled import LabelledOptions


@dataclass(frozen=True)
class Wanted:
    """Something to import: `kind` (pairs, labelled, model), where it is, and how it is read: the settings of
    `SourceOptions` or `LabelledOptions` that are not at their defaults; of a model its `architecture` and `state`, see
    `ubt.workflows.import_model.import_model`.

    Or what is made of what was imported, see `ubt.workflows.made_here`.
    """

    kind: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)


def import_wanted(store: Store, wanted: Wanted, progress: Progress = silent) -> str:
    """Import something into the store; returns its name.

    Raises:
        BadInput: it is not what it is taken for, or of no known kind.
    """
    with roots.also(store.root / UPLOADS):
        return _imported(store, wanted, progress)


def _imported(store: Store, wanted: Wanted, progress: Progress) -> str:
    if wanted.kind == "pairs":
        return import_pairs(store, Path(wanted.source), SourceOptions.from_dict(wanted.options), progress)
    if wanted.kind == "labelled":
        return import_labelled(store, Path(wanted.source), LabelledOptions.from_dict(wanted.options), progress)
    if wanted.kind == "model":
        from ubt.workflows.import_model import import_model

        how = {"architecture": "", "state": "suspect"} | wanted.options
        return import_model(store, wanted.source, how["architecture"], how["state"], progress)
    raise BadInput(f"expected pairs, labelled or model, got {wanted.kind!r}")


def import_pairs(store: Store, path: Path, options: SourceOptions | None = None, progress: Progress = silent) -> str:
    """Read a source of pairs and put its catalogue (`pairs`, `quarantine`, `about`) into the store; returns its name.
    Images stay where they are.

    Raises:
        BadInput: it is no source of pairs, or no pair in it can be used.
    """
    return _stored(store, "pairs", "pairs", lambda: catalogue.read(_absolute(path), options, progress))


def import_labelled(
    store: Store, path: Path, options: LabelledOptions | None = None, progress: Progress = silent
) -> str:
    """Read labelled images and put their catalogue (`images`, `classes`, `quarantine`, `about`) into the store; returns
    its name.

    Args:
        path: or the name of a data set in the folder of data (`ubt.data.classification_sets.SETS`), where there is no
            such file or folder.

    Raises:
        BadInput: it is no such source, or nothing in it can be used.
    """
    if str(path) in classification_sets.SETS and not Path(path).exists():
        return _stored(store, "labelled", "images", lambda: _of_set(store, str(path), progress))
    return _stored(store, "labelled", "images", lambda: labelled.read(_absolute(path), options, progress))


def _of_set(store: Store, name: str, progress: Progress) -> dict[str, Any]:
    """A data set's catalogue. CIFAR's images, which are in no files, are written as PNG into `sets/NAME.zip` of the
    store.
    """
    found = classification_sets.read(name, 1)
    if isinstance(found.images, np.ndarray):
        (packed := store.root / "sets" / f"{name}.zip").parent.mkdir(exist_ok=True)
        names, text = (
            [f"images/{i:06d}.png" for i in range(len(found.labels))],
            pd.Series(found.classes)[found.labels].to_numpy(),
        )
        if not packed.exists():
            table = pd.DataFrame({"image": names, "label": text}).to_csv(index=False)
            replace_file(
                packed,
                lambda file: _pack(
                    file, names, found.images, {"labels.csv": table, "classes.txt": "\n".join(found.classes)}
                ),
            )
        with roots.also(packed.parent):
            return labelled.read(packed.resolve(), None, progress)
    where = found.images.at
    about = {
        "kind": classification_sets.SETS[name].title,
        "path": classification_sets.place(name),
        "columns": {},
        "options": {},
        "files": where.files,
        "images": where.about(),
        "read": len(found.labels),
        "kept": len(found.labels),
        "quarantined": {},
    }
    images = pd.DataFrame({"image": where.places.to_pylist(), "label": found.labels}).astype({"label": "int64"})
    return {"images": images, "classes": found.classes, "quarantine": Quarantine().frame(), "about": about}


def _stored(store: Store, kind: str, entry: str, read: Callable[[], dict[str, Any]]) -> str:
    started = time.monotonic()
    found = read()
    rows = pd.util.hash_pandas_object(found[entry], index=False).to_numpy()
    identity = [found["about"], found.get("classes", []), hashlib.sha256(rows.tobytes()).hexdigest()]
    key = f"{kind}-{digest([*identity, *filter(None, [_files(found, entry)])])}"
    store.put(key, found, {"stage": kind, "brought": True, "seconds": round(time.monotonic() - started, 3)})
    return key


def _absolute(path: Path) -> Path:
    return Path.cwd() / path


def _files(found: dict[str, Any], entry: str) -> str:
    """The digest of sizes and times of images that are files of their own, so that other images under the same names
    are other pairs.
    """
    at = found["about"]["images"]
    root = at["root"] if at["kind"] == "files" else at.get("folder")
    if not root:
        return ""
    sha = hashlib.sha256()
    for place in found[entry]["image"]:
        with contextlib.suppress(OSError):
            told = Path(root, place).stat()
            sha.update(f"{told.st_size},{told.st_mtime_ns};".encode())
    return sha.hexdigest()


def lab_of(store: Store, pairs: str, labelled: str, reference: str, spare: float) -> dict[str, Any]:
    """The settings, by dotted name, of a lab case on imported data, by its names in the store.

    Raises:
        BadInput: something is not there, or the reference was trained on pairs that D could take.
    """
    for key in filter(None, (pairs, labelled, reference)):
        store.imported(key)
    share = trained_on(store, pairs, reference)
    if spare < share:
        raise BadInput(
            f"--spare: expected at least {share:g}, for the reference was trained on that share of these pairs, got"
            f" {spare:g}"
        )
    return {"own.pairs": pairs, "own.test": labelled, "own.reference": reference, "own.spare": spare}


def check_targets(store: Store, settings: CaseSettings) -> None:
    """Raises:
    BadInput: the labelled images of a lab case lack the target of one of its attacks.
    """
    if settings.own.test and not settings.own.audits:
        found = store.imported(settings.own.test)
        for planted in settings.attacks:
            planted.check_target(tuple(found["classes"]), f" of {found['about']['path']}")


def trained_on(store: Store, pairs: str, reference: str) -> float:
    """The share of some pairs that an imported reference says it was trained on; 0 if it says nothing of them."""
    said = store.imported(reference)["card"]["made_from"].get("trained_on", {}) if reference else {}
    return float(said["share"]) if said.get("pairs") == pairs else 0.0


def duplicates(about: dict[str, Any]) -> str:
    """How many of the rows that were imported are there twice, and that they stay, as a sentence."""
    if (found := about.get("duplicates")) is None:
        return "images were not decoded: broken and equal ones are not counted"
    if not any(found.values()):
        return "no exact duplicates"
    rows, images = found["rows"], found["images"]
    return (
        f"exact duplicates, which stay in: {rows:,} {'row has' if rows == 1 else 'rows have'} the image and the text of"
        f" an earlier one, {images:,} {'image is' if images == 1 else 'images are'} equal to one under another name"
    )


def first_rows(store: Store, key: str, count: int, entry: str = "pairs") -> pd.DataFrame:
    """The first rows of something imported, without reading the others."""
    import pyarrow.parquet as pq

    store.imported(key)
    with pq.ParquetFile(store.root / "artefacts" / key / f"{entry}.parquet") as file:
        batch = next(file.iter_batches(batch_size=count), None)
        return (file.schema_arrow.empty_table() if batch is None else batch).to_pandas()


def listed(store: Store) -> dict[str, dict[str, Any]]:
    """What was read of the pairs and then of the labelled images in the store, by name, the newest first."""
    return {
        key: artefact["about"] for kind in ("pairs", "labelled") for key, artefact in store.all_imported(kind).items()
    }


def write_pairs(store: Store, name: str, path: Path, progress: Progress = silent) -> int:
    """Write a case's D as a zip of PNG images and `captions.csv`, in an order and under names that say nothing of which
    pairs are poisoned; returns how many pairs. Who audits it reads the very pixels and captions that M_bd was trained
    on.

    Raises:
        BadInput: there is no such case, its D is not made yet, or the file cannot be written.
    """
    key = store.case(name).artefacts.get("data", "")
    data = store.open(key) if key else None
    if data is None:
        raise BadInput(f"{name}: expected a case whose D is made, but its stage data was not run; run the case first")
    pairs, images = data["pairs"], data["images"]
    order = np.random.default_rng(derive_seed(0, key)).permutation(len(pairs))
    table = pd.DataFrame(
        {"image": [f"images/{i:07d}.png" for i in range(len(order))], "caption": pairs["caption"].to_numpy()[order]}
    )

    if path.suffix.lower() != ".zip" or not path.parent.is_dir():
        raise BadInput(f"--out: expected a file NAME.zip in an existing folder, got {path}")
    shown = (images[int(row)] for row in order)
    replace_file(
        path, lambda file: _pack(file, table["image"], shown, {"captions.csv": table.to_csv(index=False)}, progress)
    )
    return len(order)


def _pack(
    path: Path, names: Sequence[str], images: Iterable[np.ndarray], texts: dict[str, str], progress: Progress = silent
) -> None:
    """Write a zip of PNG images and of texts."""
    from PIL import Image

    with zipfile.ZipFile(path, "w") as archive:
        for i, (name, pixels) in enumerate(zip(names, images, strict=True)):
            held = io.BytesIO()
            Image.fromarray(np.asarray(pixels)).save(held, "PNG")
            archive.writestr(name, held.getvalue())
            if i % 500 == 0:
                progress(i, len(names), {})
        for name, text in texts.items():
            archive.writestr(name, text, zipfile.ZIP_DEFLATED)
