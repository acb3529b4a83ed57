"""Images with several captions each, for retrieval: Karpathy's JSON of Flickr30K and COCO, or any source of pairs, in
which an image that comes again has one more caption.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.core import roots
from ubt.core.errors import BadInput
from ubt.data import catalogue, formats
from ubt.data.catalogue import SourceOptions
from ubt.data.classification_sets import DATA, folder_of_data
from ubt.data.formats.base import as_text
from ubt.data.images import Images
from ubt.data.locations import Locations, relative
from ubt.data.quarantine import BrokenImage, clean_text

SETS = {"flickr30k": ("Flickr30K", "dataset_flickr30k.json"), "coco": ("COCO", "dataset_coco.json")}
"""Title, and Karpathy's file, by name; both are looked for in the folder NAME of the folder of data."""
FOLDERS = ("", "images", "flickr30k-images", "flickr30k_images")
"""Where the images of such a file lie beside it."""
JSON_BYTES = 1 << 30


def absent(name: str, root: str = "") -> str:
    """Why a named set, or a path, cannot be read, and what to put where; empty if it is there."""
    return _found(name, root)[1]


def place(name: str, root: str = "") -> str:
    """The file or folder that a named set, or a path, is read from, as an error says it."""
    return str(_found(name, root)[0]) if name in SETS else name


def _found(name: str, root: str) -> tuple[Path, str]:
    folder = folder_of_data(root)
    if name not in SETS:
        return (
            Path(name),
            (
                ""
                if roots.allowed(Path(name)) and Path(name).exists()
                else (
                    f"{name}: expected {', '.join(('scenes', *SETS))}, or a path of captions; got no such file or"
                    " folder"
                )
            ),
        )
    title, file = SETS[name]
    put = f"Karpathy's {file} with the images beside it (or captions.csv: image, caption)"
    if folder is None:
        return (
            Path(file),
            (
                f"{title}: expected a folder of data; name one with {DATA} or downstream.root, and put into {name}/ in"
                f" it: {put}"
            ),
        )
    there = [p for p in (folder / name / file, folder / name / "captions.csv") if p.is_file()]
    return (
        (there[0], "")
        if there
        else (folder / name, f"{title}: expected {folder / name / file}, got no such file; put there: {put}")
    )


def read(name: str, size: int, root: str = "") -> tuple[Images, pd.DataFrame, pd.DataFrame]:
    """The images, still to be read; their captions: `image` (the row) and `caption`, in order; and what was left out:
    `image` (its place) and `reason`. Of Karpathy's files the split `test`.

    Raises:
        BadInput: it is absent, of another layout, or has no captions or images; the message names the file or folder
            that was looked for.
    """
    path, said = _found(name, root)
    if said:
        raise BadInput(said)
    if path.suffix.lower() == ".json":
        places, captions, left_out, where = _karpathy(path)
        roots.require(where, path)
        return Images(Locations("files", str(where), places), size), captions, left_out
    options = SourceOptions(decode=False)
    source = formats.open_source(path, options)
    found = catalogue.read_source(source, options)
    pairs, left_out = found["pairs"], found["quarantine"][["image", "reason"]]
    rows, places = pd.factorize(pairs["image"])
    frame = pd.DataFrame({"image": rows, "caption": pairs["caption"]}).sort_values(
        "image", kind="stable", ignore_index=True
    )
    return Images.of(source, np.asarray(places, object), size), frame, left_out


def _karpathy(path: Path, split: str = "test") -> tuple[list[str], pd.DataFrame, pd.DataFrame, Path]:
    if path.stat().st_size > JSON_BYTES:
        raise BadInput(
            f"{path}: expected a JSON file of at most {JSON_BYTES >> 20} MiB, got {path.stat().st_size >> 20}"
        )
    try:
        entries = json.loads(path.read_bytes())["images"]
        wanted = [e for e in entries if e["split"] == split]
        texts = [[s["raw"] for s in e["sentences"]] for e in wanted]
        names = [_place(e) for e in wanted]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BrokenImage) as e:
        raise BadInput(
            f"{path}: expected Karpathy's layout (images: filename, split, sentences: raw), got another ({e!r:.120})"
        ) from None
    if not wanted:
        raise BadInput(
            f"{path}: expected images of the split {split!r}, got"
            f" {', '.join(sorted({str(e['split']) for e in entries})) or 'none'}"
        )
    places, folder = _beside(path, names)
    tried = [(row, *_usable(text)) for row, several in enumerate(texts) for text in several]
    rows = [(row, text) for row, text, reason in tried if not reason]
    left_out = [(places[row], reason) for row, _, reason in tried if reason]
    if len({row for row, _ in rows}) < len(places):
        raise BadInput(
            f"{path}: expected a caption of every image, got {len(places) - len({row for row, _ in rows})} images"
            " without one"
        )
    frames = (pd.DataFrame(rows, columns=["image", "caption"]), pd.DataFrame(left_out, columns=["image", "reason"]))
    return places, *frames, folder


def _place(entry: dict[str, Any]) -> str:
    return relative(f"{entry['filepath']}/{entry['filename']}" if entry.get("filepath") else entry["filename"])


def _usable(text: Any) -> tuple[str, str]:
    """A caption, and why it cannot be used."""
    try:
        return clean_text(as_text(text, SourceOptions())), ""
    except BrokenImage as e:
        return "", e.reason


def _beside(path: Path, names: list[str]) -> tuple[list[str], Path]:
    """The places of images, and the folder, or what it is a link to, that they are relative to: the one that holds the
    first of them.
    """
    for folder in FOLDERS:
        if (path.parent / folder / names[0]).is_file():
            heads = {name.rpartition("/")[0] for name in names}
            inside = next(iter(heads)) if len(heads) == 1 else ""
            return [name.removeprefix(f"{inside}/") for name in names], (path.parent / folder / inside).resolve()
    looked = ", ".join(str(path.parent / folder / names[0]) for folder in FOLDERS)
    raise BadInput(f"{path}: expected its images beside it, got none of: {looked}; put them there")
