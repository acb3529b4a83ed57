"""OpenMP's threads sleep while they wait, in every process of ours, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

from ubt import THREADS

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
