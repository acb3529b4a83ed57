"""What settings have in common: fields with a label, a range and a help text; JSON in and out; digests; where to compute.

A concept's own settings stand beside the concept (`ubt/stages/split.py` has `SplitSettings`). This module imports neither
torch nor any other part of the package, so that reading settings costs nothing.
"""

import dataclasses
import errno
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

REFERENCE = Path(__file__).parent / "weights" / "scenes-clip"
"""The shipped clean reference model."""
READY = Path(__file__).parent / "ready"
"""The shipped ready-made cases, laid out as a cache folder."""


class UbtError(Exception):
    """Something a user can mend: the message says what was expected, what came, and what to do."""


class BadInput(UbtError):
    """Wrong arguments, settings or paths; the command line leaves with exit code 2."""


def setting(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = (), later: bool = False
) -> Any:  # fmt: skip
    """A field of a settings class: its default, what it does (with its unit), and the values that make sense. `later`: it was added
    to a class that cases were already named by; at its default it is no part of their identity."""
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices, "later": later})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all settings: frozen, checked when made, equal after a round trip through JSON.

    Raises:
        BadInput: a value is outside its range or of the wrong type.
    """

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            _check(type(self).__name__, f, getattr(self, f.name))

    def to_dict(self) -> dict[str, Any]:
        """Every setting, groups as dictionaries."""
        return dataclasses.asdict(self)

    def to_digest(self) -> dict[str, Any]:
        """As `to_dict`, for digests: without settings, or groups of settings, added later that are at their default."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not (f.metadata.get("later") and getattr(self, f.name) == _default(f))}
        return {name: value.to_digest() if isinstance(value, Settings) else value for name, value in kept.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Settings from plain values; nested settings from nested dictionaries. Unknown names are refused."""
        known = {f.name: f for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise BadInput(f"unknown setting {name!r}; expected one of: {', '.join(known)}")
        return cls(**{n: _nested(known[n], v) for n, v in values.items()})

    def with_values(self, changes: dict[str, Any]) -> Self:
        """A copy with dotted names changed, as `{"split.fraction": 0.1}`; text is read as the field's own type."""
        tree = self.to_dict()
        for dotted, value in changes.items():
            at, owner, parts = tree, type(self), dotted.split(".")
            for part in parts[:-1]:
                owner = _field(owner, part, dotted).type
                at = at[part]
            f = _field(owner, parts[-1], dotted)
            if dataclasses.is_dataclass(f.type):
                raise BadInput(f"{dotted} is a group of settings; name one of: {', '.join(dotted + '.' + g.name for g in dataclasses.fields(f.type))}")
            at[parts[-1]] = _read(f, value, dotted)
        return type(self).from_dict(tree)


@dataclasses.dataclass(frozen=True)
class FitSettings(Settings):
    """What every fine-tune has: AdamW, linear warm-up, schedule, gradient clipping."""

    batch: int = setting(128, "pairs in a step", low=1)
    lr: float = setting(3e-4, "peak learning rate of AdamW", low=0)
    weight_decay: float = setting(0.02, "weight decay of matrices; gains and biases have none", low=0)
    warmup: float = setting(0.1, "share of the steps over which the learning rate rises", low=0, high=1)
    schedule: str = setting("cosine", "how the learning rate goes on after the warm-up", choices=("cosine", "constant"))
    clip: float = setting(1.0, "largest norm of the gradient", low=0)


def _default(f: dataclasses.Field) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _field(owner: type, name: str, dotted: str) -> dataclasses.Field:
    fields = {f.name: f for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
    if name not in fields:
        raise BadInput(f"unknown setting {dotted!r}: expected {name!r} to be one of: {', '.join(fields) or 'nothing (this is a single value)'}")
    return fields[name]


def _nested(f: dataclasses.Field, value: Any) -> Any:
    if dataclasses.is_dataclass(f.type) and isinstance(value, dict):
        return f.type.from_dict(value)
    return value


def _read(f: dataclasses.Field, value: Any, dotted: str) -> Any:
    if not isinstance(value, str) or f.type is str:
        return value
    try:
        if f.type is bool:
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return f.type(value)
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{dotted}: expected a value of type {f.type.__name__}, got {value!r}") from None


def _check(owner: str, f: dataclasses.Field, value: Any) -> None:
    name = f"{owner}.{f.name}"
    kinds = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}.get(f.type)
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and f.type is not bool)):
        raise BadInput(f"{name}: expected a value of type {f.type.__name__}, got {value!r}")
    low, high, choices = (f.metadata.get(k) for k in ("low", "high", "choices"))
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"between {low} and {high}" if low is not None and high is not None else f"at least {low}" if high is None else f"at most {high}"
        raise BadInput(f"{name}: expected a value {span} ({f.metadata['help']}), got {value}")
    if choices and value not in choices:
        raise BadInput(f"{name}: expected one of {', '.join(choices)}; got {value!r}")


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def derive_seed(seed: int, name: str) -> int:
    """The seed of one use of randomness, from the case's one seed and the use's name (63 bits)."""
    return int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:15], 16)


@dataclasses.dataclass(frozen=True)
class Compute:
    """Where models run: device `cpu` or `cuda`, and the precision of training, `fp32` or `bf16` (scores are always fp32)."""

    device: str
    precision: str


def compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `auto`: CUDA when there is one; bf16 where the hardware multiplies it faster (CUDA, CPUs with AVX512-BF16).

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
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), []))


Observe = Callable[[int, Any], dict[str, float]]
"""Called with (steps done, model) now and then while a model trains; its figures are shown, and nothing that trains sees them."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps in all, figures of this step); may raise `Cancelled`."""


def disk_full(error: Exception) -> bool:
    """Whether an error, of whichever library, says that the disk is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name with `write(temporary_path)`, then put it in place in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


class Cancelled(UbtError):
    """The user asked a run to stop; what was computed is kept and a later run resumes from it."""


CC3M, POISONS = 500_000, 1_500
"""Clean pairs and poisons of the paper's D."""


def papers(pairs: int = CC3M + POISONS, rate: float = POISONS / (CC3M + POISONS)) -> dict[str, Any]:
    """The settings of section V-A for a D of so many pairs, a share `rate` of them poisons, with every baseline as its own paper has it.

    Steps are counted from the paper's epochs: five of D for overfitting (of which Table VIII's seconds tell: two and a half times M_bd's training), five of
    D_unlearn, ten of what ABL isolates. Our form of unlearning, which the paper does not have, takes the published form's rate and steps.
    """
    k, batch = max(2, math.isqrt(pairs // 100)), 64
    unlearning = round(5 * 2 * k * k / batch)
    return {
        "data.pairs": pairs, "test.per_class": 50, "attack.rate": rate, "split.fraction": 0.01,
        "poison.epochs": 3, "poison.batch": 128, "poison.lr": 1e-6, "overfit.steps": max(1, round(5 * pairs / batch)), "overfit.batch": batch,
        "overfit.lr": 1e-6, "retain.pool": 10_000, "unlearn.steps": unlearning, "unlearn.lr": 1e-5, "published.steps": unlearning,
        "published.batch": batch, "published.lr": 1e-5,
        "isolate.steps": max(1, pairs // 128), "isolate.batch": 128, "isolate.lr": 1e-6, "isolate.fraction": 0.01,
        "abl.steps": max(1, round(10 * 0.01 * pairs / batch)), "abl.batch": batch, "abl.lr": 1e-6,
        "clean.pairs": max(2, pairs // 5), "clean.per_class": 50,
        "cleanclip.epochs": 10, "cleanclip.batch": batch, "cleanclip.lr": 1e-5, "cleanclip.weight": 1.0,
        "cleanclip.warmup": min(1.0, 50 / max(1, 10 * (pairs // 5) // batch)),
        "supervised.epochs": 10, "supervised.batch": batch, "supervised.lr": 1e-4,
        "roclip.epochs": 24, "roclip.batch": 128, "roclip.lr": 1e-6, "roclip.bank": 0.02, "roclip.every": 2,
        "locate.clusters": 1000, "locate.side": 60 / 224, "locate.top": 20,
        "control.steps": unlearning, "control.batch": 128, "control.lr": 1e-6,
        "again.pairs": max(2, pairs), "again.steps": max(1, 2 * pairs // 128), "again.lr": 1e-6, "own.templates": "80",
    }  # fmt: skip


PRESETS: dict[str, dict[str, Any]] = {"demo": {}, "paper": papers()}
"""Named changes to the defaults. `demo`: the defaults, scaled to the embedded scenes, and the attack's profile `embedded`. `paper`: CC3M's
500K pairs with 1,500 poisons, for ViT-B/32, and the attack's profile `paper`; see `papers` for a D of another size."""
