"""Where a case's time goes, and what share of the machine's matrix-product peak each of its stages reaches."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from ubt.cases.events import Event
from ubt.cases.pipeline import Pipeline
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.bench_runs.models import product_peak, timer
from ubt.core.run import Compute
from ubt.core.stage import TRAINED


@dataclass(frozen=True)
class Spent:
    """A stage's seconds, its floating-point operations as torch counts them, in 10^9, and the share of the peak in
    `precision` that these are.
    """

    stage: str
    seconds: float
    operations: float
    precision: str
    share: float


class _Timing:
    """The seconds of each stage between its events, what is looked at while a model trains included."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        if event.kind == "starts":
            self._began = time.perf_counter()
        elif event.kind == "done":
            self.found[event.stage] = time.perf_counter() - self._began


class _Counting:
    """The operations of each stage between its events; counting takes time, so nothing is timed meanwhile."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self._mode: FlopCounterMode | None = None

    def __call__(self, event: Event) -> None:
        if event.kind == "starts":
            self._mode = FlopCounterMode(display=False)
            self._mode.__enter__()
        elif event.kind == "done":
            self.found[event.stage] = self._mode.get_total_flops()
            self.end()

    def end(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None


def profile(settings: CaseSettings, compute: Compute) -> list[Spent]:
    """A case's stages in their order, run twice in caches of their own: once timed, once counted."""
    timing, counting = _Timing(), _Counting()
    with tempfile.TemporaryDirectory() as folder:
        Pipeline(Store(Path(folder) / "timed"), compute, watch=timing).run(settings)
        try:
            Pipeline(Store(Path(folder) / "counted"), compute, watch=counting).run(settings)
        finally:
            counting.end()
    stages = {s.name: s for s in composed(settings.own).case}
    large = 8192 if compute.device == "cuda" else 2048
    peaks = {p: product_peak(compute.device, p, timer(compute.device), large) for p in {"fp32", compute.precision}}
    found = []
    for name, took in timing.found.items():
        lower = stages[name].gives == TRAINED or stages[name].identity == "evaluate"
        precision, operations = compute.precision if lower else "fp32", counting.found[name]
        share = operations / max(took, 1e-3) / peaks[precision]
        found.append(Spent(name, took, operations / 1e9, precision, share))
    return found


def report(found: list[Spent]) -> list[list[str]]:
    """A row a stage, the longest first, and one of all."""
    total = sum(s.seconds for s in found)
    rows = [
        [s.stage, f"{s.seconds:.1f}", f"{100 * s.seconds / total:.0f}", *_reached(s)]
        for s in sorted(found, key=lambda s: -s.seconds)
    ]
    return [*rows, ["all", f"{total:.1f}", "100", f"{sum(s.operations for s in found):,.0f}", ""]]


def _reached(s: Spent) -> tuple[str, str]:
    return (f"{s.operations:,.0f}", f"{100 * s.share:.0f} % of {s.precision}") if s.operations else ("", "")
