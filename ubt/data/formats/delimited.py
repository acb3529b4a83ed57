"""CSV and TSV as they come: streamed, in UTF-8 with or without a byte order mark, each broken row told and none of them
fatal.

Rows are counted twice: by their quotes, and by lines that are rows by themselves. Where a quote joins two such lines,
it is a stray one, and the second line is read as the row that it is.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from ubt.core.errors import BadInput
from ubt.data.formats.base import Row
from ubt.data.locations import IMAGE_ENDINGS
from ubt.data.quarantine import TEXT_BYTES, BrokenImage

SEPARATORS = ("\t", ",", ";", "|")


class Header(NamedTuple):
    """The names of a table's columns (those without one are `unnamed column N`), what separates its fields, how many
    `lines` the header takes, and how many of the last columns are `unnamed`.
    """

    names: list[str]
    separator: str
    lines: int
    unnamed: int


class _Cut(str):
    """The beginning of a line that was too long to be read."""


class _Again(str):
    """A line that is read for the second time, because a quote before it was a stray one: it may be half a row."""


class Lines:
    """A file's lines as text, bad bytes as lone surrogates; those of the row under way can be put back.

    Args:
        is_row: whether a line is a row by itself. A row ends before the second of such lines: one of them may be the
            first or the last line of a text that is meant to go over several.
    """

    def __init__(self, file: BinaryIO, is_row: Callable[[str], bool] = lambda line: False):
        self.file, self.row, self.is_row = file, [], is_row
        self.bytes = 0
        self._back: deque[str] = deque()

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._read()
        if not line:
            raise StopIteration
        if self.row and self.is_row(line) and any(map(self.is_row, self.row)):
            self._back.appendleft(line)
            raise StopIteration
        self.row.append(line)
        return line

    @property
    def too_long(self) -> bool:
        """Whether a line of the row was too long to be read."""
        return any(isinstance(line, _Cut) for line in self.row)

    def is_half(self, separator: str) -> bool:
        """Whether the row begins in the middle of a quoted text, as far as can be told: a quote closes in its first
        line that opens in none.
        """
        first = self.row[0]
        return (
            isinstance(first, _Again)
            and first.count('"') % 2 == 1
            and any(p.count('"') % 2 and not p.startswith('"') for p in first.split(separator))
        )

    def begin(self) -> None:
        """A new row begins."""
        self.row = []

    def put_back(self) -> None:
        """All lines of the row but the first will be read again."""
        self._back.extendleft(line if isinstance(line, _Cut) else _Again(line) for line in reversed(self.row[1:]))

    def _read(self) -> str:
        raw = self.file.readline(TEXT_BYTES)
        self.bytes += len(raw)
        if len(raw) == TEXT_BYTES and not raw.endswith(b"\n"):
            while (more := self.file.readline(TEXT_BYTES)) and not more.endswith(b"\n"):
                self.bytes += len(more)
            return _Cut(raw[:100].decode("utf-8", "replace").replace('"', "'").replace("\n", " ") + "\n")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("utf-8", "surrogateescape")


def header(file: BinaryIO, name: str, separator: str = "") -> Header:
    """The column names and the separator: the one asked for (`tab` or one character), the one that Excel's first line
    `sep=;` names, or the one that cuts the first line into most fields.

    Raises:
        BadInput: the first row is no list of column names.
    """
    text, lines = _first_line(file, name), 1
    if excel := re.fullmatch(r'"?sep=(.)"?', text):
        text, lines, separator = _first_line(file, name), 2, separator or excel[1]
    if separator and separator.lower() != "tab" and len(separator) != 1:
        raise BadInput(f"separator: expected 'tab' or one character, got {separator!r}")
    chosen = "\t" if separator.lower() == "tab" else separator or max(SEPARATORS, key=text.count)
    try:
        names = [n.strip() for n in next(csv.reader([text], delimiter=chosen))]
    except (csv.Error, TypeError, ValueError) as e:
        raise BadInput(
            f"{name}: expected a first line of column names separated by {chosen!r}, got one that cannot be read ({e})"
        ) from None
    unnamed = len(names) - max((i for i, n in enumerate(names, 1) if n), default=0)
    return Header([n or f"unnamed column {i}" for i, n in enumerate(names, 1)], chosen, lines, unnamed)


def _first_line(file: BinaryIO, name: str) -> str:
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
    return text


def rows(lines: Lines, separator: str, width: int, unnamed: int = 0) -> Iterator[tuple[list[str], str]]:
    """(fields, why the row is broken or '') of each row after the header; empty lines are none.

    A quote that is never closed, or that swallowed rows until it met another, costs its own row only. A row whose
    quotes are no quoting (`"Sale" at the door`) is read as it is written.

    Args:
        width: columns of the table. unnamed: how many of the last ones have no name, and nothing in them but a number.
    """
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            lines.put_back()
            yield _by_itself(lines.row, separator, width, "larger than" in str(e))
            continue
        if lines.too_long:
            yield fields, "row too long"
        elif lines.is_half(separator):
            lines.put_back()
            yield [lines.row[0][:200]], "unclosed quote"
        elif not _fits(fields, width, unnamed):
            if not fields:
                continue
            lines.put_back()
            yield fields, "ragged row"
        else:
            yield fields, ""


def _by_itself(row: list[str], separator: str, width: int, too_long: bool) -> tuple[list[str], str]:
    """The first line of a row that is no CSV, with its quotes as they are."""
    first, quotes = row[0], row[0].count('"')
    if quotes % 2 or (too_long and len(row) > 1):
        return [first[:200]], "unclosed quote"
    if too_long:
        return [first[:200]], "row too long"
    fields = first.rstrip("\r\n").split(separator)
    if len(fields) == width:
        return fields, ""
    return [first[:200]], "unclosed quote" if quotes else "ragged row"


def _fits(fields: list[str], width: int, unnamed: int) -> bool:
    """Whether the fields are those of the columns; what spills into a last column without a name may be a caption's."""
    if len(fields) == width and not unnamed:
        return True
    return width - unnamed <= len(fields) <= width and all(
        not f.strip() or f.isdigit() for f in fields[width - unnamed :]
    )


def pairs(
    file: BinaryIO, head: Header, columns: dict[str, str], place: Callable[[str], str], state: list[Lines]
) -> Iterator[Row]:
    """The rows of a table, images at the places that `place` finds for what is in their column.

    Args:
        file: the whole table, its header too. state: gets the lines, which know how much is read.
    """
    names, separator = head.names, head.separator
    image, text = names.index(columns["image"]), names.index(columns["text"])
    own = names.index(columns["id"]) if columns.get("id") else -1
    unnamed = min(head.unnamed, len(names) - 1 - max(image, text, own))

    def is_row(line: str) -> bool:
        fields = line.rstrip("\r\n").split(separator)
        if len(fields) < len(names):
            return False
        for name in {fields[image].strip('" '), fields[image - len(names)].strip('" ')}:
            if name.lower().endswith(IMAGE_ENDINGS):
                return True
            try:
                place(name)
            except BrokenImage:
                continue
            return True
        return False

    state.append(Lines(file, is_row))
    for _ in range(head.lines):
        state[-1].begin()
        next(state[-1])
    for number, (fields, reason) in enumerate(rows(state[-1], separator, len(names), unnamed), 1):
        if reason:
            at, said = (fields[i] if i < len(fields) else "" for i in (image, text))
            yield Row(number, at or fields[0][:200], said, None, reason)
            continue
        try:
            found = place(fields[image])
        except BrokenImage as e:
            found, reason = fields[image], e.reason
        yield Row(number, found, fields[text], fields[own] if own >= 0 else None, reason)
