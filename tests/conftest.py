"""What the tests share. Under xdist each worker, and what it starts, computes on one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from tiny import CPU, tiny

from ubt import models
from ubt.cases import Store
from ubt.config import REFERENCE
from ubt.pipeline import Pipeline


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_case(tiny_store):
    return Pipeline(tiny_store, CPU).run(tiny())


@pytest.fixture(scope="session")
def reference():
    return models.load(REFERENCE)
