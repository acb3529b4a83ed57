"""Cases and artefacts on disk."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ubt.cases import litter
from ubt.cases.artifact import MANIFEST, Artefact, DamagedArtefact, agree, write_entry
from ubt.cases.record import MOVED, SCHEMA, CaseRecord, EarlierVersion
from ubt.core import limits, locks
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import READY, abandoned, disk_full, file_digest, replace_file, scrap, temporary
from ubt.data.user_roles import HOW_TO_IMPORT

FOLDERS = ("artefacts", "cases", "checked", "work")
"""Results; records; what was seen when a result's bytes were last read; what is under way, empty when nothing is."""
HANDOVER = 1.0
"""Seconds to wait for a case's lock, so that a look at whether it is held is not taken for a run."""


class Store:
    """The cache folder.

    Raises:
        BadInput: the folder cannot be made or written.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        try:
            for name in FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root / "work"):
                pass  # it has no name that a kill could leave
        except OSError as e:
            if limits.ran_out(e):
                raise
            raise BadInput(
                f"cache: expected a folder that can be written, got {self.root} ({e.strerror}); choose another with"
                " --cache"
            ) from None

    def _place(self, *parts: str) -> Path:
        """Where something of the cache lies; what it does not hold may be shipped, under names that no run gives."""
        if bad := [part for part in parts if part == ".." or Path(part).name != part]:
            raise BadInput(
                f"expected the name of a case or of an artefact, which is no path, got {bad[0]!r}; see python -m ubt"
                " cases"
            )
        own = self.root.joinpath(*parts)
        return own if own.exists() else READY.joinpath(*parts)

    def open(self, key: str, made_with: Mapping[str, Any] | None = None) -> Artefact | None:
        """The finished artefact `key`, or None if there is none.

        Args:
            made_with: the full settings that it is to have been made with; not looked at if there are none.

        Raises:
            DamagedArtefact: it is not what its manifest says, or it was made with other settings.
        """
        path = self._place("artefacts", key)
        if not path.is_dir():
            return None
        try:
            artefact = Artefact(path, json.loads((path / MANIFEST).read_text()))
            artefact.check()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            if limits.ran_out(e):
                raise
            raise DamagedArtefact(
                key, f"{path / MANIFEST}: expected a readable manifest, got a damaged one ({e!r})"
            ) from None
        if made_with is not None and not agree(artefact.manifest.get("settings"), made_with):
            raise DamagedArtefact(
                key, f"{path}: expected an artefact of today's settings, got one of another version's"
            )
        return artefact

    def whole(self, key: str, made_with: Mapping[str, Any] | None = None, again: bool = False) -> Artefact | None:
        """As `open`, its bytes checked by digest too; unless they are to be read `again`, not where the sizes and times
        of the files have not changed since the last time.

        Raises:
            DamagedArtefact: it is not what was written.
        """
        if (artefact := self.open(key, made_with)) is None:
            return None
        try:
            now, before = artefact.stamps(), self._checked(key)
            if before.get("files") == now and not again:
                return artefact
            manifest = file_digest(artefact.path / MANIFEST)
        except OSError as e:
            if limits.ran_out(e):
                raise
            raise DamagedArtefact(key, f"{artefact.path}: expected files that can be read, got {e}") from None
        if before.get("manifest", manifest) != manifest:
            raise DamagedArtefact(key, f"{artefact.path / MANIFEST}: expected it as it was written, got it changed")
        artefact.verify()
        self._remember(key, {"manifest": manifest, "files": now})
        return artefact

    def _checked(self, key: str) -> dict[str, Any]:
        """What was remembered when an artefact's bytes were last checked; empty where they were not."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.checked(key).read_bytes())
            if isinstance(found, dict):
                return found
        return {}

    def _remember(self, key: str, checked: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            (path := self.checked(key)).parent.mkdir(exist_ok=True)
            replace_file(path, lambda temporary: temporary.write_text(json.dumps(checked)))

    def checked(self, key: str) -> Path:
        """Where it is remembered that an artefact's bytes were checked."""
        return self.root / "checked" / f"{key}.json"

    def find(self, key: str, made_with: Mapping[str, Any] | None = None, whole: bool = False) -> Artefact | None:
        """The finished artefact `key`, or None if there is none, it is damaged, or it was made with other settings.
        `whole`: damage is looked for in its bytes too, as `whole` does; else in the sizes of its files.
        """
        with contextlib.suppress(DamagedArtefact):
            return (self.whole if whole else self.open)(key, made_with)
        return None

    def imported(self, key: str) -> Artefact:
        """Something that was imported: pairs, labelled images, a model.

        Raises:
            BadInput: it is not in this cache. DamagedArtefact: it is not what its manifest says.
        """
        found = self.open(key)
        if found is None:
            raise BadInput(
                f"{key}: expected it in the cache {self.root}, where it was imported, found none; import it again"
                f" ({HOW_TO_IMPORT})"
            )
        return found

    def all_imported(self, kind: str) -> dict[str, Artefact]:
        """Everything of a kind (pairs, labelled, model) that was imported, by name, the newest first; what is damaged
        is left out.
        """
        when = {}
        for path in (self.root / "artefacts").glob(f"{kind}-*"):
            with contextlib.suppress(OSError):
                when[path.name] = path.stat().st_mtime_ns
        found = {key: self.find(key) for key in sorted(when, key=lambda key: -when[key])}
        return {key: artefact for key, artefact in found.items() if artefact is not None}

    def set_aside(self, key: str) -> None:
        """Move a damaged artefact out of the way, its step being held alone; `prune` deletes it."""
        self.checked(key).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self.root / "artefacts" / key).rename(self.root / "work" / f"damaged-{key}-{time.time_ns()}")

    def scratch(self, key: str) -> Path:
        """The folder of a step under way: its checkpoint, and what it is writing."""
        path = self.root / "work" / key
        path.mkdir(exist_ok=True)
        for left in abandoned(path):
            scrap(left)
        return path

    @contextlib.contextmanager
    def step(self, key: str) -> Iterator[Path]:
        """The scratch of a step whose lock is held; what it cannot go on from is deleted where it stops inside."""
        path = self.scratch(key)
        try:
            yield path
        except BaseException:
            for part in path.glob(".*.tmp"):
                scrap(part)
            with contextlib.suppress(OSError):
                path.rmdir()
            raise

    def tidy(self, key: str) -> None:
        """Delete what a kill left of a step whose artefact is there: its scratch and its lock. Nothing is done while
        somebody holds it.
        """
        scratch = self.root / "work" / key
        if scratch.exists() or scratch.with_name(f"{key}.lock").exists():
            with contextlib.suppress(UbtError), self.lock(key, wait=0):
                if self.find(key) is not None:
                    scrap(scratch)

    def drop(self, path: Path) -> int:
        """Delete an artefact or a case's folder, at once for whoever looks for it; returns the bytes freed."""
        gone = temporary(self.root / "work" / f"{path.name}-{time.time_ns()}")
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        return scrap(self.checked(path.name)) + scrap(gone)

    @contextlib.contextmanager
    def lock(self, name: str, wait: float = -1) -> Iterator[None]:
        """Hold `name` alone; freed when the process ends, however it ends.

        Raises:
            Held: another process holds it and `wait` seconds have passed. UbtError: the cache was deleted.
        """
        if self.deleted():
            raise UbtError(self.said_deleted())
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locks.hold(self.root / "work" / f"{name}.lock", wait))
            except locks.Held as who:
                raise locks.Held(
                    f"{name}: expected to be the only run of this case, but it is being run by {who}; wait for it, or"
                    " use another --cache"
                ) from None
            yield

    def require_writable(self) -> None:
        """Do nothing where this store can be changed.

        Raises:
            Forbidden: it is a `ReadOnlyStore`.
        """

    def held(self, name: str) -> bool:
        """Whether some process holds `name`."""
        return locks.is_held(self.root / "work" / f"{name}.lock")

    def journal(self, name: str) -> Path:
        """Where a case's runs tell how they get on, a line of JSON an event."""
        return self.root / "cases" / name / "events.jsonl"

    def cancel_flag(self, name: str) -> Path:
        """The file that asks whoever runs a case to stop."""
        return self.root / "work" / f"{name}.cancel"

    def deleted(self) -> bool:
        """Whether the cache, or a folder of it that nobody makes again, was deleted since this process found it."""
        return not all((self.root / name).is_dir() for name in FOLDERS if name != "checked")

    def said_deleted(self) -> str:
        """What to say of that."""
        return (
            f"{self.root}: expected the cache as it was when this began, but it was deleted meanwhile; run again to"
            " begin anew"
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Say in words that the cache was deleted, or that memory or open files ran out, where an error inside comes of
        that. What was written into a deleted cache is deleted too.

        Raises:
            UbtError: it was so; every other error passes.
        """
        try:
            yield
        except Exception as e:
            if self.deleted():
                self._clear()
                raise UbtError(self.said_deleted()) from e
            if said := limits.ran_out(e):
                raise UbtError(said) from e
            raise

    def _clear(self) -> None:
        """Delete what is left of a deleted cache: what nobody holds of what was under way, and empty folders. Where
        results or cases are still there it was not deleted, and what is under way stays.
        """
        if any((self.root / name).is_dir() for name in ("artefacts", "cases")):
            return
        with contextlib.suppress(OSError):
            for path in list((self.root / "work").iterdir()):
                if path.suffix not in (".lock", ".owner") and not locks.is_held(path.with_name(f"{path.name}.lock")):
                    scrap(path)
        for folder in (*(self.root / name for name in FOLDERS), self.root):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def put(self, key: str, result: dict[str, Any], about: dict[str, Any]) -> None:
        """Put something in place that no stage of a case makes, unless it is there whole already.

        Raises:
            UbtError: the disk is full, the cache was deleted, or memory or open files ran out.
        """
        with self.explained(), self.lock(key):
            if self.find(key, whole=True) is None:
                self.set_aside(key)
                self.write(key, result, about)
            scrap(self.root / "work" / key)

    def write(self, key: str, result: dict[str, Any], about: dict[str, Any]) -> Artefact:
        """Put a stage's result in place, whole or not at all, and drop its scratch.

        Raises:
            UbtError: the disk is full; what was finished before is kept.
        """
        scratch = self.scratch(key)
        part = temporary(scratch / "result")
        try:
            scrap(part)
            part.mkdir()
            entries = {name: write_entry(part, name, value) for name, value in result.items()}
            files = {
                str(p.relative_to(part)): {"bytes": p.stat().st_size, "sha256": file_digest(p)}
                for p in sorted(part.rglob("*"))
                if p.is_file()
            }
            (part / MANIFEST).write_text(json.dumps({**about, "entries": entries, "files": files}, indent=1))
            for p in part.rglob("*"):
                if p.is_file():
                    with p.open("rb") as f:
                        os.fsync(f.fileno())
            part.rename(self.root / "artefacts" / key)
        except BaseException as e:
            scrap(part)
            with contextlib.suppress(OSError):
                scratch.rmdir()
            if isinstance(e, Exception) and disk_full(e):
                raise UbtError(
                    f"{self.root}: expected room for the step {key}, but the disk is full; free some (python -m ubt"
                    " cases prune) or choose another --cache. Finished steps are kept"
                ) from None
            raise
        scrap(scratch)
        if (made := self.find(key)) is not None:
            self._remember(key, {"manifest": file_digest(made.path / MANIFEST), "files": made.stamps()})
        return made

    def save_case(self, name: str, record: CaseRecord) -> None:
        """Write a case's record in one step."""
        folder = self.root / "cases" / name
        folder.mkdir(exist_ok=True)
        replace_file(folder / "case.json", lambda path: path.write_bytes(record.to_json()))

    def record(self, name: str) -> CaseRecord:
        """A case's record as it was last written, of a built-in case too; `absent` if there is none, `outdated` if an
        earlier version wrote it, `damaged` if it cannot be read otherwise.
        """
        path = self._place("cases", name, "case.json")
        try:
            return CaseRecord.from_json(path.read_bytes())
        except FileNotFoundError:
            return CaseRecord.empty(
                "absent", f"expected a case on record, but {name} is not there; it may have been deleted"
            )
        except EarlierVersion:
            return CaseRecord.empty(
                "outdated",
                f"{name}: expected a case of this version, got one that an earlier version made; run python -m ubt"
                " cases migrate, which carries labels, notes and views over to this version",
                self.earlier(name).get("settings"),
            )
        except (OSError, ValueError) as e:
            return CaseRecord.empty(
                "damaged",
                f"{path}: expected a readable record of a case, got a damaged one ({e}); delete the case, or open it"
                " with the version that made it",
            )

    def earlier(self, name: str) -> dict[str, Any]:
        """The record of an `outdated` case as plain values; empty if it is not there, or damaged."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._place("cases", name, "case.json").read_bytes())
            if isinstance(found, dict) and isinstance(found.get("settings"), dict):
                return found
        return {}

    def renamed(self, name: str) -> str:
        """What a case is called now, if `python -m ubt cases migrate` has given it another name; else `name`."""
        for _ in range(SCHEMA):  # a chain as long as there were versions
            if not name or Path(name).name != name or (now := self._moved_to(name)) is None:
                return name
            name = now
        return name

    def _moved_to(self, name: str) -> str | None:
        """Where a case that has no record of its own any more was moved to."""
        folder = self.root / "cases" / name
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if not (folder / "case.json").exists():
                return str(json.loads((folder / MOVED).read_bytes())["to"])
        return None

    def rename_case(self, name: str, to: str) -> None:
        """Let an `outdated` case be found under the name `to`, whose record is there; its own is kept beside it."""
        folder = self.root / "cases" / name
        told = json.dumps({"to": to, "record": self.earlier(name)}, indent=1)
        replace_file(folder / MOVED, lambda path: path.write_text(told))
        (folder / "case.json").unlink()

    def names(self) -> list[str]:
        """The cases on record, newest first."""
        when = {}
        for path in (self.root / "cases").glob("*/case.json"):
            with contextlib.suppress(OSError):
                when[path.parent.name] = path.stat().st_mtime_ns
        return sorted(when, key=lambda name: -when[name])

    def cases(self) -> dict[str, CaseRecord]:
        """The records of all cases of this cache as `case` gives them, newest first."""
        records = {name: self._standing(name) for name in self.names()}
        there = {name: record for name, record in records.items() if record.state != "absent"}
        return dict(sorted(there.items(), key=lambda r: -r[1].updated))

    def case(self, name: str) -> CaseRecord:
        """A case's record, of a built-in case too, also by the name that an earlier version gave it; `interrupted` if
        its process ended without a word.

        Raises:
            BadInput: there is no such case.
        """
        if (record := self._standing(self.renamed(name))).state == "absent":
            raise BadInput(
                f"unknown case {name!r}; expected one of:"
                f" {', '.join(self.cases()) or 'none yet (python -m ubt run makes one)'}"
            )
        return record

    def _standing(self, name: str) -> CaseRecord:
        record = self.record(name)
        if record.state == "running" and not self.held(name):
            record = self.record(name)  # it may have ended between the two looks
            return record.changed(state="interrupted") if record.state == "running" else record
        return record

    def size(self, record: CaseRecord) -> int:
        """The bytes that a case's artefacts take, those that other cases share too."""
        return sum(self._size(key) for key in record.artefacts.values())

    def _size(self, key: str) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return sum(
                f["bytes"] for f in json.loads((self.root / "artefacts" / key / MANIFEST).read_text())["files"].values()
            )
        return 0

    def delete(self, name: str) -> int:
        """Delete a case and every artefact that no other case uses; returns the bytes freed.

        Raises:
            UbtError: the case is being run.
        """
        name = self.renamed(name)
        if self.case(name).built_in:
            raise UbtError(
                f"{name}: expected a case of the cache {self.root}, got one that is shipped, which cannot be deleted"
            )
        with self.lock(name, wait=HANDOVER):
            freed = self.drop(self.root / "cases" / name)
        for path in (self.root / "cases").glob(f"*/{MOVED}"):
            if self._moved_to(path.parent.name) == name:
                freed += self.drop(path.parent)
        # another case's damaged record: what it uses is not known, so nothing more is deleted
        with contextlib.suppress(UbtError):
            freed += litter.prune(self, told=False)
        return freed

    def prune(self) -> int:
        """Delete artefacts that no case uses, damaged ones, and what ended processes left (see `ubt.cases.litter`);
        returns the bytes freed. What was imported, what a listed case needs to go on, and what a running process
        holds, is left alone.

        Raises:
            UbtError: a case's record is damaged or an earlier version's, so that what it uses is not known; nothing is
                deleted.
        """
        return litter.prune(self)
