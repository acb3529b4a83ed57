"""Where and how work runs: the device, the precision, one seed, progress, cancellation."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ubt.core.errors import BadInput


def derive_seed(seed: int, name: str) -> int:
    """The seed of one use of randomness, from the case's one seed and the use's name (63 bits)."""
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16)


@dataclasses.dataclass(frozen=True)
class Compute:
    """Where models run: device `cpu` or `cuda`, the precision of training, `fp32` or `bf16` (scores are always fp32),
    and on a CPU the number of threads, of all ranks on a machine together (0: as many as there happen to be).

    Weights and scores depend on all three, in their last digits, so that all three are part of an artefact's name.
    """

    device: str
    precision: str
    threads: int = 0

    @property
    def identity(self) -> list[str | int]:
        """What names are digests of."""
        return [self.device, self.precision, *([self.threads] if self.threads else [])]

    @property
    def processor(self) -> str:
        """The name of what computes there, on this machine."""
        if self.device == "cuda":
            import torch

            return torch.cuda.get_device_name()
        return processor()

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s'[: self.threads > 1]}" if self.threads else ""
        return f"{self.device}, training in {self.precision}{threads}"


MOST_THREADS = 1024
"""A number of threads above which somebody has mistyped."""


def compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: CUDA when there is one; bf16 where the hardware multiplies it faster (CUDA, CPUs with
    AVX512-BF16). The threads are `UBT_THREADS`, else those of OpenMP (`OMP_NUM_THREADS`), else as many as there are
    `cores`.

    Torch is imported only if the machine looks as if it had an NVIDIA GPU.

    Raises:
        BadInput: the device, precision or number of threads is unknown, or CUDA is asked for and absent.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise BadInput(f"device: expected auto, cpu or cuda; got {device!r}")
    if precision not in ("auto", "fp32", "bf16"):
        raise BadInput(f"precision: expected auto, fp32 or bf16; got {precision!r}")
    has_cuda = device != "cpu" and _cuda_works()
    if device == "cuda" and not has_cuda:
        raise BadInput("device: expected a CUDA GPU that torch can use, found none; use --device cpu")
    chosen = "cuda" if has_cuda else "cpu"
    if precision == "auto":
        precision = "bf16" if chosen == "cuda" or "avx512_bf16" in _cpu_flags() else "fp32"
    return Compute(chosen, precision, 0 if chosen == "cuda" else threads())


def threads() -> int:
    """How many threads a CPU's work has; see `compute`.

    Raises:
        BadInput: `UBT_THREADS` is no number of threads.
    """
    told = os.environ.get("UBT_THREADS", "")
    if told and not (told.isdecimal() and 1 <= int(told) <= MOST_THREADS):
        raise BadInput(f"UBT_THREADS: expected a whole number between 1 and {MOST_THREADS}, got {told!r}")
    by_openmp = os.environ.get("OMP_NUM_THREADS", "")
    if by_openmp == "1" and _ranks_here() > 1:  # torchrun has set it
        by_openmp = ""
    return int(told) if told else int(by_openmp) if by_openmp.isdecimal() and int(by_openmp) else cores()


def _ranks_here() -> int:
    told = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE", "")
    return int(told) if told.isdecimal() and int(told) else 1


def cores() -> int:
    """How many processor cores this process may use: of the machine's, those it is bound to, each once however many
    threads it runs, and no more than its control group's share of time.
    """
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    count = len(processors)
    with contextlib.suppress(OSError):
        count = len({(TOPOLOGY / f"cpu{n}/topology/thread_siblings_list").read_text() for n in processors})
    with contextlib.suppress(OSError, ValueError):
        quota, period = CPU_MAX.read_text().split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


TOPOLOGY = Path("/sys/devices/system/cpu")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds that a control group may compute, and in how many; or that there is no limit."""


@contextlib.contextmanager
def fixed_threads(where: Compute) -> Iterator[None]:
    """While inside, torch computes with as many threads as `where` says, divided among the ranks of this machine."""
    if not where.threads:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, where.threads // _ranks_here()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cuda_works() -> bool:
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or os.name == "nt"):
        return False
    import torch

    return torch.cuda.is_available()


def _cpu_flags() -> set[str]:
    return set(_cpuinfo("flags").split())


UNKNOWN = "unknown processor"


def processor() -> str:
    """The processor's name, as the system tells it; `UNKNOWN` where it does not."""
    return _cpuinfo("model name") or UNKNOWN


def _cpuinfo(field: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(field)), "")


Observe = Callable[[int, Any], dict[str, float]]
"""Called with (steps done, model) now and then while a model trains; its figures are shown, and nothing that trains
sees them.
"""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps in all, figures of this step); may raise `Cancelled`."""


def silent(done: int, total: int, figures: dict[str, float]) -> None:
    """Progress that nobody watches."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a stage is given beside its inputs and settings: the case's seed, where to compute, whom to tell, a folder
    of its own for checkpoints (None: it keeps none), and in a lab case somebody who looks on while a model trains."""

    seed: int = 0
    compute: Compute = Compute("cpu", "fp32")
    progress: Progress = silent
    scratch: Path | None = None
    observe: Observe | None = None
