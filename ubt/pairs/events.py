"""What a log of decisions holds, line by line."""

import json
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import Any

LABELS = ("backdoor", "clean", "unsure")
KINDS = ("label", "note", "undo", "view", "forget", "rescued")
DIGEST = 32
"""Hexadecimal digits of a line's digest."""


class NoEvent(Exception):
    """A line that was not written so."""


@dataclass(frozen=True)
class Event:
    """One line of a log.

    Args:
        number: from 1. do: what happened: pairs were labelled (`label`), only their note was set (`note`), an action
            was undone, a view was saved or forgotten (`forget`), a damaged file was set aside (`rescued`). who, at:
            whose session, and when (ISO 8601, UTC). pairs: ids. label: None removes it. note: None keeps each pair's
            own. notes: instead of `note`, one a pair. of: with `undo`, the number of the action. sent: the browser page
            that decided, and the decision's number there. name, rule, query: of a view; `name` also of a file that was
            set aside. lost: numbers that it no longer held. before: of what log these were, which was put before this
            one.
    """

    number: int
    do: str
    who: str = ""
    at: str = ""
    pairs: tuple[str, ...] = ()
    label: str | None = None
    note: str | None = None
    notes: tuple[str, ...] = ()
    of: int = 0
    sent: tuple[str, int] | None = None
    name: str = ""
    rule: str = ""
    query: dict[str, str] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    before: str = ""

    def line(self) -> str:
        """The event as it is written: its digest and its fields in JSON, in ASCII alone.

        >>> event = Event(1, "label", "ann", "2026-01-01", ("a",), "clean")
        >>> Event.of_line(event.line()) == event
        True
        """
        for text in (*self.pairs, *self.notes, self.note or "", self.who, self.name, self.rule, *self.query.values()):
            text.encode()
        kept = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, (), {}, "", 0)}
        if self.note == "":
            kept["note"] = ""
        content = json.dumps(kept, sort_keys=True)
        return f"{_digest(content)} {content}"

    @classmethod
    def of_line(cls, line: object) -> "Event":
        """The event that a line says.

        Raises:
            NoEvent: its digest does not hold, or it says what no event is.
        """
        if not isinstance(line, str) or _digest(line[DIGEST + 1 :]) != line[:DIGEST]:
            raise NoEvent(f"an entry is not what was written: {str(line)[:80]!a}")
        try:
            kept = json.loads(line[DIGEST + 1 :])
            made = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})
        except (ValueError, TypeError, AttributeError, RecursionError):
            made = None
        if made is None or not made._valid():
            raise NoEvent(f"an entry is none that this program writes: {line[:80]!a}")
        return made

    def _valid(self) -> bool:
        texts = (self.who, self.at, self.name, self.rule, self.before, "" if self.note is None else self.note)
        return (
            all(isinstance(text, str) for text in (*texts, *_items(self.pairs), *_items(self.notes)))
            and all(type(number) is int for number in (self.number, self.of, *_items(self.lost)))
            and self.number > 0
            and self.do in KINDS
            and self.label in (None, *(LABELS if self.do == "label" else ()))
            and len(self.notes) in (0, len(self.pairs))
            and (self.sent is None or [type(v) for v in _items(self.sent)] == [str, int])
            and isinstance(self.query, dict)
            and all(isinstance(v, str) for v in self.query.values())
        )


def _items(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (None,)


def _digest(content: str) -> str:
    return blake2b(content.encode("utf-8", "replace"), digest_size=DIGEST // 2, person=b"ubt review").hexdigest()
