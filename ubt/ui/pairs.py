"""The pairs of the case in view on the page: their columns, kept in memory once for all sessions, and what analysts
decided.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from ubt.cases.store import Store
from ubt.evaluation.label_free import Mixture, fit
from ubt.figures.similarity import binned
from ubt.pairs import table
from ubt.pairs.annotations import Review
from ubt.pairs.neighbors import SPACES
from ubt.pairs.projection import MapSettings
from ubt.ui.view import View, read, store
from ubt.workflows import derived

if TYPE_CHECKING:
    pass
FOLLOWED = ("poisoned", "overfit", "purified")
"""The models a map follows a point through."""


def review(view: View) -> Review:
    """What analysts decided about the case."""
    kept = store().root / "cases" / view.name / "review.sqlite"
    if view.ready:
        kept.parent.mkdir(exist_ok=True)
    return Review(kept)


@st.cache_resource(max_entries=3, show_spinner="Reading the pairs…")
def _known(root: str, keys: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    artefacts, made = dict(keys), Store(Path(root))
    return table.known(
        lambda stage: stage in artefacts,
        lambda stage, entry, *names: made.open(artefacts[stage]).read(entry, columns=names),
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _decided(path: str, version: tuple, keys: tuple, _ids: Any) -> dict[str, Any]:
    return table.decided(_ids, _labels(path, version))


@st.cache_resource(max_entries=4, show_spinner=False)
def _labels(path: str, version: tuple) -> pd.DataFrame:
    return Review(Path(path)).labels()


def _version(kept: Review) -> tuple:
    """What changes with every decision, and when the file is another one."""
    try:
        found = kept.path.stat()
    except OSError:
        return (0,)
    return kept.version(), found.st_ino, found.st_mtime_ns


def labels(view: View) -> pd.DataFrame:
    """What was decided, as `Review.labels` gives it; not to be changed."""
    kept = review(view)
    return _labels(str(kept.path.resolve()), _version(kept))


def _keys(view: View) -> tuple[tuple[str, str], ...]:
    stages = ("data", "attack", *table.SIMILARITIES.values(), "split", "select", "flag")
    return tuple((s, view.key(s)) for s in stages if view.has(s))


def map_options(view: View, space: str, whole: bool = False) -> dict[str, Any] | None:
    """What the map of a space is made with: the one there is, or one of every model the case has by now (`whole`); None
    if the case has no embedding to lay out.
    """
    models = [
        m
        for m in FOLLOWED
        if (view.has("unlearn") and view.has("data") if m == "purified" else derived.embedded(store(), view.record, m))
    ]
    models = models or ["reference"] * derived.embedded(store(), view.record, "reference")
    wanted = [derived.map_options(view.record, space, MapSettings(), models[:n]) for n in range(len(models), 0, -1)]
    there = (o for o in wanted if store().find(derived.key(view.record, "map", o)) is not None)
    return wanted[0] if whole and wanted else next(there, wanted[0] if wanted else None)


def known(view: View) -> dict[str, Any]:
    """Every column of the case, see `ubt.pairs.table`: text as arrow arrays, numbers and flags as numpy arrays; nothing
    in it may be changed.
    """
    keys, who = _keys(view), review(view)
    found = _known(str(store().root.resolve()), keys)
    found = found | _decided(str(who.path.resolve()), _version(who), keys, found["id"])
    for space in SPACES:
        options = map_options(view, space)
        key = derived.key(view.record, "map", options) if options else ""
        if key and store().find(key) is not None:
            for model in options["models"]:
                xy = read(key, f"xy_{model}")
                found |= {f"map_{space}_{model}_x": xy[:, 0], f"map_{space}_{model}_y": xy[:, 1]}
            found["cluster"] = found[f"cluster_{space}"] = read(key, "cluster")
    return found


@st.cache_resource(max_entries=3, show_spinner=False)
def _sorted(keys: tuple, _columns: dict[str, Any]) -> dict[str, np.ndarray]:
    made = {name: np.argsort(_columns[name], kind="stable") for name in ("similarity_reference",)}
    if "similarity_overfit" in _columns:
        made["similarity_overfit"] = np.argsort(-_columns["similarity_overfit"], kind="stable")
    return made | {f"bins_{name}": binned(_columns[name]) for name in table.SIMILARITIES if name in _columns}


def prepared(view: View, found: dict[str, Any]) -> dict[str, np.ndarray]:
    """What is computed once from the scores: `similarity_reference`, rows by it, lowest first; `similarity_overfit`,
    rows by it, highest first; `bins_NAME`, each similarity's bin in a histogram.
    """
    return _sorted(_keys(view), found)


@st.cache_resource(max_entries=3, show_spinner=False)
def _mixture(keys: tuple, _scores: np.ndarray) -> Mixture | None:
    return fit(_scores)


def mixture(view: View, found: dict[str, Any]) -> Mixture | None:
    """The populations of D_susp's overfitted similarities, found without labels; None where there are none, or the
    model was not judged poisoned.
    """
    judged = view.read("verdict", "verdict")["poisoned"] if view.has("verdict") else view.given
    if not judged or "similarity_overfit" not in found or "suspicious" not in found:
        return None
    return _mixture(_keys(view), found["similarity_overfit"][found["suspicious"]])


@st.cache_resource(max_entries=4, show_spinner=False)
def _drawn(keys: tuple, most: int, _found: dict[str, Any]) -> np.ndarray:
    total = len(_found["id"])
    if total <= most:
        return np.arange(total)
    order = np.random.default_rng(0).permutation(total)
    first = _found["flagged"][order] if "flagged" in _found else np.zeros(total, bool)
    return np.sort(np.concatenate([order[first], order[~first]])[:most])


def drawn(view: View, found: dict[str, Any], most: int) -> np.ndarray:
    """Rows that a map draws: all, or a sample with every flagged one."""
    return _drawn(_keys(view), most, found)
