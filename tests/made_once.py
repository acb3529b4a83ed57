"""What takes long to make and many tests read: made once on a machine, for all workers and for later runs, by whoever
needs it first.

It lies in `cache/tests`, under a digest of all that it can depend on: the package's files and what makes it here,
Python and every installed package, the processor, and what sets threads. A change of any of them makes another.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

TESTS = Path(__file__).parent
KEPT = TESTS.parent / "cache" / "tests"
MADE = "made"
"""The file that says that all of it is there; written last."""
DAY = 24 * 60 * 60
TELL_THREADS = (
    "UBT_THREADS OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS MKL_CBWR MKL_ENABLE_INSTRUCTIONS"
    " ATEN_CPU_CAPABILITY ONEDNN_MAX_CPU_ISA DNNL_MAX_CPU_ISA CUDA_VISIBLE_DEVICES"
).split()
"""Variables on which the last digits can depend."""

SEARCHED = [*sys.path]
"""Where packages are looked for: setuptools, once imported, adds a folder of its own to the path."""


def made_from() -> str:
    """The digest of everything that what is made can depend on."""
    code = [p for p in (TESTS.parent / "ubt").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    files = {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in [*code, TESTS / "conftest.py", TESTS / "tiny.py", Path(__file__)]
    }
    packages = sorted({f"{d.name} {d.version}" for d in importlib.metadata.distributions(path=SEARCHED)})
    known = ("model name", "flags", "Features", "CPU part")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    processor = sorted({line for line in lines if line.startswith(known)})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {name: os.environ.get(name) for name in TELL_THREADS}
    everything = [files, packages, sys.version, platform.machine(), processor, cores, threads]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]


NOW = made_from()
"""Taken before anything of the package is imported, so that code which changes while tests run keeps nothing."""


def made_once(name: str, make: Callable[[Path], object], copy: Path, *, part: str = "") -> Path:
    """Let `make` fill a folder unless that was done, and copy it, or a part of it, to `copy`; returns the folder, which
    is only read.
    """
    folder = KEPT / f"{name}-{NOW}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / MADE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            if made_from() == NOW:
                (folder / MADE).touch()
                _drop_old(name)
        else:
            os.utime(folder / MADE)
        shutil.copytree(folder / part, copy)
    return folder


def _drop_old(name: str) -> None:
    """Delete what was made of other code and not used for a day."""
    for mark in KEPT.glob(f"{name}-*/{MADE}"):
        if time.time() - mark.stat().st_mtime > DAY:
            try:
                with FileLock(f"{mark.parent}.lock", timeout=0):
                    shutil.rmtree(mark.parent, ignore_errors=True)
            except Timeout:
                continue
