"""What `bench --busy` measures, and that no process of its outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ubt import THREADS
from ubt.cli.bench_runs import busy

SLEEP, SPIN = {"sleep": THREADS}, {"spin": {"OMP_WAIT_POLICY": "ACTIVE"}}


def children(pid: int) -> list[int]:
    """Processes that one has started, those that have ended but are not read yet left out."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if running(int(child))]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_each_policy_and_load_has_its_figures_and_no_process_is_left(monkeypatch):
    monkeypatch.setattr(busy, "POLICIES", SLEEP | SPIN)
    before = children(os.getpid())
    found = busy.measure(count=8, rounds=1, seconds=0.05, names=["encode"])
    assert found["processor"]
    assert found["works"].keys() == {"encode"}
    for by_load in found["works"]["encode"].values():
        assert by_load.keys() == busy.LOADS.keys()
        assert by_load["alone"]["ratio"] == [1.0]
        for r in by_load.values():
            assert r["ratio"] == [r["rate"][0] / by_load["alone"]["rate"][0]]
            assert r["rate"][0] > 0
    rows = busy.report(found)
    assert [row[:3] for row in rows] == [("encode", policy, load) for policy in busy.POLICIES for load in busy.LOADS]
    assert "images/s" in rows[0][3]
    left = set(children(os.getpid())) - set(before)
    assert all(b"spawn_main" not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left)


@pytest.mark.parametrize("name", busy.WORKS)
def test_each_kind_of_work_can_be_done_again_and_again(name):
    work = busy.WORKS[name].prepare(16)
    assert work() is not None
    work()


CODE = """
import signal
from ubt.cli.bench_runs import busy
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with busy.busy_processes(2) as processes, busy.kept_busy(processes):
        print("busy", flush=True)
        input()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_busy_processes_end_with_the_one_that_started_them(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(CODE)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert parent.stdout.readline() == b"busy\n"
        started = children(parent.pid)
        assert len(started) >= 2
        parent.send_signal(number)
        parent.wait(timeout=30)
    finally:
        parent.kill()
    deadline = time.monotonic() + 30
    while (alive := [pid for pid in started if running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []
