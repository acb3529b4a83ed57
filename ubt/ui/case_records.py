"""The records of all cases, each read again only when it has changed, and what the cases are called."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from ubt.cases import demo, marks
from ubt.cases.marks import Mark
from ubt.cases.record import MARK, CaseRecord
from ubt.cases.store import Store
from ubt.cases.titles import complete, titles
from ubt.core.errors import UbtError
from ubt.evaluation.model_roles import MEASURED
from ubt.ui.view import import_name, store

T = TypeVar("T")
Stamp = tuple[int, int, int] | None
RESULTS = 8192
"""Verdicts and measures of unfinished cases that are kept in memory."""


@dataclass(frozen=True)
class Known:
    """What is known of a case without its results: its record, and its title and pin. Nothing in it may be changed."""

    record: CaseRecord
    mark: Mark
    stamps: tuple[Stamp, Stamp]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings by their dotted names, those added since at their defaults; empty where it cannot be read."""
        return complete(self.record.settings)


@dataclass
class _Kept:
    """What was read of a cache, and what was made of it: by its name, from which cases, and what it is."""

    cases: dict[str, Known] = field(default_factory=dict)
    results: dict[tuple[str, str], Any] = field(default_factory=dict)
    made: dict[str, tuple[dict[str, Known], Any]] = field(default_factory=dict)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(root: str) -> _Kept:
    return _Kept()


def _stamp(path: Path) -> Stamp:
    """What changes whenever a file is replaced; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(kept: _Kept, cache: Store, name: str) -> Known:
    """A case as it was read before, or read again where a file of it was replaced since."""
    folder = cache.root / "cases" / name
    stamps = _stamp(folder / "case.json"), _stamp(folder / MARK)
    before = kept.cases.get(name)
    if before and before.stamps == stamps and (stamps[0] or before.record.built_in):
        return before
    same = before and before.stamps[0] == stamps[0] and (stamps[0] or before.record.built_in)
    record = before.record if same else cache.record(name)
    found = kept.cases[name] = Known(record, marks.mark(cache, name) if stamps[1] else Mark(), stamps)
    return found


def known() -> dict[str, Known]:
    """Every case of this cache, the newest first, then the built-in ones; each file is read once until it changes."""
    cache = store()
    kept = _kept(str(cache.root))
    with os.scandir(cache.root / "cases") as listed:
        own = {entry.name: _read(kept, cache, entry.name) for entry in listed if entry.is_dir()}
    there = {name: case for name, case in own.items() if case.stamps[0]}
    found = dict(sorted(there.items(), key=lambda item: -item[1].stamps[0][0]))
    found |= {name: _read(kept, cache, name) for name in demo.names() if name not in found}
    for gone in set(list(kept.cases)) - found.keys():  # the list at once, for other sessions add to it
        kept.cases.pop(gone, None)
    return found


def one(name: str) -> Known:
    """A single case; its record says `absent` if there is none."""
    cache = store()
    return _read(_kept(str(cache.root)), cache, name)


def made(what: str, cases: dict[str, Known], make: Callable[[], T]) -> T:
    """What was made of these cases when it was asked for last, made again where one of them has changed since."""
    kept = _kept(str(store().root)).made
    before = kept.get(what)
    if before and [*before[0]] == [*cases] and all(before[0][name] is case for name, case in cases.items()):
        return before[1]
    kept[what] = cases, (value := make())
    return value


def labels(cases: dict[str, Known]) -> dict[str, str]:
    """What every case is called, no two alike: its own title, else one of its settings."""

    def make() -> dict[str, str]:
        given = {name: case.mark.title for name, case in cases.items()}
        return titles({name: case.record for name, case in cases.items()}, given, import_name)

    return made("labels", cases, make)


def figures(record: CaseRecord) -> Mapping[str, Any]:
    """A case's verdict and measures as its record has them when it is finished; before that those that are there."""
    if record.metrics:
        return record.metrics
    wanted = {"verdict": ("verdict", "verdict")} | {m: (r.evaluated, "measures") for m, r in MEASURED.items()}
    there = {title: _result(record.artefacts.get(stage, ""), entry) for title, (stage, entry) in wanted.items()}
    return {title: result for title, result in there.items() if result is not None}


def _result(key: str, entry: str) -> Any:
    """A small entry of an artefact, which never changes; None where it is not there, or damaged."""
    cache = store()
    kept = _kept(str(cache.root)).results
    if key and (key, entry) not in kept:
        with contextlib.suppress(UbtError, KeyError):
            if (artefact := cache.find(key)) is not None:
                if len(kept) >= RESULTS:
                    kept.clear()
                kept[key, entry] = artefact[entry]
    return kept.get((key, entry))
