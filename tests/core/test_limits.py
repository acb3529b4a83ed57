"""What memory or open files that ran out look like to the user."""

import errno
import os
import subprocess
import sys

import pytest

from ubt.core import limits
from ubt.core.errors import UbtError

resource = pytest.importorskip("resource")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n 1024"),
        (ImportError("libx.so: cannot open shared object file: Error 24"), "ulimit -n 1024"),
        (Exception("I/O error: Too many open files (os error 24)"), "ulimit -n 1024"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "ulimit -v"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9437184 bytes."), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -v"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "on the GPU"),
    ],
)
def test_what_ran_out_is_said_with_what_to_do(error, says):
    said = limits.ran_out(error)
    assert says in said and said.startswith("expected ") and "run again" in said


def test_what_onednn_cannot_create_under_a_limit_is_memory(monkeypatch):
    error = RuntimeError("could not create a primitive")
    assert limits.ran_out(error) == ""
    monkeypatch.setattr(resource, "getrlimit", lambda of: (5 * 10**9, resource.RLIM_INFINITY))
    assert "(the limit is 5 GB)" in limits.ran_out(error)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "No such file"), ValueError("out of memory"), UbtError("out of memory"), KeyError()]
)
def test_other_errors_are_left_alone(error):
    assert limits.ran_out(error) == ""


def limited(limit: int, most: int, *arguments: object) -> subprocess.CompletedProcess:
    """The command line where no more than so much is to be had."""
    return subprocess.run(
        [sys.executable, "-m", "ubt", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
    )


@pytest.mark.parametrize("command", [("cases", "list"), ("run",)])
def test_with_12_open_files_it_is_said_at_once_and_nothing_is_left(tmp_path, command):
    p = limited(resource.RLIMIT_NOFILE, 12, *command, "--cache", tmp_path / "cache")
    assert p.returncode == 1
    assert (
        p.stderr == "error: expected to be allowed at least 64 open files, got 12; raise the limit (ulimit -n 1024)\n"
    )
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("megabytes", [200, 1000])
def test_with_little_memory_it_is_said_without_a_traceback_and_nothing_half_is_left(tmp_path, megabytes):
    root = tmp_path / "cache"
    p = limited(resource.RLIMIT_AS, megabytes * 10**6, "run", "--pairs", 200, "--cache", root)
    assert p.returncode == 1
    assert "Traceback" not in p.stderr
    assert p.stderr.splitlines()[-1].startswith("error: expected more memory, but there is none left (the limit is ")
    assert "ulimit -v" in p.stderr
    assert not root.exists() or list((root / "work").iterdir()) == []
