"""The case in view: which one it is, how it stands, and cached readers of what its stages made."""

import contextlib
import importlib
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from ubt import config, jobs, ready
from ubt.attacks import ATTACKS, parse
from ubt.cases import CaseSettings, Store
from ubt.composition import Recorded
from ubt.config import BadInput, Compute, UbtError
from ubt.data.scenes import CLASSES
from ubt.figures import MODELS
from ubt.pipeline import create
from ubt.report.case import other_verdicts
from ubt.ui.guard import plain


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(root: str) -> Store:
    return Store(Path(root))


def store() -> Store:
    """The cache folder: `UBT_CACHE`, or `cache`."""
    return _store(os.environ.get("UBT_CACHE", "cache"))


@st.cache_resource(max_entries=1, show_spinner=False)
def compute() -> Compute:
    """Where this machine computes."""
    return config.compute()


@st.cache_resource(max_entries=1, show_spinner=False)
def warm() -> threading.Thread:
    """Import, beside the first page, what others need, so that they open at once."""

    def load() -> None:
        for module in ("plotly.graph_objects", "sklearn.mixture", "pyarrow.parquet", "faiss"):
            importlib.import_module(module)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread


@st.cache_data(max_entries=96, show_spinner=False)
def _value(root: str, key: str, entry: str) -> Any:
    return Store(Path(root)).open(key)[entry]


CHECKED = 2**28
"""Bytes up to which an array is read whole to check it; a page shows a part of larger ones, which the pipeline checks."""


@st.cache_resource(max_entries=24, show_spinner=False)
def _array(root: str, key: str, entry: str) -> Any:
    return Store(Path(root)).open(key).read(entry, CHECKED)


def read(key: str, entry: str) -> Any:
    """An entry of an artefact: frames and plain values as copies, arrays as read-only maps, images that stay elsewhere as such."""
    reader = _array if store().find(key).manifest["entries"][entry] in ("array", "images", "drawn", "coded") else _value
    return reader(str(store().root.resolve()), key, entry)


@dataclass(frozen=True)
class View(Recorded):
    """A case as a page sees it."""

    name: str
    record: dict[str, Any]
    status: jobs.Status

    def titled(self, titles: Mapping[str, str], model: str) -> str:
        """What a page calls one of its models; of the one in an audit nobody knows whether it is poisoned."""
        return "model as brought" if self.audits and model == "poisoned" else titles[model]

    def classes(self) -> tuple[str, ...]:
        """What a target can be: the classes of its labelled images."""
        return classes(self.settings)

    def has(self, *stages: str) -> bool:
        """Whether these stages are finished."""
        return all(s in self.status.finished for s in stages)

    @property
    def given(self) -> bool:
        """Whether its artefacts were brought and not made, so that nothing can be run."""
        return bool(self.record.get("given"))

    @property
    def ready(self) -> dict[str, Any]:
        """Of a ready-made case, what made it: `title`, `command`, the day it was `made`, `version`; else empty."""
        return self.record.get("ready", {})

    def key(self, stage: str) -> str:
        """The name of a stage's artefact."""
        return self.record["artefacts"][stage]

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
        return {m: self.read(f"evaluate_{m}", "measures") for m in MODELS if self.has(f"evaluate_{m}")}

    def other_verdicts(self) -> pd.DataFrame:
        """The verdicts of this cache's other cases, see `ubt.report.case.other_verdicts`."""
        return other_verdicts(store(), self.record)


_DEFAULT = CaseSettings().to_dict()


def _changed(settings: dict[str, Any]) -> str:
    """What tells a case from the default of its attack and seed, in brief; a case may be older than a group of settings."""
    own = settings.get("own", {})
    groups = [g for g in _DEFAULT if isinstance(_DEFAULT[g], dict) and g not in ATTACKS and g not in ("attack", "published", "own")]
    changes = [f"{g}.{k} {_short(v)}" for g in groups for k, v in settings.get(g, {}).items() if v != _DEFAULT[g].get(k)]
    changes = [c for c in changes if not (own.get("pairs") and c.startswith("data.pairs "))]
    return f" · {changes[0]}{', …' if changes[1:] else ''}" if changes else ""


def _short(value: Any) -> str:
    lines = str(value).split("\n")
    return lines[0] if len(lines) == 1 else f"({len(lines)})"


def classes(settings: CaseSettings) -> tuple[str, ...]:
    """The classes of a case's labelled images: those it brought, or the scenes'."""
    return tuple(read(settings.own.test, "classes")) if settings.own.test else () if settings.own.pairs else CLASSES


def called(key: str) -> str:
    """What something brought is called: a model's name, the file or folder that pairs came from; its name in the store if it is gone."""
    with contextlib.suppress(UbtError, KeyError, AttributeError):
        return read(key, "card")["name"] if key.startswith("model-") else Path(read(key, "about")["path"]).name
    return key


def _of_own(settings: dict[str, Any], name: str) -> str:
    own, rest = settings["own"], f"seed {settings['seed']} · {name[-8:-4]}{_changed(settings)}"
    if own.get("suspect"):
        return f"audit of {called(own['suspect'])}, {settings['data']['pairs']:,} pairs, {rest}"
    return f"on {called(own['pairs'])}, {rest}"


def opened(name: str) -> View:
    """A case of this cache, or a ready-made one."""
    return View(name, store().record(name), jobs.status(store(), name))


def names() -> list[str]:
    """The cases to choose from: those of this cache, newest first, then the ready-made one until this machine has made the same."""
    own = store().names()
    if ready.MAIN not in ready.names():
        return own
    live = CaseSettings.from_dict(store().record(ready.MAIN)["settings"]).name(compute())
    return own if store().record(live).get("state") == "done" else [*own, ready.MAIN]


def label(name: str) -> str:
    """How the picker calls a case."""
    record = store().record(name)
    if "ready" in record:
        return f"ready-made: {record['ready']['title']}"
    with contextlib.suppress(KeyError, TypeError, BadInput):
        attack, own = record["settings"]["attack"], record["settings"].get("own", {})
        if own.get("suspect"):
            return _of_own(record["settings"], name)
        amount = f"{attack['count']}" if attack.get("count") else f"{100 * attack['rate']:g} %"
        further = f" + {len(parse(attack['also']))}" if attack.get("also") else ""
        what = f"{attack['name']} {amount}{further}" if attack["rate"] or attack.get("count") or further else "clean"
        if own.get("pairs"):
            return f"{what} {_of_own(record['settings'], name)}"
        return f"{what}, seed {record['settings']['seed']} · {name[-8:-4]}{_changed(record['settings'])}"
    return f"{name} (damaged)"


def show(name: str | None) -> None:
    """Make `name` the case in view from the next run of the page on."""
    st.session_state["next_case"] = name


def remove(name: str) -> int:
    """Delete a case and bring the newest of the others into view; returns the bytes freed."""
    freed = store().delete(name)
    show(next(iter(names()), None))
    return freed


def make(settings: CaseSettings, run: bool) -> None:
    """Put a case on record, bring it into view and, if asked, start its job."""
    name = create(store(), settings, compute())
    show(name)
    if run:
        jobs.start(store(), name)


OF_A_CASE = ("fraction", "threshold", "k", "pair")
"""What the address bar holds that means nothing in another case."""
OWN = re.compile(r"\b(id|rank|group|cluster\w*|map_\w+)\b")
"""Columns that mean something else in another case; a selection by them ends with it."""


def _forget_case() -> None:
    from ubt.ui import address

    state = st.session_state
    address.forget(*OF_A_CASE)
    for name in ("pair", "clicked", "reviewed", "selections"):
        state.pop(name, None)
    if OWN.search(state.get("selection", "")):
        state["selection"] = ""
        address.forget("select")


def pick() -> View | None:
    """The picker, and the case it shows; None if there is none. The address bar holds its name."""
    state, asked = st.session_state, st.query_params.get("case")
    offered = names()
    if asked in ready.names() and asked not in offered:
        offered.append(asked)
    if "next_case" in state:
        state["case"] = state.pop("next_case")
    elif "case" not in state:
        state["case"] = asked or next(iter(offered), None)
    if state["case"] not in offered and state["case"] is not None:
        state["gone"], state["case"] = state["case"], None
    labels = {name: label(name) for name in offered}
    st.selectbox(
        "Case",
        offered,
        index=None,
        key="case",
        format_func=lambda name: labels.get(name, name),
        placeholder="choose a case" if offered else "none yet",
        persist_state="session",
    )
    if state["case"] is None:
        if "case" in st.query_params:
            del st.query_params["case"]
            _forget_case()
        return None
    state.pop("gone", None)
    if asked != state["case"]:
        st.query_params["case"] = state["case"]
    if state.get("case_before", state["case"]) != state["case"]:
        _forget_case()
    state["case_before"] = state["case"]
    view = opened(state["case"])
    return view if view.status.state != "damaged" else _offer_to_delete(view)


def _offer_to_delete(view: View) -> None:
    st.error(plain(view.status.error), title="This case cannot be read", icon=":material/broken_image:")
    if st.button("Delete this case", key="delete-damaged", icon=":material/delete:"):
        remove(view.name)
        st.rerun()


def say_if_gone() -> None:
    """Say that the case that was open, or that the address asks for, is not there."""
    if gone := st.session_state.get("gone"):
        st.warning(f"There is no case {plain(gone)} in this cache; it was deleted, perhaps in another tab. Choose another on the left, or make a new one.")
