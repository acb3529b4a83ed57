"""What the tests share. Under xdist each worker, and what it starts, computes on one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_once import made_once
from tiny import CPU, TINY, alone, finished, tiny

from ubt.cases.pipeline import Pipeline
from ubt.cases.store import Store
from ubt.clip import models
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.pairs.projection import MapSettings
from ubt.workflows import audit, derived
from ubt.workflows.export_model import export
from ubt.workflows.ingest import write_pairs

collect_ignore = ["workflows/version_4/make.py"]
"""Runs with the version before alone."""

LONGEST = (
    "test_a_case_separates_and_purifies",
    "test_run_look_move_unlearn_reload",
    "test_permuting_the_truth_changes_no_score_and_no_weight",
    "test_two_ranks_agree_with_one_though_one_was_killed_on_the_way",
    "test_killed_anywhere_it_goes_on_and_ends_with_the_undisturbed_result",
    "test_app_and_job_killed_it_resumes_to_the_same_result",
    "test_every_step_passes_in_the_papers_order_on_shards",
)
"""Tests that take a minute each."""
SLOW = ("/browser/", "/pages/test_built_in.py")
"""Parts of the paths of tests that take many seconds each."""


def _of_one(item: pytest.Item) -> bool:
    """Whether a slow test shares with the others of its file what takes long to make."""
    return item.name not in LONGEST and not hasattr(item, "callspec")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under xdist each worker is given an equal part of the list, one after the other, and steals what another has not
    begun: so each part begins with its share of what takes long, and ends with what is stolen in an instant.
    """

    def length(item: pytest.Item) -> int:
        if item.name in LONGEST:
            return LONGEST.index(item.name)
        return len(LONGEST) + (0 if any(part in item.path.as_posix() for part in SLOW) else 1)

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items.sort(key=length)
    slow = [item for item in items if length(item) <= len(LONGEST)]
    together = [[*some] for _, some in itertools.groupby(slow, lambda item: item.path if _of_one(item) else item)]
    fast, ordered = items[len(slow) :], []
    for worker in range(workers):
        first = [item for some in together[worker::workers] for item in some]
        rest = max(0, (len(items) - len(ordered)) // (workers - worker) - len(first))
        ordered += first + fast[:rest]
        fast = fast[rest:]
    items[:] = ordered + fast


@pytest.fixture(scope="session", autouse=True)
def runtimes(tmp_path_factory) -> Iterator[Iterator[Path]]:
    """A turn to compute for what tests share, whatever else this user computes; and one for each test."""
    folder = tmp_path_factory.getbasetemp() / "runtime"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBT_RUNTIME", str(folder))
        yield (folder / str(i) for i in itertools.count())


@pytest.fixture(autouse=True)
def runtime(runtimes, monkeypatch) -> None:
    """None waits for what another test left running."""
    monkeypatch.setenv("UBT_RUNTIME", str(next(runtimes)))


@pytest.fixture(scope="session")
def _tiny_store(tmp_path_factory) -> tuple[Store, list[str]]:
    """This session's own copy of a store with the finished tiny case, and what lies in it."""
    root = tmp_path_factory.mktemp("tiny") / "cache"
    made_once("case", lambda folder: Pipeline(Store(folder / "cache"), CPU).run(tiny()), root, part="cache")
    return Store(root), _held(root)


@pytest.fixture(scope="session")
def tiny_store(_tiny_store) -> Store:
    """A store with the finished tiny case, which all tests read and none adds to; `full` is a copy."""
    return _tiny_store[0]


@pytest.fixture(autouse=True)
def _nothing_is_added_to_what_all_read(request) -> Iterator[None]:
    """Or a test would pass or fail by which ran before it."""
    yield
    if "_tiny_store" in request.fixturenames:
        store, held = request.getfixturevalue("_tiny_store")
        added, held[:] = set(_held(store.root)) ^ set(held), _held(store.root)
        assert not added, "expected a test that leaves tiny_store as it is; give it `full`"


def _held(root: Path) -> list[str]:
    return sorted(f"{p.parent.name}/{p.name}" for name in ("artefacts", "cases") for p in (root / name).iterdir())


@pytest.fixture(scope="session")
def tiny_case(tiny_store):
    return finished(tiny_store, tiny().name(CPU))


@pytest.fixture(scope="session")
def tiny_map(tiny_case, tiny_store, tmp_path_factory):
    """A store with the tiny case alone and its map, and the map."""

    def make(folder: Path) -> None:
        store = alone(tiny_store, tiny_case.name, folder / "cache")
        derived.make(store, store.record(tiny_case.name), "map", options(store), Run(compute=CPU))

    def options(store: Store) -> dict:
        return derived.map_options(
            store.record(tiny_case.name), "joint", MapSettings(), ["poisoned", "overfit", "purified"]
        )

    root = tmp_path_factory.mktemp("mapped") / "cache"
    made_once("map", make, root, part="cache")
    store = Store(root)
    return store, derived.make(store, store.record(tiny_case.name), "map", options(store), Run(compute=CPU))


@pytest.fixture(scope="session")
def tiny_audit(tiny_case, tiny_store, tmp_path_factory):
    """A store with an audit of the tiny case's M_bd and D alone, and the audit; its images stay in the zip that it was
    made from, which all workers read.
    """

    def make(folder: Path) -> None:
        write_pairs(tiny_store, tiny_case.name, folder / "pairs.zip")
        export(tiny_store, tiny_case.name, "poison", folder / "suspect")
        store, not_own = Store(folder / "cache"), ("attack", "data", "poison", "test")
        changes = {n: v for n, v in TINY.items() if n.split(".")[0] not in not_own} | {"own.keep": 0}
        settings = audit.prepare(store, folder / "pairs.zip", str(folder / "suspect"), str(REFERENCE), None, changes)
        Pipeline(store, CPU).run(settings)

    root = tmp_path_factory.mktemp("audited") / "cache"
    kept = made_once("audit", make, root, part="cache")
    store = Store(root)
    return store, finished(store, *store.names()), kept / "pairs.zip"


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
