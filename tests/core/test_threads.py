"""OpenMP's threads sleep while they wait, in every process of ours, unless the user says otherwise; and training and
scoring have as many as the case's name says."""

import os
import subprocess
import sys

import pytest
import torch
from tiny import tiny

from ubt import THREADS
from ubt.cases.catalog import every
from ubt.cases.keys import keys
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.store import Store
from ubt.core import run
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.core.run import Compute, compute, fixed_threads
from ubt.core.stage import Stage

TOLD = "import os; print(*(os.environ.get(n) for n in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')))"


def child(code: str, **env: str) -> str:
    clean = {n: v for n, v in os.environ.items() if n not in THREADS}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | env, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("start", ["import ubt.cli.main", "import ubt.workflows.jobs", "import ubt.ui.view"])
def test_a_process_of_ours_tells_its_threads_to_sleep_before_torch_is_loaded(start):
    order = "import sys; import ubt; assert not {'torch', 'faiss', 'sklearn', 'numba'} & set(sys.modules); "
    assert child(f"{order}{start}; {TOLD}").split() == ["PASSIVE", "0"]


def test_what_the_user_has_set_stays():
    assert child(f"import ubt; {TOLD}", OMP_WAIT_POLICY="ACTIVE").split() == ["ACTIVE", "0"]


def test_this_worker_and_what_it_starts_are_told():
    assert all(os.environ.get(name) == value for name, value in THREADS.items())


@pytest.fixture
def told(monkeypatch):
    """Sets variables, of which nothing else is set; the threads that they make."""

    def threads(**variables: str) -> int:
        for name in ("UBT_THREADS", "OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return compute("cpu", "fp32").threads

    return threads


def test_the_threads_are_what_the_user_says_or_the_cores(told, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "CPU_MAX", tmp_path / "cpu.max")
    every_core = told()
    assert 1 <= every_core <= len(os.sched_getaffinity(0))
    assert told(UBT_THREADS="7", OMP_NUM_THREADS="3") == 7
    assert told(OMP_NUM_THREADS="3") == 3 and told(OMP_NUM_THREADS="0") == every_core
    assert told(OMP_NUM_THREADS="1", LOCAL_WORLD_SIZE="2") == every_core, "torchrun sets one thread by itself"
    assert told(OMP_NUM_THREADS="3", LOCAL_WORLD_SIZE="2") == 3
    run.CPU_MAX.write_text("100000 100000\n")
    assert told() == 1
    run.CPU_MAX.write_text("max 100000\n")
    assert told() == every_core


def test_a_core_counts_once_however_many_threads_it_runs(told, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "CPU_MAX", tmp_path / "none")
    monkeypatch.setattr(run, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    assert told() == 4, "a system that does not say which threads share a core"
    for n, siblings in {0: "0-1", 1: "0-1", 2: "2-3", 5: "4-5"}.items():
        (tmp_path / f"cpu{n}/topology").mkdir(parents=True)
        (tmp_path / f"cpu{n}/topology/thread_siblings_list").write_text(siblings)
    assert told() == 3


@pytest.mark.parametrize("wrong", ["0", "two", "-1", "1.5", "9999"])
def test_a_wrong_number_of_threads_is_refused(told, wrong):
    with pytest.raises(BadInput, match="UBT_THREADS: expected a whole number between 1 and 1024"):
        told(UBT_THREADS=wrong)


def test_a_case_with_other_threads_is_another_case():
    """And one from before they were stored keeps its name."""
    names = [tiny().name(Compute("cpu", "fp32", n)) for n in (0, 1, 2)]
    made = [keys(tiny(), Compute("cpu", "fp32", n), every(), REFERENCE)["poison"] for n in (0, 1, 2)]
    assert len({*names}) == len({*made}) == 3
    assert Compute("cpu", "fp32").identity == ["cpu", "fp32"]


def test_ranks_of_a_machine_share_the_threads(monkeypatch):
    before = torch.get_num_threads()
    variables = ("LOCAL_WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
    for variable, ranks, threads, expected in zip(variables, "1244", (3, 6, 2, 8), (3, 3, 1, 2), strict=True):
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        monkeypatch.setenv(variable, ranks)
        with fixed_threads(Compute("cpu", "fp32", threads)):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == before


def test_a_stage_computes_with_the_threads_of_its_case(tmp_path, monkeypatch):
    seen, load = {}, Stage.load

    def watched(stage):
        def function(**arguments):
            seen[stage.name] = torch.get_num_threads()
            return load(stage)(**arguments)

        return function

    monkeypatch.setattr(Stage, "load", watched)
    Pipeline(Store(tmp_path), Compute("cpu", "fp32", 3)).run(tiny(data__pairs=64, select__k=2), upto("split"))
    assert seen == dict.fromkeys(("attack", "data", "score", "split"), 3)
