"""Carries the cases of a cache that the version before made over to this version, which gives them other names.

Labels, notes, saved views, titles and pins are copied to the new case; what was imported is named by its content and
stays as it is; what was computed is computed anew when the new case is run. Nothing is deleted. Every step can be
repeated, so that after a kill the same command finishes the work.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ubt.cases import marks
from ubt.cases.pipeline import create
from ubt.cases.record import SCHEMA
from ubt.cases.settings import CaseSettings
from ubt.cases.store import HANDOVER, Store
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import disk_full
from ubt.core.run import Compute, threads
from ubt.pairs.annotations import Review

BEFORE = SCHEMA - 1
"""The schema of the records that can be read: that of the version before."""
REVIEW = "review.sqlite"


@dataclass(frozen=True)
class Moved:
    """One case of an earlier version: its name then and now, how many pairs have a label, how many a note, how many
    views are saved; or why it was `skipped`.
    """

    old: str
    new: str = ""
    labels: int = 0
    notes: int = 0
    views: int = 0
    skipped: str = ""


def migrate(store: Store, dry_run: bool = False) -> list[Moved]:
    """Carry every case over that the version before made, one after another; waits while another process does so.

    Args:
        dry_run: write nothing; the result is what would be carried over.
    """
    if dry_run:
        return [_attempted(store, name, _planned) for name in _earlier(store)]
    with store.lock("migrate"):
        return [_attempted(store, name, _carried) for name in _earlier(store)]


def imported(store: Store) -> int:
    """How many pairs, labelled images and models were imported, and can be used under their names."""
    return sum(len(store.all_imported(kind)) for kind in ("pairs", "labelled", "model"))


def _earlier(store: Store) -> Sequence[str]:
    return [name for name in store.names() if not store.record(name).readable]


def _attempted(store: Store, name: str, work: Any) -> Moved:
    try:
        return work(store, name)
    except UbtError as e:
        return Moved(name, skipped=str(e))
    except OSError as e:
        advice = "the disk is full; free some space and run it again" if disk_full(e) else f"{e}; run it again"
        return Moved(name, skipped=advice)


def _settings(store: Store, name: str) -> tuple[CaseSettings, Compute, float]:
    """An earlier case's settings, where it is to be computed again, and when it was changed last.

    Raises:
        UbtError: this version cannot take the case over; the message says why.
    """
    record = store.record(name)
    if record.state != "outdated":
        raise UbtError(record.error)
    told = store.earlier(name)
    if told.get("schema") != BEFORE:
        raise UbtError(
            f"expected a record of the version before (schema {BEFORE}), got one of schema {told.get('schema')};"
            " open it with the version that made it"
        )
    if told.get("given"):
        raise UbtError("its artefacts were imported without what they are made from; make it again")
    here = threads()
    try:
        where = Compute(**told["compute"])
        where = where if where.device == "cuda" else replace(where, threads=where.threads or here)
        return CaseSettings.from_dict(told["settings"]), where, float(told["updated"])
    except BadInput as e:
        raise UbtError(f"its settings are not this version's ({e}); make a new case") from None
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UbtError(f"its record is damaged ({e!r}); delete it, or open it with the version that made it") from None


def _counted(review: Review, old: str, new: str) -> Moved:
    found = review.labels()
    return Moved(old, new, int(found["label"].notna().sum()), int((found["note"] != "").sum()), len(review.views()))


def _planned(store: Store, name: str) -> Moved:
    settings, compute, _ = _settings(store, name)
    with tempfile.TemporaryDirectory() as folder:  # reading a review that was not closed writes to its file
        for path in (store.root / "cases" / name).glob(f"{REVIEW}*"):
            shutil.copy(path, folder)
        return _counted(Review(Path(folder) / REVIEW), name, settings.name(compute))


def _carried(store: Store, name: str) -> Moved:
    with store.lock(name, wait=HANDOVER):
        settings, compute, updated = _settings(store, name)
        new = settings.name(compute)
        before, folder = Review(store.root / "cases" / name / REVIEW), store.root / "cases" / new
        found = _counted(before, name, new)
        if new != name:
            folder.mkdir(exist_ok=True)
            Review(folder / REVIEW).prepend(before)
        if not store.record(new).readable:
            with store.lock(new, wait=HANDOVER):
                create(store, settings, compute)
                store.save_case(new, store.record(new).changed(updated=updated))
                os.utime(folder / "case.json", (updated, updated))
        if new != name:
            if marks.mark(store, new) == marks.Mark() != (mark := marks.mark(store, name)):
                marks.set_mark(store, new, **mark.model_dump())
            store.rename_case(name, new)
    return found
