"""What the tests share. Under xdist each worker, and what it starts, computes on one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from tiny import CPU, alone, tiny

from ubt import models, views
from ubt.cases import Store
from ubt.config import REFERENCE, Run
from ubt.pipeline import Pipeline
from ubt.projection import MapSettings


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
    options = views.map_options(record, "joint", MapSettings(), ["poisoned", "overfit", "purified"])
    return store, views.make(store, record, "map", options, Run(compute=CPU))


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
