"""Where and how work runs: the device, the precision, one seed, progress, cancellation."""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ubt.core.errors import BadInput


def derive_seed(seed: int, name: str) -> int:
    """The seed of one use of randomness, from the case's one seed and the use's name (63 bits)."""
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16)


@dataclasses.dataclass(frozen=True)
class Compute:
    """Where models run: device `cpu` or `cuda`, and the precision of training, `fp32` or `bf16` (scores are always
    fp32).
    """

    device: str
    precision: str


def compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: CUDA when there is one; bf16 where the hardware multiplies it faster (CUDA, CPUs with
    AVX512-BF16).

    Torch is imported only if the machine looks as if it had an NVIDIA GPU.

    Raises:
        BadInput: the device or precision is unknown, or CUDA is asked for and absent.
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
    return Compute(chosen, precision)


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
