"""CSV and TSV as they come: streamed, in UTF-8 with or without a byte order mark, each broken row told and none of them
fatal.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ubt.core.errors import BadInput
from ubt.data.formats.base import Row
from ubt.data.quarantine import TEXT_BYTES, BrokenImage

SEPARATORS = ("\t", ",", ";", "|")


class Lines:
    """A file's lines as text, bad bytes as lone surrogates; those of the row under way can be put back."""

    def __init__(self, file: BinaryIO):
        self.file, self.row = file, []
        self.ended = self.too_long = False
        self.bytes = 0
        self._back: deque[str] = deque()

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read()
        if not line:
            self.ended = True
            raise StopIteration
        self.row.append(line)
        return line

    def begin(self) -> None:
        """A new row begins."""
        self.row, self.ended, self.too_long = [], False, False

    def put_back(self) -> None:
        """All lines of the row but the first will be read again."""
        self._back.extendleft(reversed(self.row[1:]))

    def _read(self) -> str:
        raw = self.file.readline(TEXT_BYTES)
        self.bytes += len(raw)
        if len(raw) == TEXT_BYTES and not raw.endswith(b"\n"):
            self.too_long = True
            while (more := self.file.readline(TEXT_BYTES)) and not more.endswith(b"\n"):
                self.bytes += len(more)
            return raw[:100].decode("utf-8", "replace").replace('"', "'").replace("\n", " ") + "\n"
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("utf-8", "surrogateescape")


def header(file: BinaryIO, name: str, separator: str = "") -> tuple[list[str], str]:
    """The column names and the separator: the one asked for (`tab` or one character), or the one that cuts the first
    line into most fields.

    Raises:
        BadInput: the first row is no list of column names.
    """
    first = file.readline(TEXT_BYTES)
    if first[:2] in (b"\xff\xfe", b"\xfe\xff") or first[:4] == b"\0\0\xfe\xff":
        raise BadInput(f"{name}: expected text in UTF-8, got UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise BadInput(
            f"{name}: expected a first line of column names in UTF-8, got other bytes; save it as UTF-8"
        ) from None
    if not text.strip() or "\0" in text or len(text) > 10_000:
        raise BadInput(
            f"{name}: expected a first line of column names, got"
            f" {'an empty one' if not text.strip() else 'something else'}"
        )
    if separator and separator.lower() != "tab" and len(separator) != 1:
        raise BadInput(f"separator: expected 'tab' or one character, got {separator!r}")
    chosen = "\t" if separator.lower() == "tab" else separator or max(SEPARATORS, key=text.count)
    try:
        names = [n.strip() for n in next(csv.reader([text], delimiter=chosen))]
    except (csv.Error, TypeError, ValueError) as e:
        raise BadInput(
            f"{name}: expected a first line of column names separated by {chosen!r}, got one that cannot be read ({e})"
        ) from None
    return names, chosen


def rows(lines: Lines, separator: str, width: int) -> Iterator[tuple[list[str], str]]:
    """(fields, why the row is broken or '') of each row after the header; empty lines are none.

    A quote that is never closed, or that swallowed rows until it met another, costs its own row only.
    """
    reader = csv.reader(lines, delimiter=separator)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            lines.put_back()
            yield (
                [lines.row[0][:200]],
                "row too long" if len(lines.row) == 1 and lines.row[0].count('"') % 2 == 0 else "unclosed quote",
            )
            continue
        if lines.too_long:
            yield fields, "row too long"
        elif lines.ended:
            lines.put_back()
            yield [lines.row[0][:200]], "unclosed quote"
        elif len(fields) != width:
            if not fields:
                continue
            lines.put_back()
            yield fields, "ragged row"
        else:
            yield fields, ""


def pairs(
    lines: Lines, separator: str, names: list[str], columns: dict[str, str], place: Callable[[str], str]
) -> Iterator[Row]:
    """The rows of a table with a header of `names`, images at the places that `place` finds for what is in their
    column.
    """
    next(iter(lines))
    image, text = names.index(columns["image"]), names.index(columns["text"])
    own = names.index(columns["id"]) if columns.get("id") else -1
    for number, (fields, reason) in enumerate(rows(lines, separator, len(names)), 1):
        if reason:
            at, said = (fields[i] if i < len(fields) else "" for i in (image, text))
            yield Row(number, at or fields[0][:200], said, None, reason)
            continue
        try:
            found = place(fields[image])
        except BrokenImage as e:
            found, reason = fields[image], e.reason
        yield Row(number, found, fields[text], fields[own] if own >= 0 else None, reason)
