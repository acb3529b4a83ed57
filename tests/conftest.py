"""What the tests share. Under xdist each worker, and what it starts, computes on one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import shutil

import pytest
from tiny import CPU, TINY, alone, tiny

from ubt.cases.pipeline import Pipeline
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.pairs.projection import MapSettings
from ubt.workflows import audit, derived
from ubt.workflows.export_model import export
from ubt.workflows.ingest import write_pairs


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_case(tiny_store):
    return Pipeline(tiny_store, CPU).run(tiny())


@pytest.fixture(scope="session")
def tiny_map(tiny_case, tiny_store, tmp_path_factory):
    """A store with the tiny case alone and its map, and the map."""
    store = alone(tiny_store, tiny_case.name, tmp_path_factory.mktemp("mapped") / "cache")
    record = store.record(tiny_case.name)
    options = derived.map_options(record, "joint", MapSettings(), ["poisoned", "overfit", "purified"])
    return store, derived.make(store, record, "map", options, Run(compute=CPU))


@pytest.fixture(scope="session")
def tiny_audit(tiny_case, tiny_store, tmp_path_factory):
    """A store with an audit of the tiny case's M_bd and D alone, and the audit; its images stay in the zip that it was
    made from.
    """
    folder = tmp_path_factory.mktemp("audited")
    write_pairs(tiny_store, tiny_case.name, folder / "pairs.zip")
    export(tiny_store, tiny_case.name, "poison", folder / "suspect")
    store = Store(folder / "cache")
    changes = {n: v for n, v in TINY.items() if n.split(".")[0] not in ("attack", "data", "poison", "test")} | {
        "own.keep": 0
    }
    settings = audit.prepare(store, folder / "pairs.zip", str(folder / "suspect"), str(REFERENCE), None, changes)
    return store, Pipeline(store, CPU).run(settings), folder / "pairs.zip"


@pytest.fixture
def audited(tiny_audit, tmp_path) -> Store:
    """A cache with the audit alone, and its pairs beside it."""
    shutil.copytree(tiny_audit[0].root, tmp_path / "cache")
    return Store(tmp_path / "cache")


@pytest.fixture
def full(tiny_case, tiny_store, tmp_path) -> Store:
    """A cache with the finished tiny case alone."""
    return alone(tiny_store, tiny_case.name, tmp_path / "cache")


@pytest.fixture
def mapped(tiny_case, tiny_map, tmp_path) -> Store:
    """The same with its map."""
    return alone(tiny_map[0], tiny_case.name, tmp_path / "cache")


@pytest.fixture(scope="session")
def reference():
    return models.load(REFERENCE)
