"""What a case on imported data lacks for a stage, as far as that is known before anything runs."""

import functools
from pathlib import Path

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.run import Compute
from ubt.data.user_roles import spared

LEAST = 2
"""Clean pairs that a defence needs, at least."""


def lacking(store: Store, settings: CaseSettings, where: Compute, until: str) -> str:
    """Why a case cannot be run up to a stage, and what to do; empty if nothing is known to be missing."""
    own = settings.own
    if not own.pairs:
        return ""
    try:
        needed = {stage.name for stage in upto(until, own)}
        if "clean" in needed and _pairs_left(store, settings, where) < LEAST:
            return (
                f"it needs clean pairs beyond the {settings.data.pairs:,} of D, and there are none; import more pairs,"
                " or make a case with fewer in D"
            )
        if "labelled" in needed and not _images_left(store, settings):
            return (
                "it needs labelled images beyond those of the test set, and there are none; import more, or make a"
                " case with a smaller test.per_class"
            )
    except UbtError as e:
        return str(e)
    return ""


def _pairs_left(store: Store, settings: CaseSettings, where: Compute) -> int:
    """Pairs beyond D: as they were counted when D was taken, else at most so many."""
    key = every_key(settings, where)["take"]
    if store.find(key) is not None:
        return _rest(store.root, key)
    return _free(store.root, settings.own.pairs, settings.own.spare) - settings.data.pairs


@functools.lru_cache(maxsize=32)
def _rest(root: Path, key: str) -> int:
    return len(Store(root).open(key)["rest"])


@functools.lru_cache(maxsize=32)
def _free(root: Path, key: str, share: float) -> int:
    pairs: pd.DataFrame = Store(root).imported(key)["pairs"]
    return int((~spared(pairs["image"], share)).sum())


def _images_left(store: Store, settings: CaseSettings) -> int:
    """Labelled images beyond the test set's, over all classes."""
    labels = store.imported(settings.own.test)["images"]["label"]
    return int((labels.value_counts() - settings.test.per_class).clip(lower=0).sum())
