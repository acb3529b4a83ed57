"""The file that keeps decisions: a log in SQLite to which events are only added, each a line with its own digest.

A line is read only if its digest holds and no number is missing, so that a flipped bit is noticed wherever it is. What
SQLite no longer finds in a damaged file is looked for in its bytes. The file is set aside under a name that the log
keeps, and every line that was found is saved in a new file. A file of the earlier schema is read as it is; the first
write turns it into a log.
"""

import json
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from ubt.core.errors import BadInput, Forbidden, UbtError
from ubt.core.files import disk_full, replace_file
from ubt.pairs import earlier_decisions
from ubt.pairs.events import Event, NoEvent

T = TypeVar("T")
WAIT = 60.0
"""Seconds to wait for others who are writing."""
APPLICATION = 0x55425452
"""Marks the file as a review; SQLite's user_version is the number of its last event."""
SCHEMA = "CREATE TABLE log (number INTEGER PRIMARY KEY, line TEXT NOT NULL)"
STEPS = 10_000_000, 100
"""Steps of SQLite's machine that a read may take: so many, and so many a byte of the file."""
LINE = re.compile(rb'[0-9a-f]{32} \{"')
LONGEST = 8192
"""Bytes of a line that is found without SQLite; a longer one is scattered over several pages."""
REMEMBERED = 4
"""Files whose checked events are kept in memory."""
_KNOWN: dict[str, tuple[tuple[int, ...], list[Event]]] = {}
UNSAID = 64
"""So many numbers that a file's head claims above the last line found are lines lost; more is a damaged head."""
MISSING = 1 << 20
"""The most numbers that a rescue can name as lost; a file that lacks more was not written by this program."""


BROKEN = sqlite3.Error, UnicodeDecodeError
"""What reading a damaged file raises; the second where SQLite quotes it."""


class Damage(Exception):
    """The file is not what was written."""


@dataclass
class Log:
    """The log inside one transaction."""

    path: Path
    db: sqlite3.Connection
    last: int
    read: list[Event] | None = None

    def events(self) -> list[Event]:
        """Every event, checked; not to be changed."""
        if self.read is None:
            self.read = _checked(self.path, self.db, self.last)
        return self.read

    def append(self, event: Event) -> int:
        """Add an event; returns its number."""
        made = replace(event, number=self.last + 1, at=event.at or _now())
        self.db.execute("INSERT INTO log VALUES (?, ?)", (made.number, made.line()))
        self.last = made.number
        if self.read is not None:
            self.read.append(made)
        return self.last

    def replace(self, events: Sequence[Event]) -> None:
        """Put other events, numbered from 1, in place of all."""
        self.db.execute("DELETE FROM log")
        self.last, self.read = 0, []
        for event in events:
            self.append(event)


class LogFile:
    """The log at `path`, which the first write makes.

    Every call opens its own connection and does its work in one transaction, so that threads and processes lose
    nothing, and a kill leaves what was there before. Others who write are waited for.

    Raises:
        UbtError: the file is another program's, or decisions of it could not be saved (said once: then it is set aside
            already); the disk is full; others write for longer than `WAIT`.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def last(self) -> int:
        """The number of the last event; 0 without any."""
        return self._tried(lambda: self._read(_last)) if self.path.exists() else 0

    def events(self) -> list[Event]:
        """Every event in order, each checked."""
        return self._tried(lambda: self._read(partial(_events, self.path))) if self.path.exists() else []

    def write(self, work: Callable[[Log], T]) -> T:
        """Do work that adds events, in one transaction."""
        return self._tried(lambda: self._write(work), tell=False)

    def _tried(self, work: Callable[[], T], tell: bool = True) -> T:
        """Do it; where the file proves damaged, save what can be read, and do it again.

        Args:
            tell: end with an error where something was lost.
        """
        try:
            return self._explained(work)
        except Damage as e:
            why = str(e)
        lost = self._explained(lambda: self._rescue(why))
        if lost and tell:
            raise UbtError(lost)
        try:
            return self._explained(work)
        except Damage as e:
            raise UbtError(f"{self.path}: {_FOREIGN.format(e)}") from None

    def _explained(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except UnicodeEncodeError as e:
            raise BadInput(
                f"review: expected valid Unicode, got the lone surrogate {e.object[e.start]!a}; remove it"
            ) from None
        except sqlite3.Error as e:
            if advice := _advice(e):
                raise UbtError(f"{self.path}: {advice}") from None
            raise Damage(str(e)) from None
        except UnicodeDecodeError as e:
            raise Damage(str(e)) from None
        except OSError as e:
            if disk_full(e):
                raise UbtError(f"{self.path}: {_FULL.format(e)}") from None
            raise UbtError(f"{self.path}: {_REFUSED.format(e)}") from None

    def _read(self, what: Callable[[sqlite3.Connection], T]) -> T:
        with _connected(self.path) as db:
            _begin(db, "BEGIN", "SELECT count(*) FROM sqlite_master")
            return what(db)

    def _write(self, work: Callable[[Log], T]) -> T:
        with _connected(self.path) as db:
            with suppress(sqlite3.OperationalError):  # others have an earlier file open: it is as good in its mode
                db.execute("PRAGMA journal_mode = DELETE")
            _begin(db, "BEGIN EXCLUSIVE")
            log, kind = Log(self.path, db, 0), _kind(db)
            if kind == "log":
                log.last = _pragma(db, "user_version")
                if log.last != (found := db.execute("SELECT coalesce(max(number), 0) FROM log").fetchone()[0]):
                    raise Damage(f"its head says {log.last} entries, the last is number {found}")
            else:
                earlier = _events(self.path, db)
                earlier_decisions.drop(db)
                db.execute(SCHEMA)
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                log.replace(earlier)
            result = work(log)
            if log.last or kind != "empty":
                db.execute(f"PRAGMA user_version = {log.last}")
                db.execute("COMMIT")
        if log.read is not None:
            _remember(self.path, log.read)
        return result

    def _rescue(self, why: str) -> str:
        """Set a damaged file aside, and save what can be read of it in a new one.

        Returns:
            What was lost, for the user; empty if nothing was.

        Raises:
            UbtError: nothing in it is ours.
        """
        with _held(self.path) as db:
            with suppress(Damage, *BROKEN):
                _events(self.path, db)
                return ""  # somebody else has saved it
            found, claimed = _salvaged(self.path, db)
            if not found:
                raise UbtError(f"{self.path}: {_FOREIGN.format(why)}")
            events = [found[n] for n in sorted(found)]
            top = events[-1].number
            top = claimed if top < claimed <= top + UNSAID else top
            known = _lost(events, top)
            if known is None or top - len(found) - len(known) > MISSING:
                raise UbtError(f"{self.path}: {_FOREIGN.format(why)}")
            lost = tuple(n for n in range(1, top + 1) if n not in found and n not in known)
            aside = _aside(self.path)
            events.append(Event(top + 1, "rescued", at=_now(), name=aside.name, lost=lost))
            replace_file(self.path, lambda new: _written(new, events))
        for beside in ("-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{beside}").replace(f"{aside}{beside}")
        return f"{self.path.name}: {rescued(events[-1], len(found))}" if lost else ""


class ReadOnlyLog(LogFile):
    """A log for somebody who may look, but decide nothing."""

    def write(self, work: Callable[[Log], T]) -> T:
        """Raises:
        Forbidden: always.
        """
        raise Forbidden


def rescued(event: Event, kept: int) -> str:
    """What a file's rescue saved, for the user."""
    some = ", ".join(map(str, event.lost[:10])) + (", …" if len(event.lost) > 10 else "")
    lost = f"; number {some} could not be read: look through your latest decisions" if event.lost else ""
    return (
        f"expected the decisions as they were written, found the file damaged: {kept:,} entries were read and are kept"
        f"{lost}. The damaged file is set aside as {event.name}"
    )


_FULL = (
    "expected room for the decision, but the disk is full or fails ({}); free some (python -m ubt cases prune). Earlier"
    " decisions are kept"
)
_REFUSED = "expected a file that can be opened and written ({}); check the folder and its permissions"
_FOREIGN = "expected a review, got a file that is damaged or something else ({}); move it aside, and a new one is begun"


def _advice(error: sqlite3.Error) -> str:
    """What to do about an error that is no damage."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return _FULL.format(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"expected others to finish writing within {WAIT:.0f} s, but they have not; try again"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return _REFUSED.format(error)
    return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=0.05, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON")  # what is gone must not be found again by a rescue
        left = STEPS[0] + STEPS[1] * path.stat().st_size

        def step() -> bool:
            nonlocal left
            left -= 100_000
            return left < 0

        db.set_progress_handler(step, 100_000)
        yield db


def _begin(db: sqlite3.Connection, *statements: str) -> None:
    """Wait for one's turn. SQLite's own wait sleeps longer and longer, and those who came later are served first."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            for statement in statements:
                db.execute(statement).fetchall()
            return
        except sqlite3.OperationalError as e:
            if db.in_transaction:
                db.execute("ROLLBACK")
            name = getattr(e, "sqlite_errorname", "")
            if not name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.02))


def _kind(db: sqlite3.Connection) -> str:
    """`log`, `earlier`, or `empty`.

    Raises:
        Damage: it is something else.
    """
    found = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    schema = {" ".join(sql.split()) if isinstance(sql, str) else "" for (sql,) in found}
    application, version = (_pragma(db, name) for name in ("application_id", "user_version"))
    if schema == {SCHEMA}:
        return "log"
    if earlier_decisions.matches(schema):
        return "earlier"
    if not (schema or application or version):
        return "empty"
    raise Damage("its tables are not a review's")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return db.execute(f"PRAGMA {name}").fetchone()[0]


def _last(db: sqlite3.Connection) -> int:
    _kind(db)
    return _pragma(db, "user_version")


def _events(path: Path, db: sqlite3.Connection) -> list[Event]:
    kind = _kind(db)
    if kind == "log":
        return _checked(path, db, _pragma(db, "user_version"))
    try:
        return earlier_decisions.events(db) if kind == "earlier" else []
    except NoEvent as e:
        raise Damage(str(e)) from None


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remember(path: Path, events: list[Event]) -> None:
    with suppress(OSError, RuntimeError):  # another thread may remember as well
        _KNOWN[str(path)] = _stamp(path), events
        while len(_KNOWN) > REMEMBERED:
            _KNOWN.pop(next(iter(_KNOWN)), None)


def _checked(path: Path, db: sqlite3.Connection, last: int) -> list[Event]:
    """Every event of a log that must end with the number `last`; those that this process has checked already, and that
    no other has touched since, are not read again.

    Raises:
        Damage: a line is not what was written, or missing.
    """
    stamp, known = _KNOWN.get(str(path), ((), []))
    events = [*known] if stamp == _stamp(path) else []
    try:
        for number, line in db.execute(
            "SELECT number, line FROM log WHERE number > ? ORDER BY number", (events[-1].number if events else 0,)
        ):
            event = Event.of_line(line)
            before = events[-1].number if events else 0
            if not before < number == event.number <= last:
                raise Damage(f"entry {number} is out of order")
            events.append(event)
    except NoEvent as e:
        raise Damage(str(e)) from None
    lost = _lost(events, last)
    if lost is None or len(events) + len(lost) != last or (events and events[-1].number != last):
        raise Damage(f"expected {last} entries, got {len(events)}")
    _remember(path, [*events])  # what the caller adds to its own may be rolled back
    return events


def _lost(events: Sequence[Event], last: int) -> set[int] | None:
    """The numbers that events say were lost; None where one is above `last` or an event's own."""
    lost = {n for e in events for n in e.lost}
    return lost if all(0 < n <= last for n in lost) and lost.isdisjoint(e.number for e in events) else None


@contextmanager
def _held(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, which nobody writes meanwhile, unless it is too damaged to be locked."""
    with _connected(path) as db:
        with suppress(*BROKEN):
            _begin(db, "BEGIN EXCLUSIVE")
        yield db


def _salvaged(path: Path, db: sqlite3.Connection) -> tuple[dict[int, Event], int]:
    """Every event of a damaged file by its number, as SQLite finds them from either end, or as its bytes hold them; and
    the number of the last that its head claims, 0 if it has none.
    """
    found, claimed = {}, 0
    for line in _lines(path.read_bytes()):
        with suppress(NoEvent):
            event = Event.of_line(line)
            found[event.number] = event
    for order in ("ASC", "DESC"):
        with suppress(*BROKEN):
            for _, line in db.execute(f"SELECT number, line FROM log ORDER BY number {order}"):
                with suppress(NoEvent):
                    event = Event.of_line(line)
                    found[event.number] = event
    with suppress(*BROKEN):
        claimed = _pragma(db, "user_version")
    return found, claimed


def _lines(content: bytes) -> Iterator[str]:
    decoder = json.JSONDecoder()
    for match in LINE.finditer(content):
        text = content[match.start() : match.start() + LONGEST].decode("latin-1")
        with suppress(ValueError, RecursionError):
            yield text[: decoder.raw_decode(text, 33)[1]]


def _aside(path: Path) -> Path:
    """The file under another name as well, which was free."""
    number = 1
    while True:
        aside = path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")
        try:
            aside.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        try:
            shutil.copy2(path, aside)
        except BaseException:
            aside.unlink()
            raise
        return aside


def _written(path: Path, events: Sequence[Event]) -> None:
    """A new log with these events, whose numbers stay."""
    with _connected(path) as db:
        db.execute("BEGIN EXCLUSIVE")
        db.execute(SCHEMA)
        db.executemany("INSERT INTO log VALUES (?, ?)", ((e.number, e.line()) for e in events))
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {events[-1].number}")
        db.execute("COMMIT")
