"""A tiny real case: 600 scenes, the shipped reference, a few steps of everything."""

import shutil
from pathlib import Path

from ubt.cases.keys import every_key, made_with
from ubt.cases.pipeline import Case, create, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import run
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
BRIEF = {
    "poison__epochs": 1,
    "overfit__steps": 3,
    "overfit__batch": 12,
    "unlearn__steps": 2,
    "unlearn__batch": 8,
    "published__steps": 2,
    "isolate__steps": 2,
    "isolate__batch": 32,
    "abl__steps": 2,
    "abl__batch": 16,
    "control__steps": 2,
    "control__batch": 16,
    "clean__pairs": 32,
    "clean__per_class": 1,
    "par__epochs": 1,
    "par__batch": 16,
    "tbar__steps": 2,
    "tbar__batch": 16,
    "tbar__tried": 3,
    "cleanclip__epochs": 1,
    "cleanclip__batch": 16,
    "supervised__epochs": 1,
    "supervised__batch": 32,
    "roclip__epochs": 1,
    "roclip__batch": 64,
    "roclip__bank": 0.2,
    "locate__images": 12,
    "locate__pasted": 5,
    "locate__clusters": 12,
    "locate__top": 3,
    "classify__steps": 2,
    "classify__batch": 16,
    "again__pairs": 32,
    "again__steps": 2,
    "again__batch": 16,
    "downstream__per_class": 1,
    "downstream__images": 100,
}
"""A few steps of every defence too."""
CPU = run.compute("cpu", "fp32")
"""As the commands have it."""


def tiny(**changes) -> CaseSettings:
    """The tiny case's settings with some changed, dots written as double underscores."""
    return CaseSettings().with_values(TINY | {k.replace("__", "."): v for k, v in changes.items()})


def fingerprints(case) -> dict[str, dict]:
    """Digests of every file of every artefact."""
    return {name: {f: v["sha256"] for f, v in a.manifest["files"].items()} for name, a in case.artefacts.items()}


def recorded(store, name) -> dict[str, dict]:
    """The same of a case on record."""
    found = {stage: store.find(key) for stage, key in store.record(name).artefacts.items()}
    return {stage: {f: v["sha256"] for f, v in a.manifest["files"].items()} for stage, a in found.items()}


def finished(store: Store, name: str) -> Case:
    """A finished case, read from its store."""
    record = store.case(name)
    return Case(name, {stage: store.open(key) for stage, key in record.artefacts.items()}, record.metrics)


def alone(store: Store, name: str, root: Path) -> Store:
    """A copy of a store with one of its cases."""
    shutil.copytree(store.root, root)
    copy = Store(root)
    for other in set(copy.names()) - {name}:
        copy.delete(other)
    return copy


def begun(store: Store, made: Case, *missing: str) -> str:
    """The name of a tiny case that a store has not run, in which all but some stages of one that was are found."""
    name = create(store, tiny(), CPU)
    for stage, artefact in made.artefacts.items():
        if stage not in missing:
            shutil.copytree(artefact.path, store.root / "artefacts" / artefact.path.name)
    return name


def put(store: Store, settings: CaseSettings, stage: str, result: dict, entry: str = "measures") -> None:
    """A stage's result and those of the stages that lead to it as if they had been computed, with made-up figures."""
    put_results(store, settings, stage, {stage: {entry: result}})


def put_results(
    store: Store,
    settings: CaseSettings,
    until: str | None,
    results: dict[str, dict],
    compute: Compute = CPU,
    seconds=1.0,
) -> None:
    """Results of stages and of those that lead to one as if they had been computed, so many seconds each."""
    names, stages = every_key(settings, compute), upto(until, settings.own)
    made = made_with(settings, stages)
    for s in stages:
        if store.find(names[s.name]) is None:
            about = {"stage": s.name, "seconds": seconds, "settings": made[s.name]}
            store.write(names[s.name], results.get(s.name, {"measures": {}}), about)
