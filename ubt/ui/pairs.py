"""The pairs of the case in view: their table, kept in memory once for all sessions, and what analysts decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from ubt.cases.store import Store
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.evaluation.label_free import Mixture, fit
from ubt.figures.similarity import binned, spanned
from ubt.pairs.annotations import Decided, Review
from ubt.pairs.neighbors import SPACES
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import roles
from ubt.ui.view import View, read, store
from ubt.workflows import derived


def review(view: View) -> Review:
    """What analysts decided about the case."""
    path = store().root / "cases" / view.name / "review.sqlite"
    if view.built_in:
        path.parent.mkdir(exist_ok=True)
    return Review(path, read_only=not roles.may_change())


@st.cache_resource(max_entries=3, show_spinner="Reading the pairs…")
def _table(root: str, keys: tuple[tuple[str, str], ...]) -> PairTable:
    artefacts, cache = dict(keys), Store(Path(root))
    return PairTable.from_stages(
        lambda stage: stage in artefacts,
        lambda stage, entry, *names: cache.open(artefacts[stage]).read(entry, columns=names),
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _labelled(path: str, version: tuple, keys: tuple, _table: PairTable) -> PairTable:
    return _table.with_labels(_decided(path, version).labels)


@st.cache_resource(max_entries=4, show_spinner=False)
def _decided(path: str, version: tuple) -> Decided:
    return Review(Path(path)).decided()


def _version(review: Review) -> tuple:
    """What changes with every decision, and when the file is replaced by another."""
    try:
        file = review.path.stat()
    except OSError:
        return (0,)
    return review.version(), file.st_ino, file.st_mtime_ns


def version(view: View) -> tuple:
    """What changes with every decision about the case."""
    return _version(review(view))


def decided(view: View) -> Decided:
    """What was decided; not to be changed."""
    decisions = review(view)
    return _decided(str(decisions.path.resolve()), _version(decisions))


def keys(view: View) -> tuple[tuple[str, str], ...]:
    """The finished stages that know something of the pairs, and the keys of what they made."""
    stages = ("data", "attack", *SIMILARITIES.values(), "split", "select", "flag")
    return tuple((s, view.key(s)) for s in stages if view.has(s))


def map_options(view: View, space: str, complete: bool = False) -> dict[str, Any] | None:
    """The options of the map of a space: of the map that exists, or of one with every model that the case has by now
    (`complete`); None if the case has no embedding to project.
    """
    return derived.map_of(store(), view.record, view.has, space, complete)


def map_key(view: View, space: str) -> str:
    """The artefact of the map of a space, whether or not it exists; empty without an embedding to project."""
    options = map_options(view, space)
    return derived.key(view.record, "map", options) if options else ""


def table(view: View) -> PairTable:
    """Every column of the case's pairs, those of labels and maps too; nothing in it may be changed. The parts of a page
    ask for it several times: between two runs of all of it, labels and maps alone can be new.
    """
    decisions = review(view)
    stamp = _version(decisions), _changed(store().root / "artefacts")
    known = st.session_state.get("table-of")
    if known is None or known[0] is not view or known[1] != stamp:
        known = st.session_state["table-of"] = view, stamp, _composed(view, decisions, stamp[0])
    return known[2]


def table_now(view: View) -> PairTable:
    """The same outside of any session."""
    decisions = review(view)
    return _composed(view, decisions, _version(decisions))


def _changed(folder: Path) -> int:
    """When something came into a folder, or left it, last."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _composed(view: View, decisions: Review, version: tuple) -> PairTable:
    """The table with the labels of a version of the decisions, and the maps that there are."""
    path, made_by = str(decisions.path.resolve()), keys(view)
    made = _labelled(path, version, made_by, _table(str(store().root.resolve()), made_by))
    maps = {}
    for space in SPACES:
        options = map_options(view, space)
        if options and store().find(key := derived.key(view.record, "map", options)) is not None:
            maps[space] = key, tuple(options["models"])
    return _mapped(path, version, made_by, tuple(maps.items()), made)


@st.cache_resource(max_entries=4, show_spinner=False)
def _mapped(
    path: str, version: tuple, keys: tuple, maps: tuple[tuple[str, tuple[str, tuple[str, ...]]], ...], _table: PairTable
) -> PairTable:
    for space, (key, models) in maps:
        _table = _table.with_map(space, {model: read(key, f"xy_{model}") for model in models}, read(key, "cluster"))
    return _table


@dataclass(frozen=True)
class Prepared:
    """What sliders and charts need of the scores, computed once.

    Args:
        by_reference: rows (n,) by similarity under the reference, lowest first. by_overfit: rows by similarity under
            the overfitted model, highest first; None without it. bins: of each similarity, the pairs' bins in a
            histogram. span: the part of [-1, 1] that holds them all.
    """

    by_reference: np.ndarray
    by_overfit: np.ndarray | None
    bins: Mapping[str, np.ndarray]
    span: tuple[float, float]


@st.cache_resource(max_entries=3, show_spinner=False)
def _prepared(keys: tuple, _table: PairTable) -> Prepared:
    overfit = _table.similarity_overfit
    bins = {name: binned(_table[name]) for name in _table.similarities()}
    return Prepared(
        np.argsort(_table.similarity_reference, kind="stable"),
        None if overfit is None else np.argsort(-overfit, kind="stable"),
        bins,
        spanned(bins.values()),
    )


def prepared(view: View, table: PairTable) -> Prepared:
    """Orders and bins of the case's similarities."""
    return _prepared(keys(view), table)


@st.cache_resource(max_entries=3, show_spinner=False)
def _mixture(keys: tuple, _scores: np.ndarray) -> Mixture | None:
    return fit(_scores)


def mixture(view: View, table: PairTable) -> Mixture | None:
    """The mixture fitted to D_susp's overfitted similarities, without labels; None where it cannot be fitted, or the
    model was not judged poisoned.
    """
    judged = judged_poisoned(view.read("verdict", "verdict")) if view.has("verdict") else view.imported
    if not judged or table.similarity_overfit is None or table.suspicious is None:
        return None
    return _mixture(keys(view), table.similarity_overfit[table.suspicious])


@st.cache_resource(max_entries=4, show_spinner=False)
def _sampled(keys: tuple, most: int, _table: PairTable) -> np.ndarray:
    if len(_table) <= most:
        return np.arange(len(_table))
    order = np.random.default_rng(0).permutation(len(_table))
    first = np.zeros(len(_table), bool) if _table.flagged is None else _table.flagged[order]
    return np.sort(np.concatenate([order[first], order[~first]])[:most])


def sampled(view: View, table: PairTable, most: int) -> np.ndarray:
    """Rows that a map draws: all, or a sample that holds every flagged one."""
    return _sampled(keys(view), most, table)
