"""Several processes, one a GPU or a share of a CPU, that do one run's work, as `torchrun` starts them.

Rank 0 runs the command and alone writes. Once a stage of its trains or encodes, the other ranks run the same stage on
the same inputs, read from the cache: each encodes its share of every batch, features are gathered, and gradients
averaged, so that every rank's loss is that of the whole batch, and so are the gradients. With one process, or outside
of such a stage, everything here passes through what it is given.
"""

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ubt.core.errors import BadInput, UbtError
from ubt.core.log import log
from ubt.core.run import Compute, Run, fixed_threads
from ubt.core.stage import function_named

if TYPE_CHECKING:
    import torch

NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` tells each of its processes."""
HOW = "start it as `torchrun --nproc-per-node=N -m ubt ...`"
TOGETHER = ("run", "audit", "measure", "table", "figure", "sweep")
"""The commands that several ranks can share."""
MEETING, WAITING = timedelta(minutes=5), timedelta(days=1)
"""How long ranks wait for one another at the start, and while rank 0 does what it does alone."""


class RankLost(UbtError):
    """Another rank has ended, so that the run cannot go on."""


@dataclass(frozen=True)
class Work:
    """A stage as a rank runs it, as it is sent to each: its function's name, how to read each of its inputs, its
    settings if it has any.
    """

    function: str
    inputs: Mapping[str, Callable[[], Any]]
    settings: Mapping[str, Any]
    run: Run

    def __call__(self) -> None:
        fits(self.run.compute)
        with fixed_threads(self.run.compute):
            function_named(self.function)(
                **{name: read() for name, read in self.inputs.items()}, **self.settings, run=self.run
            )


@dataclass
class Ranks:
    """This process among the others. `places`: host and process of each rank; `work`: a stage that the others can be
    asked to share; `shared`: whether one is under way; `failed`: whether all know that it failed; `broken`: whether
    some rank can no longer be reached.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    places: list[tuple[str, int]] = field(default_factory=list)
    work: Work | None = None
    shared: bool = False
    failed: bool = False
    broken: bool = False


ranks = Ranks()
"""Of this process; alone until `join`."""


def join(command: str) -> None:
    """Meet the other ranks, if the environment names any.

    Raises:
        BadInput: it names them in part only, or the command is one that a single process runs. UbtError: they cannot be
            reached.
    """
    global ranks
    size = _number("WORLD_SIZE") if os.environ.get("WORLD_SIZE") else 1
    if size <= 1:
        return
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        raise BadInput(
            f"WORLD_SIZE is {size}: expected {', '.join(NEEDED)} to be set, found no {', '.join(missing)}; {HOW}, or"
            " unset WORLD_SIZE"
        )
    if command not in TOGETHER:
        raise BadInput(
            f"expected one of {', '.join(TOGETHER)}, which several processes can share, got {command or 'no command'};"
            " run it without torchrun"
        )
    import torch
    import torch.distributed as dist

    rank = _number("RANK")
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, timeout=MEETING)
        group = dist.new_group(timeout=WAITING, backend=backend)
        places: list[Any] = [None] * size
        dist.all_gather_object(places, (socket.gethostname(), os.getpid()), group=group)
    except (RuntimeError, ValueError) as e:
        at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UbtError(
            f"rank {rank} of {size}: expected to meet the other ranks at {at}, did not"
            f" ({str(e).splitlines()[0][:200]}); {HOW}"
        ) from None
    ranks = Ranks(rank, size, group, places)


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise BadInput(
            f"{name}: expected a whole number, as torchrun sets it, got {os.environ[name]!r}; {HOW}, or unset it"
        ) from None


def count() -> int:
    """How many ranks the run has."""
    return ranks.size


def is_first() -> bool:
    """Whether this rank is 0, which runs the command and alone writes."""
    return ranks.rank == 0


def size() -> int:
    """How many ranks share the work under way."""
    return ranks.size if ranks.shared else 1


def fits(where: Compute) -> None:
    """Take this rank's own GPU, where there is to be one.

    Raises:
        BadInput: this machine has more ranks than GPUs.
    """
    if ranks.size == 1 or where.device != "cuda":
        return
    import torch

    own, here, have = _number("LOCAL_RANK"), int(os.environ.get("LOCAL_WORLD_SIZE", 0)), torch.cuda.device_count()
    if max(own + 1, here) > have:
        raise BadInput(
            f"{socket.gethostname()}: expected a GPU for each of its {max(own + 1, here)} ranks, found {have}; lower"
            " --nproc-per-node, or use --device cpu"
        )
    torch.cuda.set_device(own)


def serve() -> None:
    """What a rank other than 0 does: run what rank 0 shares, until it says that there is no more. Signals are left to
    rank 0.

    Raises:
        RankLost: rank 0, or another, has ended.
    """
    log.setLevel(logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while (work := _told(None)) is not None:
        ranks.shared = True
        try:
            with _ending():
                work()
        except RankLost:
            raise
        except UbtError:
            pass
        except Exception:
            log.exception("rank %d of %d", ranks.rank, ranks.size)


def leave() -> None:
    """Part from the others: rank 0 tells them that there is no more to do."""
    global ranks
    if ranks.group is None:
        return
    import torch.distributed as dist

    with contextlib.suppress(UbtError):
        if is_first() and not ranks.broken:
            _told(None)
    with contextlib.suppress(RuntimeError):
        dist.destroy_process_group()
    ranks = Ranks()


@contextlib.contextmanager
def offered(work: Work) -> Iterator[None]:
    """While inside, rank 0 runs a stage, which the others are asked to run as well from where it first trains or
    encodes.

    Raises:
        UbtError: it failed on another rank. RankLost: another rank has ended.
    """
    ranks.work = work if ranks.group is not None else None
    try:
        with _ending():
            yield
    finally:
        ranks.work = None


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """All ranks end the stage under way together, or all learn that it failed on one of them."""
    try:
        yield
        if ranks.shared:
            agree()
    except BaseException as e:
        if ranks.shared and not ranks.failed and not ranks.broken:
            agree(e)
        raise
    finally:
        ranks.shared = ranks.failed = False


def begin() -> None:
    """From here on the work is shared, if there is somebody to share it."""
    if ranks.work is not None:
        work, ranks.work = ranks.work, None
        _told(work)
        ranks.shared = True


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While inside, this rank does everything by itself, in the midst of shared work."""
    before, ranks.shared = ranks.shared, False
    try:
        yield
    finally:
        ranks.shared = before


def read(images: Any, rows: np.ndarray) -> np.ndarray:
    """Images uint8 (rows, H, W, 3); those that other ranks are to encode are not read but left black."""
    if size() == 1:
        return images[rows]
    own, out = np.unique(share(len(rows))), np.zeros((len(rows), *images.shape[1:]), np.uint8)
    out[own] = images[rows[own]]
    return out


def spread(encode: Callable[["torch.Tensor"], "torch.Tensor"], batch: "torch.Tensor") -> "torch.Tensor":
    """`encode(batch)`, rows (n, ...) to rows (n, ...), each rank encoding its share. Gradients reach this rank's own
    rows alone, times the number of ranks, so that `average` makes them those of the whole batch. A share that is short
    is filled with the last row.
    """
    if size() == 1:
        return encode(batch)
    import torch
    import torch.distributed as dist

    own = encode(batch[torch.from_numpy(share(len(batch))).to(batch.device)])
    parts = [torch.empty_like(own) for _ in range(ranks.size)]
    agree()
    with _reaching():
        dist.all_gather(parts, own.detach().contiguous(), group=ranks.group)
    parts[ranks.rank] = own.clone()
    if own.requires_grad:
        parts[ranks.rank].register_hook(lambda gradient: gradient * ranks.size)
    return torch.cat(parts)[: len(batch)]


def share(n: int) -> np.ndarray:
    """This rank's rows (m,) of a batch of `n`, as many on every rank: where they do not divide, the last repeats."""
    each = -(-n // ranks.size)
    return np.minimum(np.arange(ranks.rank * each, (ranks.rank + 1) * each), n - 1)


def average(tensors: Iterable["torch.Tensor | None"]) -> None:
    """Replace each, of any shape, by its mean over the ranks, in place."""
    if size() == 1:
        return
    import torch
    import torch.distributed as dist

    found = [t for t in tensors if t is not None]
    agree()
    with _reaching():
        for under_way in [dist.all_reduce(t, group=ranks.group, async_op=True) for t in found]:
            under_way.wait()
    torch._foreach_div_(found, ranks.size)


def part(items: Sequence[Any]) -> Sequence[Any]:
    """This rank's part of some items, none of them another's."""
    each = -(-len(items) // size())
    return items[ranks.rank * each : (ranks.rank + 1) * each] if size() > 1 else items


def total(array: np.ndarray) -> np.ndarray:
    """The sum over the ranks of arrays, fp32 of any shape, that are zero but for each rank's own part, in place."""
    if size() == 1:
        return array
    import torch
    import torch.distributed as dist

    agree()
    with _reaching():
        dist.all_reduce(torch.from_numpy(array), group=ranks.group)
    return array


def from_first(value: Callable[[], Any]) -> Any:
    """What rank 0 makes, on every rank."""
    if size() == 1:
        return value()
    made = value() if is_first() else None
    agree()
    return _told(made)


def _told(value: Any) -> Any:
    import torch.distributed as dist

    box = [value]
    with _reaching():
        dist.broadcast_object_list(box, src=0, group=ranks.group, device="cpu")
    return box[0]


def agree(error: BaseException | None = None) -> None:
    """Every rank says that it is well, or why it is not; comes before whatever ranks exchange, so that none waits for
    one that has given up.

    Raises:
        UbtError: another rank is not well.
    """
    import torch.distributed as dist

    errors: list[str | None] = [None] * ranks.size
    with _reaching():
        dist.all_gather_object(
            errors, error and (str(error) if isinstance(error, UbtError) else repr(error)), group=ranks.group
        )
    failed = {rank: why for rank, why in enumerate(errors) if why is not None}
    if failed:
        ranks.failed = True
        if error is None:
            rank = min(failed)
            raise UbtError(f"rank {rank} of {ranks.size}: {failed[rank]}")


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except RuntimeError as e:
        ranks.broken = True
        raise RankLost(farewell(lost(2.0), str(e))) from None


def farewell(gone: list[int], why: str = "") -> str:
    """What to say when ranks have ended, or else of one on another machine that no longer answers, with the reason
    there is.
    """
    who = ", ".join(
        f"rank {rank} of {ranks.size} (process {ranks.places[rank][1]} on {ranks.places[rank][0]})" for rank in gone
    )
    ended = (
        f"{who} has ended"
        if gone
        else (
            f"one of the {ranks.size} ranks, on another machine, can no longer be reached ({why.splitlines()[0][:200]})"
        )
    )
    return f"{ended}; finished stages and the last checkpoint are kept: the same command goes on from there"


def lost(wait: float = 0.0) -> list[int]:
    """The ranks of this machine whose process has ended, or ends within `wait` seconds."""
    deadline, here = time.monotonic() + wait, socket.gethostname()
    while True:
        gone = [rank for rank, (host, process) in enumerate(ranks.places) if host == here and _ended(process)]
        if gone or time.monotonic() >= deadline:
            return gone
        time.sleep(0.05)


def _ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return Path("/proc/self/stat").exists()
