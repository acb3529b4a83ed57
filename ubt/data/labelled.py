"""Labelled images of the analyst's own, for CA and ASR: read from the same sources as pairs, a label in the place of
the caption.

Classes are named by `classes.txt`, a name a line, beside the file or in the zip; else by a Hugging Face ClassLabel;
else by the labels, sorted. A folder of class folders names them by the folders; ImageNet's wnids are read as
open_clip's names.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ubt.core.errors import BadInput
from ubt.core.run import Progress, silent
from ubt.core.settings import Settings, setting
from ubt.data import formats
from ubt.data.catalogue import ROWS, TEXT, Kept, Quarantine, as_frame, described, watched
from ubt.data.formats import archives
from ubt.data.formats.base import Source, Wanted
from ubt.data.formats.folders import from_class_folders
from ubt.data.locations import natural
from ubt.data.quarantine import TEXT_BYTES, BrokenImage, clean_text

LABEL_COLUMNS = ("label", "class", "class_name", "target", "category", "labels", "cls")
CLASSES = 100_000


@dataclass(frozen=True)
class LabelledOptions(Settings):
    """How a file of labelled images is to be read; everything has a good guess."""

    image: str = setting("", "column with the image's path or bytes; empty: guessed by its name")
    label: str = setting("", "column with the class, a name or an index into classes.txt; empty: guessed by its name")
    separator: str = setting(
        "", "what separates the columns of a text file, a character or 'tab'; empty: guessed from the first line"
    )
    folder: str = setting("", "folder that the images' paths are relative to; empty: the one that the file is in")
    limit: int = setting(0, "rows to read; 0: all of them", low=0, high=ROWS)

    def wanted(self) -> Wanted:
        """The columns of labelled images that these options ask for."""
        return Wanted("label", LABEL_COLUMNS, self.image, self.label, "", self.separator, self.folder)


def find(path: Path, options: LabelledOptions) -> Source:
    """The source of labelled images that a path is, none of its rows read yet.

    Raises:
        BadInput: it is none, or its columns are not there.
    """
    return _found(path, options)[0]


def _found(path: Path, options: LabelledOptions) -> tuple[Source, list[str]]:
    folders = _class_folders(path) if path.is_dir() else []
    return (
        from_class_folders(path, folders) if folders else formats.find(path, options.wanted(), "labels.csv")
    ), folders


def read(path: Path, options: LabelledOptions | None = None, progress: Progress = silent) -> dict[str, Any]:
    """Read labelled images, streamed.

    Returns:
        `images`: image (its place) and label (index of its class), in the file's order. `classes`: their names.
        `quarantine` and `about`: as of `ubt.data.catalogue.read`; `open_images` of there reads the images.

    Raises:
        BadInput: it is no such source, nothing in it can be used, there are no class names or not two classes, or most
            labels are no class.
    """
    options, path = options or LabelledOptions(), Path(path)
    source, folders = _found(path, options)
    known = folders or _classes(path, source) or source.classes
    kept, quarantine, unknown = Kept(row=pa.int64(), image=TEXT, label=TEXT), Quarantine(), Counter()
    by_name = {name: i for i, name in enumerate(known)}
    total = 0
    for row in watched(source, options.limit, progress):
        total = row.number or total
        reason, label = row.broken, ""
        if not reason:
            try:
                label = clean_text(row.text, 200)
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
    frame = as_frame(kept.table().select(["image", "label"]))
    about = described(path, source, options.to_dict(), total, len(frame), quarantine, "labelled images")
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
    }


def _spelled(classes: list[str]) -> list[str]:
    """Class names as captions would say them: ImageNet's wnids, if all are, become open_clip's names.

    >>> _spelled(["n01440764", "n07753592"]), _spelled(["banana", "n07753592"])
    (['tench', 'banana'], ['banana', 'n07753592'])
    """
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return classes
    from open_clip import IMAGENET_CLASSNAMES

    from ubt.data.imagenet import wnids

    names = dict(zip(wnids(), IMAGENET_CLASSNAMES, strict=True))
    return [names.get(name, name) for name in classes]


def _index(label: str, by_name: dict[str, int], source: Source) -> tuple[str, str]:
    """A label's index as text, and why it has none: a name, else an index (ClassLabel is always an index)."""
    number = int(label) if label.isascii() and label.isdigit() and len(label) < 10 else -1
    if label in by_name and not (source.classes and number >= 0):
        return str(by_name[label]), ""
    return (str(number), "") if 0 <= number < len(by_name) else ("", "unknown class")


def _classes(path: Path, source: Source) -> list[str]:
    """The names in classes.txt beside the images; empty if there is none."""
    if source.kind == "zip":
        with archives.open_zip(path) as archive:
            members = archives.ZipMembers(archive).good
            folder = source.about.removeprefix("zip with ").rpartition("/")[0]
            inside = f"{folder}/classes.txt" if folder else "classes.txt"
            if inside not in members:
                return []
            try:
                return parse_classes(archives.read_member(archive, members[inside], TEXT_BYTES), inside)
            except BrokenImage as e:
                raise BadInput(f"{path}: expected a readable {inside}, got one that is {e}") from None
    beside = (path if path.is_dir() else path.parent) / "classes.txt"
    if not beside.is_file():
        return []
    with beside.open("rb") as f:
        return parse_classes(f.read(TEXT_BYTES + 1), str(beside))


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
            found.append(clean_text(line, 200))
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


def _class_folders(path: Path) -> list[str]:
    """The names of the class folders, sorted; empty if `path` holds a table or shards."""
    try:
        inside = list(path.iterdir())
    except OSError as e:
        raise BadInput(f"{path}: expected a folder that can be read, got one that cannot ({e.strerror})") from None
    if any(
        p.suffix.lower() in (".csv", ".tsv", ".tar", ".parquet", ".arrow") or p.name == "dataset_dict.json"
        for p in inside
    ):
        return []
    found = sorted(
        (p.name for p in inside if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")), key=natural
    )
    if found:
        for name in found:
            parse_classes(f"{name}\nother than {name}".encode("utf-8", "surrogateescape"), str(path))
    return found
