"""Labelled images of the analyst's own, for CA and ASR: read from the same sources as pairs, a label in the place of
the caption.

Classes are named by `classes.txt`, a name a line, beside the file or in the zip; else by a Hugging Face ClassLabel;
else by the labels, sorted. A folder of class folders names them by the folders; ImageNet's wnids are read as
open_clip's names.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from ubt.core.errors import BadInput
from ubt.core.run import Progress, silent
from ubt.core.settings import setting
from ubt.data import formats, imagenet
from ubt.data.catalogue import TEXT, Kept, Quarantine, as_frame, decoded, described, watched
from ubt.data.formats.base import ReadOptions, Source
from ubt.data.locations import composed, natural
from ubt.data.quarantine import TEXT_BYTES, BrokenImage, clean_text

LABEL_COLUMNS = ("label", "class", "class_name", "target", "category", "labels", "cls")
CLASSES = 100_000


class LabelledOptions(ReadOptions):
    """How a file of labelled images is to be read; everything has a good guess."""

    what: ClassVar = "label"
    texts: ClassVar = LABEL_COLUMNS
    table: ClassVar = "labels.csv"
    ident: ClassVar = ""
    label: str = setting("", "column with the class, a name or an index into classes.txt; empty: guessed by its name")


def read(path: Path, options: LabelledOptions | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Read labelled images, streamed.

    Returns:
        `images`: image (its place) and label (index of its class), in the file's order. `classes`: their names.
        `quarantine`, `notes`, `noted`, `about`: as of `ubt.data.catalogue.read`, whose `open_images` reads the images.

    Raises:
        BadInput: it is no such source, nothing in it can be used, there are no class names or not two classes, or most
            labels are no class.
    """
    options = options or LabelledOptions()
    return read_source(formats.open_source(Path(path), options), options, progress)


def read_source(source: Source, options: LabelledOptions, progress: Progress = silent) -> dict[str, Any]:
    """As `read`, of a source that is open already.

    Raises:
        BadInput: as `read`, but for what is found out by opening it.
    """
    path, known = source.path, _classes(source)
    kept, quarantine, unknown = Kept(row=pa.int64(), image=TEXT, label=TEXT), Quarantine(), Counter()
    by_name = {name: i for i, name in enumerate(known)}
    total = 0
    for row in watched(source, options.limit, progress):
        total += row.number > 0
        reason, label = row.broken, ""
        if not reason:
            try:
                label = composed(clean_text(row.text, 200))
            except BrokenImage as e:
                reason = e.reason
        if not reason and known:
            label, reason = _index(label, by_name, source)
            unknown[str(row.text)[:40]] += bool(reason)
        if reason:
            quarantine.add(row.number, row.image, row.text, reason)
        else:
            kept.add(row.number, row.image, label)
    if unknown.total() > total / 2:
        some = ", ".join(repr(n) for n, _ in unknown.most_common(5))
        raise BadInput(
            f"{path}: expected labels that are among the {len(known)} classes ({', '.join(known[:5])}, ...) or indices"
            f" of them; got {some}"
        )
    table, duplicates, odd = kept.table(), None, {}
    if options.decode:
        table, duplicates, odd = decoded(table, "label", source, quarantine, progress)
    frame = as_frame(table.select(["image", "label"]))
    about = described(source, options, total, len(frame), quarantine, "labelled images", duplicates)
    if not known:
        known = sorted(frame["label"].unique(), key=natural)
        _require_names(path, known)
        by_name = {name: i for i, name in enumerate(known)}
        frame["label"] = [by_name[name] for name in frame["label"]]
    if len(known) < 2:
        raise BadInput(f"{path}: expected at least two classes, got {', '.join(known)}")
    return {
        "images": frame.astype({"label": "int64"}),
        "classes": _spelled(list(known)),
        "quarantine": quarantine.frame(),
        "about": about,
        **odd,
    }


def _spelled(classes: list[str]) -> list[str]:
    """Class names as captions would say them: ImageNet's wnids, if all are, become open_clip's names.

    >>> _spelled(["n01440764", "n07753592"]), _spelled(["banana", "n07753592"])
    (['tench', 'banana'], ['banana', 'n07753592'])
    """
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return classes
    from open_clip import IMAGENET_CLASSNAMES

    names = dict(zip(imagenet.wnids(), IMAGENET_CLASSNAMES, strict=True))
    return [names.get(name, name) for name in classes]


def _index(label: str, by_name: dict[str, int], source: Source) -> tuple[str, str]:
    """A label's index as text, and why it has none: a name, else an index (ClassLabel is always an index)."""
    number = int(label) if label.isascii() and label.isdigit() and len(label) < 10 else -1
    if label in by_name and not (source.indexed and number >= 0):
        return str(by_name[label]), ""
    return (str(number), "") if 0 <= number < len(by_name) else ("", "unknown class")


def _classes(source: Source) -> list[str]:
    """The names of the classes: those of their folders, else in classes.txt beside the images, else those that the
    source says itself; empty if there are none.
    """
    if source.classes and not source.indexed:
        for name in source.classes:
            parse_classes(f"{name}\nother than {name}".encode("utf-8", "surrogateescape"), str(source.path))
        return [composed(name) for name in source.classes]
    try:
        found = source.beside("classes.txt")
    except BrokenImage as e:
        raise BadInput(f"{source.path}: expected a readable classes.txt, got one that is {e}") from None
    return parse_classes(found[1], found[0]) if found else source.classes


def parse_classes(data: bytes, name: str) -> list[str]:
    """Class names, one a line.

    >>> parse_classes(b"goldfish\\nbanana\\n", "classes.txt")
    ['goldfish', 'banana']

    Raises:
        BadInput: there are none or too many, one is there twice, or one is no text.
    """
    if len(data) > TEXT_BYTES:
        raise BadInput(f"{name}: expected at most {TEXT_BYTES >> 20} MiB of class names, got more")
    found = []
    for number, line in enumerate(data.rstrip().splitlines(), 1):
        try:
            found.append(composed(clean_text(line, 200)))
        except BrokenImage as e:
            raise BadInput(
                f"{name}: expected a class name in line {number}, got {e.reason.replace('caption', 'text')}"
            ) from None
    twice = [n for n, times in Counter(found).items() if times > 1]
    if not 2 <= len(found) <= CLASSES or twice:
        said = f"{', '.join(twice[:3])} twice" if twice else f"{len(found)}"
        raise BadInput(f"{name}: expected 2 to {CLASSES} class names, one a line, each once; got {said}")
    return found


def _require_names(path: Path, labels: list[str]) -> None:
    if labels and all(n.isascii() and n.isdigit() for n in labels):
        raise BadInput(
            f"{path}: expected class names, got numbers only ({', '.join(labels[:5])}); put a classes.txt beside it, a"
            " name a line"
        )
    if len(labels) > CLASSES:
        raise BadInput(f"{path}: expected at most {CLASSES} classes, got {len(labels)}; is it the right column?")
