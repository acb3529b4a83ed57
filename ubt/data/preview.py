"""A look at a source before it is read: what it is, its columns, its first rows with their images."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from ubt.core.errors import UbtError
from ubt.data import formats
from ubt.data.catalogue import SourceOptions
from ubt.data.images import Images
from ubt.data.labelled import LabelledOptions
from ubt.data.quarantine import BrokenImage, clean_text, shown

SIDE = 96
"""Pixels a side of a previewed image."""


@dataclass(frozen=True)
class Preview:
    """What a source is (`kind`), which columns are taken (`columns`) of those there (`names`; none where it has no
    columns), and its first `rows`: image (its place), text, reason (empty if it can be used).
    """

    kind: str
    columns: dict[str, str]
    names: list[str]
    rows: pd.DataFrame
    images: list[np.ndarray | None]


def look(path: Path, options: SourceOptions | LabelledOptions, count: int = 8) -> Preview:
    """The first rows of a source; no more of it is read.

    Args:
        options: of pairs or of labelled images, which say which of them it is looked at as.

    Raises:
        BadInput: it is no such source. NoColumn: its columns cannot be guessed, so that they must be named.
    """
    source = formats.open_source(Path(path), options)
    first = contextlib.closing(source.rows())
    with first as rows:
        found = list(islice(rows, count))
    said = [(shown(r.image), shown(r.text), r.broken or _reason(r.text)) for r in found]
    table = pd.DataFrame(said, columns=["image", "text", "reason"], index=[r.number for r in found], dtype=object)
    images = Images.of(source, [r.image for r in found], SIDE)
    pixels, why = each(images, [None if r.broken else i for i, r in enumerate(found)])
    table["reason"] = [reason or said for reason, said in zip(table["reason"], why, strict=True)]
    return Preview(source.about, source.columns, source.names, table, pixels)


def _reason(text: str | bytes | None) -> str:
    """Why a text cannot be used, if it cannot."""
    try:
        clean_text(text)
    except BrokenImage as e:
        return e.reason
    return ""


def each(images: Images, rows: Sequence[int | None]) -> tuple[list[np.ndarray | None], list[str]]:
    """Some of the images one by one, uint8 (size, size, 3) each, None for those that cannot be had, and why."""
    found: list[np.ndarray | None] = []
    why: list[str] = []
    for row in rows:
        image, said = None, ""
        if row is not None:
            try:
                image = images[int(row)]
            except UbtError as e:
                said = getattr(e, "reason", str(e))
        found.append(image)
        why.append(said)
    return found, why
