"""A tiny real case: 600 scenes, the shipped reference, a few steps of everything."""

import shutil
from pathlib import Path

from ubt.cases.catalog import EVERY
from ubt.cases.pipeline import keys, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.core.run import Compute

TINY = {
    "data.pairs": 600,
    "attack.rate": 0.05,
    "split.fraction": 0.12,
    "select.k": 4,
    "test.per_class": 1,
    "verdict.threshold": -1.0,
    "poison.epochs": 2,
    "poison.batch": 64,
    "overfit.steps": 6,
    "unlearn.steps": 6,
    "unlearn.keep_batch": 32,
    "verdict.displaced": -1.0,
    "verdict.apart": -1.0,
    "published.steps": 3,
    "retain.anchors": 8,
    "retain.pool": 200,
}
CPU = Compute("cpu", "fp32")


def tiny(**changes) -> CaseSettings:
    """The tiny case's settings with some changed, dots written as double underscores."""
    return CaseSettings().with_values(TINY | {k.replace("__", "."): v for k, v in changes.items()})


def fingerprints(case) -> dict[str, dict]:
    """Digests of every file of every artefact."""
    return {name: {f: v["sha256"] for f, v in a.manifest["files"].items()} for name, a in case.artefacts.items()}


def recorded(store, name) -> dict[str, dict]:
    """The same of a case on record."""
    found = {stage: store.find(key) for stage, key in store.record(name)["artefacts"].items()}
    return {stage: {f: v["sha256"] for f, v in a.manifest["files"].items()} for stage, a in found.items()}


def alone(store: Store, name: str, root: Path) -> Store:
    """A copy of a store with one of its cases."""
    shutil.copytree(store.root, root)
    copy = Store(root)
    for other in set(copy.names()) - {name}:
        copy.delete(other)
    return copy


def put(store: Store, settings: CaseSettings, stage: str, result: dict, entry: str = "measures") -> None:
    """Results of a stage and of those that lead to it as if they had been computed, with made-up figures, a second
    each.
    """
    names = keys(settings, CPU, EVERY, REFERENCE)
    for s in upto(stage):
        if store.find(names[s.name]) is None:
            store.write(names[s.name], {entry: result if s.name == stage else {}}, {"stage": s.name, "seconds": 1.0})
