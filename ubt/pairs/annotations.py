"""What analysts decided about a case: labels, notes and saved views, in one SQLite file, separate from the artefacts.

Nothing is overwritten. A label is an action, and undoing one is another; a pair's label and note are those of the
latest action on it that was not undone. Every call opens its own connection and does its work in one transaction,
so that threads and processes that label one case at the same time lose nothing, and a kill leaves what was there
before.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ubt.core.errors import BadInput, UbtError
from ubt.evaluation.backdoor import interval

LABELS = ("backdoor", "clean", "unsure")
NOTE, NAME = 10_000, 80
"""At most so many characters in a note, and in a view's name."""
WAIT = 10.0
"""Seconds to wait for others who are writing."""
APPLICATION = 0x55425452
"""Marks the file as a review; SQLite's user_version counts its changes."""
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


class Review:
    """The decisions kept in `path`, which the first write makes; until then there are none.

    Every operation raises UbtError where the file is damaged or something else's, the disk is full, or others write for
    longer than `WAIT`.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    def label(self, pairs: Sequence[str], label: str | None, who: str, note: str | None = None) -> int:
        """Set the label of pairs, or remove it, in one action.

        Args:
            label: one of `LABELS`; None removes it. note: replaces the pairs' notes; None keeps each pair's own.

        Returns:
            The action's number, from 1.

        Raises:
            BadInput: an unknown label, no pairs, nobody's name, or a note that is too long.
        """
        if label is not None and label not in LABELS:
            raise BadInput(f"label: expected one of {', '.join(LABELS)}, or none to remove it; got {label!r}")
        if isinstance(pairs, str) or not len(pairs):
            raise BadInput(f"label: expected the ids of one pair or more, got {pairs!r}; select some")
        if not who.strip():
            raise BadInput("label: expected the name of who decides, got none")
        if note is not None and len(note) > NOTE:
            raise BadInput(f"note: expected at most {NOTE} characters, got {len(note)}; shorten it")
        with self._writing() as db:
            number = _act(db, who, None)
            kept = "coalesce(?, (SELECT note FROM standing WHERE id = ? ORDER BY action DESC LIMIT 1), '')"
            db.executemany(
                f"INSERT INTO history (id, action, label, note) VALUES (?, ?, ?, {kept})",
                ((p, number, label, note, p) for p in dict.fromkeys(pairs)),
            )
        return number

    def undo(self, who: str) -> list[str]:
        """Undo somebody's latest action that still stands. A pair on which a later action stands keeps what it
        has; the others return to the latest action on them that stands.

        Returns:
            Ids of the pairs that changed back; none if there is nothing to undo.
        """
        if not self.path.exists():
            return []
        with self._writing() as db:
            latest = (
                "SELECT max(number) FROM actions a WHERE who = ? AND takes_back IS NULL AND NOT EXISTS (SELECT 1 FROM"
                " actions t WHERE t.takes_back = a.number)"
            )
            (number,) = db.execute(latest, (who,)).fetchone()
            if number is None:
                return []
            later = "SELECT 1 FROM standing s WHERE s.id = h.id AND s.action > h.action"
            restored = [
                pair
                for (pair,) in db.execute(
                    f"SELECT id FROM history h WHERE action = ? AND NOT EXISTS ({later}) ORDER BY id", (number,)
                )
            ]
            _act(db, who, number)
        return restored

    def labels(self) -> pd.DataFrame:
        """Every pair with a label or a note: id, label (missing where there is only a note), note, who, at (ISO 8601,
        UTC).
        """
        rows = []
        if self.path.exists():
            with self._open() as db:  # with max(), SQLite takes the other columns from the row that holds it
                rows = db.execute("SELECT id, label, note, who, at, max(action) FROM standing GROUP BY id").fetchall()
        table = pd.DataFrame(
            [r[:5] for r in rows if r[1] is not None or r[2]], columns=["id", "label", "note", "who", "at"]
        )
        return table.astype("str")

    def version(self) -> int:
        """A number that grows with every change, 0 before the first."""
        if not self.path.exists():
            return 0
        with self._open() as db:
            return _version(db)

    def save_view(self, name: str, rule: str, query: dict[str, str]) -> None:
        """Keep a selection's query and a page's address under a name, in place of what had it.

        Args:
            rule: the selection's query. query: the parameters of the page's address.

        Raises:
            BadInput: a name that is empty or too long.
        """
        if not 1 <= len(name.strip()) <= NAME:
            raise BadInput(f"view: expected a name of 1 to {NAME} characters, got {len(name.strip())}")
        with self._writing() as db:
            db.execute(
                "REPLACE INTO views (name, rule, query) VALUES (?, ?, ?)", (name.strip(), rule, json.dumps(query))
            )

    def views(self) -> dict[str, dict]:
        """Name to `rule` (the selection's query) and `query` (the address) of each saved view, newest first."""
        if not self.path.exists():
            return {}
        with self._open() as db:
            found = db.execute("SELECT name, rule, query FROM views ORDER BY place DESC").fetchall()
        return {name: {"rule": rule, "query": json.loads(query)} for name, rule, query in found}

    def delete_view(self, name: str) -> None:
        """Forget a saved view; one that is not there is no error."""
        if self.path.exists():
            with self._writing() as db:
                db.execute("DELETE FROM views WHERE name = ?", (name.strip(),))

    def prepend(self, earlier: "Review") -> None:
        """Put another review's actions and views before this one's, in one transaction; once, however often it is
        asked. Where both have a view of one name, the other's is called `NAME (before)`.
        """
        if not earlier.path.exists():
            return
        with self._writing(earlier.path) as db:
            lacking = " UNION ALL ".join(
                f"SELECT 1 FROM (SELECT * FROM earlier.{table} EXCEPT SELECT * FROM main.{table})"
                for table in ("actions", "history")
            )
            if db.execute(f"SELECT EXISTS ({lacking})").fetchone()[0]:
                both = "(SELECT number FROM main.actions UNION ALL SELECT number FROM earlier.actions)"
                last = {"last": db.execute(f"SELECT max(number) FROM {both}").fetchone()[0]}
                db.execute("UPDATE main.actions SET number = number + :last, takes_back = takes_back + :last", last)
                db.execute("UPDATE main.history SET action = action + :last", last)
                for table in ("actions", "history"):
                    db.execute(f"INSERT INTO main.{table} SELECT * FROM earlier.{table}")
            same = "EXISTS (SELECT 1 FROM main.views m WHERE m.name = e.name AND (m.rule, m.query) = (e.rule, e.query))"
            views = f"SELECT name, rule, query FROM earlier.views e WHERE NOT {same} ORDER BY place DESC"
            known = {name for (name,) in db.execute("SELECT name FROM main.views")}
            for name, rule, query in db.execute(views).fetchall():
                if name in known:
                    name = f"{name[: NAME - 9]} (before)"
                first = "(SELECT coalesce(min(place), 1) - 1 FROM main.views)"
                db.execute(
                    f"INSERT OR IGNORE INTO main.views (place, name, rule, query) VALUES ({first}, ?, ?, ?)",
                    (name, rule, query),
                )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as db:
                self._prepare(db)
                yield db
        except UnicodeEncodeError as e:
            raise BadInput(
                f"review: expected valid Unicode, got the lone surrogate {e.object[e.start]!a}; remove it"
            ) from None
        except sqlite3.Error as e:
            raise UbtError(f"{self.path}: {_advice(e)}") from None

    @contextmanager
    def _writing(self, beside: Path | None = None) -> Iterator[sqlite3.Connection]:
        """`beside`: a file that can be read under the name `earlier`."""
        with self._open() as db:
            if beside is not None:
                db.execute("ATTACH ? AS earlier", (str(beside),))
            db.execute("BEGIN IMMEDIATE")
            yield db
            if db.total_changes:
                db.execute(f"PRAGMA user_version = {_version(db) + 1}")
            db.execute("COMMIT")

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse one of another program."""
        if _is_ours(db):
            return
        db.execute("BEGIN IMMEDIATE")
        if not _is_ours(db):
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise UbtError(
                    f"{self.path}: expected a review of this program, got another program's database; move it aside,"
                    " and a new one is begun"
                )
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute("COMMIT")
        with suppress(sqlite3.OperationalError):  # a file system without shared memory, or others are at it already
            db.execute("PRAGMA journal_mode = WAL")


def _is_ours(db: sqlite3.Connection) -> bool:
    return db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION


def _version(db: sqlite3.Connection) -> int:
    return db.execute("PRAGMA user_version").fetchone()[0]


def _act(db: sqlite3.Connection, who: str, takes_back: int | None) -> int:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return (
        db.execute("INSERT INTO actions (who, at, takes_back) VALUES (?, ?, ?)", (who, at, takes_back)).lastrowid or 0
    )


def _advice(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return (
            f"expected room for the decision, but the disk is full or fails ({error}); free some (python -m ubt cases"
            " prune). Earlier decisions are kept"
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"expected others to finish writing within {WAIT:.0f} s, but they have not; try again"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return f"expected a file that can be opened and written ({error}); check the folder and its permissions"
    return (
        f"expected a review, got a file that is damaged or something else ({error}); move it aside, and a new one is"
        " begun"
    )


def precision(labels: Iterable[str]) -> tuple[float, float, float, int] | None:
    """Share of backdoor among the pairs labelled backdoor or clean, its 95 % interval (Wilson) as two shares, and the
    count of those pairs; None where there are none.

    >>> [round(v, 3) for v in precision(["backdoor"] * 9 + ["clean", "unsure"])]
    [0.9, 0.596, 0.982, 10]
    """
    hits = np.array([label == "backdoor" for label in labels if label in ("backdoor", "clean")])
    if not len(hits):
        return None
    low, high = interval(hits)
    return float(hits.mean()), low / 100, high / 100, len(hits)
