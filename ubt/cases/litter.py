"""What nobody in a cache uses any more, and what ended processes left in it, however they ended.

A running process holds the lock of its case and of its step, and what it writes it writes under a name that says which
process that is. Everything else that no case on record names goes: whoever needs it makes it again.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ubt.cases.artifact import Artefact
from ubt.cases.record import MARK, MOVED, CaseRecord
from ubt.core import locks
from ubt.core.errors import UbtError
from ubt.core.files import READY, abandoned, scrap, temporary

DECISIONS = "review*"
"""What analysts decided: never deleted without their case."""
OF_LOCKS = (".lock", ".owner", ".cancel", ".log")
"""What lies beside the work of whoever holds a lock: its file, who that is, that it is asked to stop, what it said."""
UPLOADS, IDLE = "uploads", 86_400.0
"""The folder of files that were dropped on a page; seconds after which one that nothing was imported from goes."""
TRAINED, INVERTED, CALIBRATED, WEEK = "reference-", "inverted-", "gate-", 7 * 86_400.0
"""How the folders under `work/` begin that hold a reference's checkpoint, what a scan has found or a gate has scored
so far, which no case names; seconds that they stay without a change.
"""


class Cache(Protocol):
    """What is asked of the store; see `ubt.cases.store.Store`."""

    root: Path

    def cases(self) -> Mapping[str, CaseRecord]:
        """The records of all cases."""

    def find(self, key: str) -> Artefact | None:
        """A finished artefact."""

    def lock(self, name: str, wait: float = -1) -> AbstractContextManager[None]:
        """Hold a name alone."""

    def held(self, name: str) -> bool:
        """Whether some process holds it."""

    def drop(self, path: Path) -> int:
        """Delete an artefact or a case's folder."""


class _Used:
    """The artefacts that are used, looked at again as soon as a case has changed.

    Raises:
        UbtError: a case's record is damaged or an earlier version's.
    """

    def __init__(self, store: Cache):
        self.store, self.names = store, set[str]()
        self.seen: dict[Path, int] | None = None
        self.look()

    def look(self) -> None:
        seen = {}
        for path in (self.store.root / "cases").glob("*/case.json"):
            with contextlib.suppress(OSError):
                seen[path] = path.stat().st_mtime_ns
        if seen == self.seen:
            return
        records = self.store.cases().values()
        for record in records:
            if not record.readable:
                raise UbtError(record.error)
        named = {key for record in records for key in record.artefacts.values()}
        known = named | {path.name for path in (READY / "artefacts").glob("*")}
        stands = {path.name for path in (self.store.root / "artefacts").iterdir() if self._stands(path.name, known)}
        self.seen, self.names = seen, named | stands

    def _stands(self, key: str, named: set[str]) -> bool:
        """Whether an artefact was imported and says something of what is there yet, or is a view of what cases name,
        built-in ones too.
        """
        if key in named or (found := self.store.find(key)) is None:
            return False
        if found.manifest.get("brought"):
            return all(self.store.find(other) for other in found.manifest.get("of", ()))
        return "made_from" in found.manifest and named.issuperset(found.manifest["made_from"])

    def __contains__(self, key: str) -> bool:
        self.look()
        return key in self.names


def prune(store: Cache, told: bool = True) -> int:
    """Delete what nobody uses; returns the bytes freed. See `Store.prune`.

    Args:
        told: also what ended jobs said, and what imports told of themselves, which a page may still show.

    Raises:
        UbtError: what a case uses is not known; nothing is deleted.
    """
    used = _Used(store)
    freed = _uploads(store)
    for path in list((store.root / "artefacts").iterdir()):
        if path.name not in used:
            freed += _unheld(store, path.name, path)
    for path in sorted((store.root / "work").iterdir()):
        if told or not (path.suffix == ".log" or path.name.startswith("import-")):
            freed += _work(store, path, used, told)
    freed += sum(_of_case(store, path) for path in list((store.root / "cases").iterdir()))
    for path in list((store.root / "checked").iterdir()):
        if path.suffix == ".json" and not any(
            (root / "artefacts" / path.stem).is_dir() for root in (store.root, READY)
        ):
            freed += scrap(path)
    for folder in (store.root / "sets", store.root / "checked", *(store.root / "cases").iterdir()):
        freed += sum(map(scrap, abandoned(folder)))
    return freed


def being_imported(store: Cache) -> dict[str, dict[str, Any]]:
    """What is being imported now, by whatever process, by its lock; as `ubt.workflows.ingest.Wanted` has it."""
    found = {}
    for path in (store.root / "work").glob("import-*/wanted.json"):
        with contextlib.suppress(OSError, ValueError):
            if store.held(path.parent.name) and isinstance(said := json.loads(path.read_text()), dict):
                found[path.parent.name] = said
    return found


def _uploads(store: Cache) -> int:
    """Delete what was dropped on a page some time ago and what no pairs and no labelled images are read from, now or
    later. Where any of these cannot be read, nothing goes.
    """
    folder = (store.root / UPLOADS).resolve()
    places = [str(wanted.get("source")) for wanted in being_imported(store).values()]
    for path in (p for kind in ("pairs", "labelled") for p in (store.root / "artefacts").glob(f"{kind}-*")):
        if (found := store.find(path.name)) is None:
            return 0
        places.append(found["about"]["path"])
    read_from = {Path(p).relative_to(folder).parts[0] for p in places if folder in Path(p).parents}
    freed = 0
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        with contextlib.suppress(OSError):
            if path.name not in read_from and time.time() - path.stat().st_mtime > IDLE:
                freed += scrap(path)
    return freed


def _unheld(store: Cache, lock: str, *paths: Path) -> int:
    """Delete files and folders unless somebody holds a lock."""
    with contextlib.suppress(UbtError), store.lock(lock, wait=0):
        return sum(store.drop(path) if path.parent.name != "work" else scrap(path) for path in paths)
    return 0


def _work(store: Cache, path: Path, used: _Used, told: bool) -> int:
    """Delete something under `work/` that no living process owns."""
    if path.name.startswith("."):
        return scrap(path) if path in abandoned(path.parent) else 0
    if path.is_dir():
        unused = path.name not in used or (store.root / "artefacts" / path.name).is_dir()
        if unused and not _goes_on(path):
            return _unheld(store, path.name, path)
        with contextlib.suppress(UbtError), store.lock(path.name, wait=0):
            freed = sum(map(scrap, abandoned(path)))
            with contextlib.suppress(OSError):
                path.rmdir()  # nothing in it to go on from
            return freed
        return 0
    if path.suffix == ".checked":  # where an earlier version kept it
        return scrap(path)
    return _beside(store, path.stem, told) if path.suffix in OF_LOCKS else 0


def _goes_on(path: Path) -> bool:
    """Whether it is of a reference's training, of a scan, or of a gate's making, that stopped not long ago."""
    with contextlib.suppress(OSError):
        return path.name.startswith((TRAINED, INVERTED, CALIBRATED)) and time.time() - path.stat().st_mtime < WEEK
    return False


def _beside(store: Cache, lock: str, told: bool) -> int:
    """Delete what lies beside the work of whoever held a lock, and the lock itself."""
    beside = [store.root / "work" / f"{lock}{suffix}" for suffix in OF_LOCKS if told or suffix != ".log"]
    left = [path for path in beside if path.exists() and not (path.suffix == ".log" and locks.in_use(path))]
    freed = sum(path.stat().st_size for path in left)
    with contextlib.suppress(UbtError), store.lock(lock, wait=0):
        for path in left:
            if path.suffix in (".cancel", ".log"):  # whoever holds a lock deletes its file at the end
                scrap(path)
        return freed
    return 0


def _of_case(store: Cache, folder: Path) -> int:
    """Delete a folder of a case that was never put on record, or only half deleted; not what analysts decided."""
    if not folder.is_dir() or _is_kept(folder):
        return 0
    with contextlib.suppress(UbtError), store.lock(folder.name, wait=0):
        with contextlib.suppress(OSError):
            folder.rmdir()  # empty, if nothing has been decided or put on record meanwhile
            return 0
        aside = temporary(folder)
        folder.rename(aside)
        if _is_kept(aside):
            aside.rename(folder)
            return 0
        return scrap(aside)
    return 0


def _is_kept(folder: Path) -> bool:
    """Whether a case's folder has a record, its new name, its title, or what analysts decided."""
    return any((folder / name).exists() for name in ("case.json", MOVED, MARK)) or any(folder.glob(DECISIONS))
