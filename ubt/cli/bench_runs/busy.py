"""How fast our work is beside other processes: alone, beside one and beside two that keep a core each busy, with the
waiting policy that `ubt` sets for OpenMP's threads and without it.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from typing import Any

from ubt import THREADS
from ubt.core.errors import UbtError
from ubt.core.run import processor

SPAWN = get_context("spawn")
LOADS = {"alone": 0, "beside one busy process": 1, "beside two": 2}
"""What runs at the same time, and how many processes that is."""
POLICIES: dict[str, dict[str, str]] = {
    "threads sleep (ours)": THREADS,
    "OpenMP's default": {},
    "threads spin": {"OMP_WAIT_POLICY": "ACTIVE"},
}
"""What OpenMP's threads do while they wait, and the variables that say so; the rest of `THREADS` is unset."""
SHUT_DOWN = 10.0
"""Seconds that a process gets to end before it is killed."""


@dataclass(frozen=True)
class Work:
    """A kind of work that is measured: what it counts, and a function that loads what it needs for so many of them and
    returns one pass over them.
    """

    unit: str
    prepare: Callable[[int], Callable[[], object]]


def _encoding(count: int) -> Callable[[], object]:
    import numpy as np

    from ubt.clip import models
    from ubt.data import scenes

    model = models.create(models.SCENES_CLIP, 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (count, scenes.SIZE, scenes.SIZE, 3), np.uint8)
    return lambda: models.embed_images(model, images)


def _training(count: int) -> Callable[[], object]:
    import numpy as np

    from ubt.attacks.train_backdoor import PoisonSettings
    from ubt.clip import models, training
    from ubt.core.run import compute
    from ubt.data import scenes
    from ubt.data.model_input import tokenize

    model, rng = models.create(models.SCENES_CLIP, 0), np.random.default_rng(0)
    images = rng.integers(0, 256, (count, scenes.SIZE, scenes.SIZE, 3), np.uint8)
    tokens = tokenize([f"a photo of number {i}" for i in range(count)], scenes.CONTEXT)
    batches, where = training.PairBatches(images, tokens, min(128, count), 0), compute()
    steps = count // batches.batch
    return lambda: training.fit(
        model, training.info_nce, batches, steps, PoisonSettings(), where, vocabulary=np.unique(tokens)
    )


def _drawing(count: int) -> Callable[[], object]:
    from ubt.data import scenes

    return lambda: scenes.draw_many(0, range(count), scenes.SIZE)


def _features(count: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).standard_normal((count, 128), np.float32)


def _neighbors(count: int) -> Callable[[], object]:
    from ubt.pairs.neighbors import exact

    features = _features(40 * count)
    return lambda: exact((features,), features[:count], 10)


def _map(count: int) -> Callable[[], object]:
    from ubt.core.run import Run
    from ubt.pairs.neighbors import Embedding
    from ubt.pairs.projection import MapSettings, project

    features = _features(count)
    return lambda: project({"overfit": Embedding(features)}, "image", MapSettings(), Run())


def _forest(count: int) -> Callable[[], object]:
    import pandas as pd

    from ubt.core.run import Run
    from ubt.detectors.base import DetectSettings
    from ubt.detectors.forest import forest

    features, pairs = _features(count), pd.DataFrame({"id": [str(i) for i in range(count)]})
    return lambda: forest(features, pairs, DetectSettings(), Run())


def _products(count: int) -> Callable[[], object]:
    square = _features(256) @ _features(256).T
    return lambda: [square @ square for _ in range(count)]


WORKS = {
    "train": Work("pairs", _training),
    "encode": Work("images", _encoding),
    "draw": Work("scenes", _drawing),
    "FAISS": Work("queries", _neighbors),
    "UMAP": Work("pairs", _map),
    "scikit-learn": Work("pairs", _forest),
    "BLAS": Work("products", _products),
}
"""What is measured, by name."""


def measure(
    count: int = 256,
    rounds: int = 3,
    seconds: float = 1.0,
    say: Callable[[str], None] = lambda text: None,
    names: Sequence[str] = tuple(WORKS),
) -> dict[str, Any]:
    """Every kind of work, or those of some `names`, on `count` of its items, again and again for `seconds`, under each
    policy: alone, beside one and beside two busy processes in turn, `rounds` times.

    Each policy has a process of its own in each round: OpenMP reads its variables once, and threads that spin would
    slow the other measurements even while they have nothing to do.

    Returns:
        `processor`: its name; its `cores`; `works`: name to policy to load to `rate` (items per
        second) and `ratio` (to the same round's rate alone), a value a round each.
    """
    works = {
        name: {policy: {load: {"rate": [], "ratio": []} for load in LOADS} for policy in POLICIES} for name in names
    }
    with busy_processes(max(LOADS.values())) as busy:
        for n in range(rounds):
            for name, by_policy in works.items():
                for policy, by_load in by_policy.items():
                    say(f"round {n + 1} of {rounds}: {name}, {policy}")
                    rates = _one_round(name, count, seconds, policy, busy)
                    for load, rate in rates.items():
                        by_load[load]["rate"].append(rate)
                        by_load[load]["ratio"].append(rate / rates["alone"])
    return {"processor": processor(), "cores": os.cpu_count(), "works": works}


def _one_round(name: str, count: int, seconds: float, policy: str, busy: list[Connection]) -> dict[str, float]:
    """Items per second by load."""
    found = {}
    with _child(_measure_on_request, name, count, seconds, POLICIES[policy]) as worker:
        _receive(worker)
        for load, processes in LOADS.items():
            with kept_busy(busy[:processes]):
                worker.send("measure")
                found[load] = _receive(worker)
    return found


@contextlib.contextmanager
def _child(run: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A process that runs a function with the other end of this connection, and ends with the block or with us."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_run_until_parent_ends, args=(run, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.kill()
        process.join(SHUT_DOWN)


def _run_until_parent_ends(run: Callable[..., None], connection: Connection, *arguments: object) -> None:
    """In a child: run the function, and end when the parent does, however it ends. Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        run(connection, *arguments)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[Connection]]:
    """Connections to so many processes that can keep a core busy, at the priority of this one."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_child(_spin_on_request)) for _ in range(count)]


@contextlib.contextmanager
def kept_busy(processes: list[Connection]) -> Iterator[None]:
    """Those processes keep their cores busy while inside."""
    for process in processes:
        process.send("begin")
    for process in processes:
        _receive(process)
    yield
    for process in processes:
        process.send("rest")


def alone_and_beside(processes: list[Connection]) -> Iterator[str]:
    """`alone`, and then `beside`, while those processes keep their cores busy."""
    for load, busy in (("alone", []), ("beside", processes)):
        with kept_busy(busy):
            yield load


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        raise UbtError("bench --busy: expected an answer of a process that it started, but the process ended") from None


def _spin_on_request(connection: Connection) -> None:
    while True:
        connection.recv()
        connection.send("busy")
        while not connection.poll():
            for _ in range(100_000):
                pass
        connection.recv()


def _measure_on_request(
    connection: Connection, name: str, count: int, seconds: float, policy: Mapping[str, str]
) -> None:
    """Prepare the work under a policy, then answer each request with its items per second."""
    maps = Path("/proc/self/maps")
    if maps.exists() and "libgomp" in maps.read_text():
        raise UbtError("bench --busy: expected OpenMP not to be loaded yet, for it reads its variables only then")
    for variable in THREADS:
        os.environ.pop(variable, None)
    os.environ.update(policy)
    work = WORKS[name].prepare(count)
    work()
    connection.send("ready")
    while True:
        connection.recv()
        began, passes = time.perf_counter(), 0
        while passes == 0 or time.perf_counter() - began < seconds:
            work()
            passes += 1
        connection.send(passes * count / (time.perf_counter() - began))


def report(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The measurements as rows of a table: work, policy, load, rate and ratio to alone, as median and range."""
    return [
        (name, policy, load, _spread(r["rate"], ".0f", WORKS[name].unit + "/s"), _spread(r["ratio"], ".2f"))
        for name, by_policy in found["works"].items()
        for policy, by_load in by_policy.items()
        for load, r in by_load.items()
    ]


def _spread(values: list[float], form: str, unit: str = "") -> str:
    """
    >>> _spread([3.0, 1.0, 2.0], ".0f", "images/s")
    '2 images/s (1 to 3)'
    """
    return f"{median(values):{form}}{' ' * bool(unit)}{unit} ({min(values):{form}} to {max(values):{form}})"
