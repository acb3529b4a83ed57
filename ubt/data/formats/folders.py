"""Pairs in a folder of images with texts beside them; labelled images in class folders."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ubt.data.formats.base import Files, Format, Listing, ReadOptions, Row, Source, caption_in, file_in
from ubt.data.locations import IMAGE_ENDINGS, Folder, natural, relative
from ubt.data.quarantine import TEXT_BYTES, BrokenImage


def from_sidecars(here: Listing, options: ReadOptions) -> Source | None:
    """A folder of images, each with a text of the same name (.txt, or .json with a caption)."""
    if not _has_sidecars(here.path):
        return None
    folder, done = Folder(here.path), [0]

    def rows() -> Iterator[Row]:
        numbers = itertools.count(1)
        for at, inner, files in os.walk(folder.root):
            inner.sort(key=natural)
            here = Path(at).relative_to(folder.root).as_posix()
            base = "" if here == "." else f"{here}/"
            there = set(files)
            used = set()
            for name in sorted(n for n in files if n.lower().endswith(IMAGE_ENDINGS)):
                stem = name.rpartition(".")[0]
                side = next((f"{stem}{e}" for e in (".txt", ".json") if f"{stem}{e}" in there), "")
                used.add(side)
                text, reason = None, "" if side else "image without caption"
                try:
                    image = file_in(folder, base + name)
                    text = (
                        caption_in(folder.read(relative(base + side), TEXT_BYTES), side.rpartition(".")[2], options)
                        if side
                        else None
                    )
                except BrokenImage as e:
                    image, reason = base + name, "caption too long" if e.reason == "too large" else e.reason
                yield Row(next(numbers), image, text, None, reason)
                done[0] += 1
            for name in sorted(n for n in there - used if n.lower().endswith(".txt")):
                yield Row(0, base + name, None, None, "caption without image")

    return Source(
        "folder of images with texts", Files(folder), rows, columns={"text": "txt or json"}, done=lambda: done[0]
    )


def _has_sidecars(path: Path) -> bool:
    for _, _, files in itertools.islice(os.walk(path), 1000):
        there = set(files)
        for name in itertools.islice((f for f in files if f.lower().endswith(IMAGE_ENDINGS)), 1000):
            stem = name.rpartition(".")[0]
            if f"{stem}.txt" in there or f"{stem}.json" in there:
                return True
    return False


def from_class_folders(here: Listing, options: ReadOptions) -> Source | None:
    """Labelled images: each in the folder of its class, at any depth; beside the folders lies nothing that another
    format reads.
    """
    if here.read_by_others or not here.folders:
        return None
    folder, classes, done = Folder(here.path), here.folders, [0]

    def rows() -> Iterator[Row]:
        numbers = itertools.count(1)
        for label in classes:
            for at, inner, files in os.walk(folder.root / label):
                inner.sort(key=natural)
                base = Path(at).relative_to(folder.root).as_posix()
                for name in sorted((n for n in files if n.lower().endswith(IMAGE_ENDINGS)), key=natural):
                    image, reason = f"{base}/{name}", ""
                    try:
                        image = file_in(folder, image)
                    except BrokenImage as e:
                        reason = e.reason
                    yield Row(next(numbers), image, label, None, reason)
                    done[0] += 1

    return Source(
        "class folders",
        Files(folder),
        rows,
        columns={"text": "the folder's name"},
        done=lambda: done[0],
        classes=classes,
    )


SIDECARS = Format(
    "a folder of images with texts",
    ("a folder of images", "a .txt, or a .json with a caption, beside each", "`a/b.jpg`"),
    folder=from_sidecars,
    readers={"files": Files.at},
)
CLASS_FOLDERS = Format(
    "a folder with a folder of images for each class",
    ("a folder of class folders", "labelled images only: each in the folder of its class, at any depth", "`cat/a.jpg`"),
    folder=from_class_folders,
    readers={"files": Files.at},
    holds=("label",),
)
