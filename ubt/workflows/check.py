"""Whether what a cache holds is what was written: every byte is read; what is damaged is set aside and made again."""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ubt.cases.artifact import DamagedArtefact, is_imported
from ubt.cases.events import Event
from ubt.cases.keys import every_key
from ubt.cases.pipeline import run_each
from ubt.cases.plan import composed
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.run import Compute, Progress, silent
from ubt.data.user_roles import KINDS

IMPORTS = {"pairs": "data pairs", "labelled": "data labels", "model": "models import"}


@dataclass(frozen=True)
class Damage:
    """A result that is not what was written: its name, why, and the cases that name it with the stage it is of."""

    key: str
    why: str
    cases: tuple[tuple[str, str], ...] = ()


def look(store: Store, name: str = "", progress: Progress = silent) -> tuple[list[Damage], int]:
    """What is damaged of a case, or of everything in the cache if none is named; and the bytes that were read.

    Raises:
        BadInput: there is no such case. UbtError: its record cannot be read.
    """
    records = {name: store.case(name)} if name else store.cases()
    if name and not records[name].readable:
        raise UbtError(records[name].error)
    used: dict[str, list[tuple[str, str]]] = {}
    for case, record in records.items():
        for stage, key in _named(record).items():
            used.setdefault(key, []).append((case, stage))
    keys = list(used)
    if not name:
        keys += sorted({p.name for p in (store.root / "artefacts").iterdir() if p.is_dir()} - set(keys))
    found, read = list[Damage](), 0
    for done, key in enumerate(keys, 1):
        try:
            artefact = store.whole(key, again=True)
            if artefact is not None:
                read += artefact.bytes
            elif _expected(records, used[key]):
                found.append(Damage(key, f"{store.root / 'artefacts' / key}: expected a result, found none", ()))
        except DamagedArtefact as e:
            found.append(Damage(key, e.why))
        progress(done, len(keys), {"damaged": float(len(found))})
    return [Damage(d.key, d.why, tuple(used.get(d.key, ()))) for d in found], read


def _named(record: CaseRecord) -> dict[str, str]:
    """The artefacts that a case names, by stage; what was imported for it by the setting."""
    own = record.settings.get("own", {}) if record.readable else {}
    return record.artefacts | {f"own.{kind}": own[kind] for kind in KINDS if own.get(kind)}


def _expected(records: dict[str, CaseRecord], cases: Iterable[tuple[str, str]]) -> bool:
    """Whether something that is not there should be: it was imported, or a finished case's own stage made it."""
    for case, stage in cases:
        if stage.startswith("own."):
            return True
        with contextlib.suppress(UbtError):
            own = CaseSettings.from_dict(records[case].settings).own
            if records[case].state == "done" and stage in composed(own).names():
                return True
    return False


def mend(
    store: Store,
    damages: Sequence[Damage],
    watch: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Set what is damaged aside, and make anew what the cases that name it need; views are made again when they are
    looked at.

    Returns:
        What could not be made again, by name, and what to do about it.

    Raises:
        UbtError: a run holds something damaged. Cancelled: somebody asked to stop.
    """
    left, work = {}, dict[tuple[str, str | None], tuple[CaseSettings, Compute, str | None]]()
    for damage in damages:
        if is_imported(damage.key):
            left[damage.key] = how_to_import(store, damage.key)
        with store.lock(damage.key, wait=1):
            store.set_aside(damage.key)
        for case, stage in damage.cases:
            record = store.case(case)
            if stage.startswith("own."):
                continue
            if not record.readable or record.built_in:
                left[damage.key] = "install the package again" if record.built_in else record.error
                continue
            settings = CaseSettings.from_dict(record.settings)
            if every_key(settings, record.compute).get(stage) != damage.key:
                left[damage.key] = f"{case} is of an earlier version; run it anew"
                continue
            until = None if stage in composed(settings.own).names() else stage
            work[case, until] = settings, record.compute, until
    order = sorted(work, key=lambda of: (of[0], of[1] is not None))
    return left | run_each(store, [work[of] for of in order], watch, cancelled)


def how_to_import(store: Store, key: str) -> str:
    """What to do about a damaged import: the command that makes it again, where it still says where it came from."""
    said, kind = "", key.split("-")[0]
    with contextlib.suppress(UbtError, OSError, ValueError, KeyError, TypeError):
        if (artefact := store.open(key)) is not None:
            told: dict[str, Any] = artefact["card" if kind == "model" else "about"]
            said = str(told["source" if kind == "model" else "path"])
    return f"import it again: python -m ubt {IMPORTS[kind]} {shlex.quote(said) if said else '…'}"
