"""The case in view: which one it is, how it stands, and cached readers of what its stages made."""

import contextlib
import importlib
import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from ubt.cases.plan import Recorded
from ubt.cases.read_only import ReadOnlyStore
from ubt.cases.record import BuiltIn, CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import run
from ubt.core.errors import UbtError
from ubt.core.run import Compute
from ubt.data.scenes import CLASSES
from ubt.evaluation.model_roles import MEASURED, ROLES, SUSPECT
from ubt.reports.case_report.finished_case import other_verdicts
from ubt.ui import roles
from ubt.workflows import jobs


@lru_cache(4)  # asked for a hundred times a run; Streamlit's cache takes a third of a millisecond each time
def _store(root: str, read_only: bool) -> Store:
    return (ReadOnlyStore if read_only else Store)(Path(root))


def store() -> Store:
    """The cache folder: `UBT_CACHE`, or `cache`; whoever may change nothing can only read it."""
    return _store(os.path.realpath(os.environ.get("UBT_CACHE", "cache")), not roles.may_change())


@st.cache_resource(max_entries=1, show_spinner=False)
def compute() -> Compute:
    """Where this machine computes."""
    return run.compute()


@st.cache_resource(max_entries=2, show_spinner=False)
def warm(attributed: bool) -> threading.Thread:
    """Import, beside the first page, what others need, so that they open at once; `attributed`: also what reads a pair
    as a model does, which takes seconds, and memory that a case whose pairs nobody attributed needs for nothing.
    """
    modules = ["plotly.graph_objects", "sklearn.mixture", "pyarrow.parquet", "faiss"]
    modules += ["ubt.clip.attribution"] * attributed

    def load() -> None:
        for module in modules:
            importlib.import_module(module)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread


@st.cache_data(max_entries=96, show_spinner=False)
def _value(root: str, key: str, entry: str) -> Any:
    return Store(Path(root)).open(key)[entry]


CHECKED = 2**28
"""Bytes up to which an array is read whole to check it; a page shows a part of larger ones, which the pipeline checks.
"""


@st.cache_resource(max_entries=24, show_spinner=False)
def _array(root: str, key: str, entry: str) -> Any:
    return Store(Path(root)).open(key).read(entry, CHECKED)


def read(key: str, entry: str) -> Any:
    """An entry of an artefact: frames and plain values as copies, arrays as read-only maps, images that stay elsewhere
    as such.
    """
    kept = store().find(key).manifest["entries"][entry]
    reader = _array if kept in ("array", "images", "drawn", "coded", "packed") else _value
    return reader(str(store().root), key, entry)


@dataclass(frozen=True)
class View(Recorded):
    """A case as a page sees it."""

    name: str
    record: CaseRecord
    status: jobs.Status

    def model_title(self, model: str) -> str:
        """What a page calls one of its models."""
        return SUSPECT if self.audits and model == "poisoned" else ROLES[model].title

    def classes(self) -> tuple[str, ...]:
        """What a target can be: the classes of its labelled images."""
        return classes(self.settings)

    def has(self, *stages: str) -> bool:
        """Whether these stages are finished."""
        return all(s in self.status.finished for s in stages)

    @property
    def imported(self) -> bool:
        """Whether its artefacts were imported, so that nothing can be run."""
        return self.record.imported

    @property
    def built_in(self) -> BuiltIn | None:
        """What made a built-in case; None for any other."""
        return self.record.built_in

    def key(self, stage: str) -> str:
        """The name of a stage's artefact."""
        return self.record.artefacts[stage]

    def holds(self, stage: str, entry: str) -> bool:
        """Whether a stage is finished and gave this entry."""
        return self.has(stage) and entry in store().find(self.key(stage)).manifest["entries"]

    def read(self, stage: str, entry: str) -> Any:
        """An entry of a finished stage: frames and plain values as copies, arrays as read-only maps.

        Raises:
            DamagedArtefact: its bytes are not those that were written.
        """
        return read(self.key(stage), entry)

    def measured(self) -> dict[str, dict]:
        """The measures of every model that has been evaluated, in the order clean, poisoned, ours, published."""
        return {m: self.read(role.evaluated, "measures") for m, role in MEASURED.items() if self.has(role.evaluated)}

    def other_verdicts(self) -> pd.DataFrame:
        """The verdicts of this cache's other cases, see `ubt.reports.case_report.finished_case.other_verdicts`."""
        return other_verdicts(store(), self.record)


def classes(settings: CaseSettings) -> tuple[str, ...]:
    """The classes of a case's labelled images: of those that were imported, or the scenes'."""
    return tuple(read(settings.own.test, "classes")) if settings.own.test else () if settings.own.pairs else CLASSES


def import_name(key: str) -> str:
    """What something imported is called: a model's name, the file or folder that pairs came from; its name in the store
    if it is gone.
    """
    with contextlib.suppress(UbtError, KeyError, AttributeError):
        return read(key, "card")["name"] if key.startswith("model-") else Path(read(key, "about")["path"]).name
    return key


def opened(name: str) -> View:
    """A case of this cache, or a built-in one."""
    return View(name, store().record(name), jobs.status(store(), name))
