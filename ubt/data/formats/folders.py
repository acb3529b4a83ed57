"""Pairs in a folder of images with texts beside them; labelled images in class folders."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from ubt.data.formats.base import (
    Files,
    Format,
    Listing,
    ReadOptions,
    Row,
    Source,
    caption_in,
    file_in,
    key_and_ending,
    matched,
    text_endings,
)
from ubt.data.locations import IMAGE_ENDINGS, Folder, natural, relative
from ubt.data.quarantine import TEXT_BYTES, BrokenImage


def walk(root: Path, inner: str = "") -> Iterator[tuple[str, list[str], list[Row]]]:
    """Every folder below `root`, or below its folder `inner`, links not followed: its name with a slash, its files,
    and what of it cannot be read.
    """
    errors: list[OSError] = []
    for at, folders, files in os.walk(root / inner, onerror=errors.append):
        folders.sort(key=natural)
        here = Path(at).relative_to(root).as_posix()
        base = "" if here == "." else f"{here}/"
        linked = [f"{base}{name}" for name in folders if Path(at, name).is_symlink()]
        yield base, files, [Row(0, name, None, None, "linked folder") for name in linked]
    unread = [Path(e.filename).relative_to(root).as_posix() for e in errors]
    yield "", [], [Row(0, name, None, None, "unreadable folder") for name in unread]


def from_sidecars(here: Listing, options: ReadOptions) -> Source | None:
    """A folder of images, each with a text of the same name (.txt, or .json with a caption)."""
    if not _has_sidecars(here.path, options):
        return None
    folder, done = Folder(here.path), [0]

    def rows() -> Iterator[Row]:
        numbers = itertools.count(1)
        for base, files, left_out in walk(folder.root):
            yield from left_out
            for row in _of_folder(folder, base, files, options, numbers):
                yield row
                done[0] += 1

    return Source(
        "folder of images with texts", Files(folder), rows, columns={"text": "txt or json"}, done=lambda: done[0]
    )


def _of_folder(
    folder: Folder, base: str, files: list[str], options: ReadOptions, numbers: Iterator[int]
) -> Iterator[Row]:
    """The images among the files of one folder with their texts, and then the files that belong to none."""
    known, keys, left_out = text_endings(options), {}, []
    for name in sorted(files):
        key, ending = key_and_ending(name, options)
        if ending in keys.setdefault(key, {}):
            left_out.append((name, "duplicate member"))
        else:
            keys[key][ending] = name
    for sample in keys.values():
        found, left = matched(sample, known)
        for ending, name in sample.items():
            if ending in found or left.get(ending) == "image without caption":
                yield _with_text(folder, base + name, sample.get(found.get(ending, "")), options, next(numbers))
            elif ending in left:
                left_out.append((name, left[ending]))
    for name, reason in sorted(left_out):
        yield Row(0, base + name, None, None, reason)


def _with_text(folder: Folder, name: str, side: str | None, options: ReadOptions, number: int) -> Row:
    """The row of an image and of the file beside it that has its text."""
    text, reason = None, "" if side else "image without caption"
    try:
        name = file_in(folder, name)
        if side:
            data = folder.read(relative(name.rpartition("/")[0] + "/" + side if "/" in name else side), TEXT_BYTES)
            text = caption_in(data, side.rpartition(".")[2].lower(), options)
    except BrokenImage as e:
        reason = "caption too long" if e.reason == "too large" else e.reason
    return Row(number, name, text, None, reason)


def _has_sidecars(path: Path, options: ReadOptions) -> bool:
    known = text_endings(options)
    for _, _, files in itertools.islice(os.walk(path), 1000):
        keys: dict[str, list[str]] = {}
        for name in files[:2000]:
            key, ending = key_and_ending(name, options)
            keys.setdefault(key, []).append(ending)
        if any(matched(endings, known)[0] for endings in keys.values()):
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
            for base, files, left_out in walk(folder.root, label):
                yield from left_out
                for name in sorted(files, key=natural):
                    if not name.lower().endswith(IMAGE_ENDINGS):
                        yield Row(0, base + name, None, None, "another kind of file")
                        continue
                    image, reason = base + name, ""
                    try:
                        image = file_in(folder, image)
                    except BrokenImage as e:
                        reason = e.reason
                    yield Row(next(numbers), image, label, None, reason)
                    done[0] += 1
        for name in here.linked:
            yield Row(0, name, None, None, "linked folder")
        for name in here.hidden:
            yield Row(0, name, None, None, "hidden folder")
        for file in here.files:
            image = file.name.lower().endswith(IMAGE_ENDINGS)
            yield Row(0, file.name, None, None, "image without class" if image else "another kind of file")

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
