"""Reads a review of the earlier schema, which had no digests, as the events of a log."""

import json
import sqlite3
from collections import defaultdict

from ubt.pairs.events import LABELS, Event, NoEvent

SCHEMA = """
    CREATE TABLE actions (number INTEGER PRIMARY KEY, who TEXT NOT NULL, at TEXT NOT NULL, takes_back INTEGER UNIQUE);
    CREATE INDEX actions_who ON actions (who);
    CREATE TABLE history
        (id TEXT, action INTEGER, label TEXT, note TEXT NOT NULL, PRIMARY KEY (id, action)) WITHOUT ROWID;
    CREATE INDEX history_action ON history (action);
    CREATE VIEW standing AS SELECT h.*, a.who, a.at FROM history h JOIN actions a ON a.number = h.action
        WHERE NOT EXISTS (SELECT 1 FROM actions t WHERE t.takes_back = h.action);
    CREATE TABLE views
        (place INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, rule TEXT NOT NULL, query TEXT NOT NULL);
"""
OWN = "CREATE TABLE sqlite_sequence(name,seq)"
STATEMENTS = {" ".join(statement.split()) for statement in SCHEMA.split(";")} - {""}


def matches(schema: set[str]) -> bool:
    """Whether a file's schema, its statements without line breaks, is the earlier one."""
    return schema - {OWN} == STATEMENTS


def drop(db: sqlite3.Connection) -> None:
    """Remove the earlier schema's tables, if they are there."""
    db.execute("DROP VIEW IF EXISTS standing")
    for table in ("actions", "history", "views"):
        db.execute(f"DROP TABLE IF EXISTS {table}")


def events(db: sqlite3.Connection) -> list[Event]:
    """Every action and every saved view, in order, numbered from 1.

    Raises:
        NoEvent: the file is damaged, as far as that can be seen.
    """
    if (said := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
        raise NoEvent(str(said))
    rows = defaultdict(list)
    for pair, action, label, note in db.execute("SELECT id, action, label, note FROM history"):
        if label not in (None, *LABELS):
            raise NoEvent(f"a label is {label!a}")
        rows[action].append((pair, label, note))
    made: list[Event] = []
    numbers: dict[int, int] = {}
    for action, who, at, takes_back in db.execute("SELECT number, who, at, takes_back FROM actions ORDER BY number"):
        numbers[action] = len(made) + 1
        if takes_back is not None:
            made.append(_checked(Event(len(made) + 1, "undo", who, at, of=numbers.get(takes_back, 0))))
            continue
        found = sorted(rows.pop(action, []), key=str)
        if len({label for _, label, _ in found}) != 1:
            raise NoEvent(f"action {action} has not one label")
        pairs, labels, notes = zip(*found, strict=True)
        made.append(_checked(Event(len(made) + 1, "label", who, at, pairs, labels[0], notes=notes)))
    if rows:
        raise NoEvent("a label belongs to no action")
    for name, rule, query in db.execute("SELECT name, rule, query FROM views ORDER BY place"):
        made.append(_checked(Event(len(made) + 1, "view", name=name, rule=rule, query=_query(query))))
    return made


def _checked(event: Event) -> Event:
    if event.do == "undo" and not 0 < event.of < event.number:
        raise NoEvent(f"an action undoes number {event.of}")
    try:
        return Event.of_line(event.line())
    except (AttributeError, TypeError, UnicodeError):
        raise NoEvent(f"action {event.number} is not what this program writes") from None


def _query(text: object) -> dict:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise NoEvent("a saved view's address cannot be read") from None
