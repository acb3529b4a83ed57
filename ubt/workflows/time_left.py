"""How long work takes: before it starts, and while it goes on as a range, from what this machine was seen to do."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ubt.cases.events import Event
from ubt.core import text

TWO_CORES = 1.7
"""Seconds that two cores take for a second that the stages declare: the default case's 80 took 138 (Intel with AMX)."""
RECENT, LEAST, LATEST = 15.0, 3.0, 4
"""Seconds of a stage's progress that tell its speed, how many are needed, and how many such stretches count for what is
to come.
"""
BUSY = 1.5
"""How many times as long as it could a stage takes where the machine is said to be busy."""
UNSURE = 1.15
"""How far the declared seconds of stages are off each other, at least."""


@dataclass(frozen=True)
class Step:
    """One stage of a case as it stands: `state` is missing, running, waiting or done; `seconds` is what it took, or has
    taken.
    """

    state: str = "missing"
    seconds: float = 0.0
    done: int = 0
    total: int = 0

    @property
    def part(self) -> float:
        """The share of it that is done."""
        return 1.0 if self.state == "done" else self.done / self.total if self.total else 0.0


@dataclass(frozen=True)
class Estimate:
    """How long some work takes. `seconds`: at the speed that was found on this machine if it is `measured`, else on two
    cores, as the stages declare.
    """

    seconds: float
    measured: bool

    @property
    def said(self) -> str:
        """
        >>> Estimate(150, True).said
        'about 2 min on this machine'
        """
        about = "" if self.seconds < 15 else "about "
        at = "on this machine" if self.measured else "on two cores; this machine has not been timed yet"
        return f"{about}{text.duration(self.seconds)} {at}"


@dataclass(frozen=True)
class Left:
    """Seconds left, from the least to the most: of the stage under way (None where it does not tell), and of all that
    is wanted; `busy`: the machine is, so that the stage takes much longer than it could.
    """

    stage: tuple[float, float] | None
    whole: tuple[float, float]
    busy: bool = False

    @property
    def said(self) -> str:
        """
        >>> Left((20, 50), (100, 420), True).said
        '20 s to 50 s left of it, 2 min to 7 min in all; the machine is busy'
        >>> Left(None, (175, 185)).said
        'about 3 min left in all'
        """
        parts = [f"{_range(*self.stage)} left of it, {_range(*self.whole)} in all"] if self.stage else []
        busy = "; the machine is busy" if self.busy else ""
        return (parts or [f"{_range(*self.whole)} left in all"])[0] + busy


def _range(low: float, high: float) -> str:
    first, last = text.duration(low), text.duration(high)
    about = "" if first == text.duration(0) else "about "
    return f"{about}{last}" if first == last else f"{first} to {last}"


def speed(costs: Mapping[str, float], steps: Mapping[str, Step], least: float) -> float | None:
    """Seconds that steps took for each second that they declare; None if less than `least` of these is done."""
    took = sum(s.seconds for s in steps.values() if s.state == "done" or s.done)
    finished = sum(costs[n] * s.part for n, s in steps.items())
    return took / finished if finished > least else None


def undone(costs: Mapping[str, float], steps: Mapping[str, Step]) -> float:
    """Seconds that the rest of some steps declares."""
    return sum(costs[n] * (1 - s.part) for n, s in steps.items())


def left(
    costs: Mapping[str, float], steps: Mapping[str, Step], told: Sequence[Event], known: float | None, alike: float
) -> Left:
    """What is left of some steps, one of which may be under way.

    Args:
        costs: declared seconds of each.
        told: what the run that is under way has told.
        known: seconds for a declared one on this machine; None where it has not been timed.
        alike: the same of the step under way in earlier cases; 0 where there is none.
    """
    usual = known or TWO_CORES
    under = next((n for n, s in steps.items() if s.state == "running" and s.total), None)
    rest = undone({n: c for n, c in costs.items() if n != under}, {n: s for n, s in steps.items() if n != under})
    if under is None:
        return Left(None, (rest * usual / UNSURE, rest * usual * UNSURE))
    step, cost = steps[under], costs[under]
    of_stage = [e for e in told if (e.kind, e.stage) == ("progress", under)]
    paces, computing = _paces(of_stage, [e.at for e in of_stage]), _paces(of_stage, [e.seconds for e in of_stage])
    overall = [step.seconds / step.done] if step.done and step.seconds else []
    each = paces[-LATEST:] + overall or [cost * (alike or usual) / step.total]
    todo = step.total - step.done
    stage = todo * min(each), todo * max(each)
    now = (computing[-1] if computing else each[0]) * step.total / cost
    could = min([p * step.total / cost for p in computing] + ([alike] if alike else []), default=now)
    busy = now > BUSY * could
    slow = now / could if busy else 1.0
    low, high = (rest * s for s in (usual / UNSURE, usual * UNSURE * slow))
    return Left(stage, (stage[0] + low, stage[1] + high), busy)


def _paces(told: Sequence[Event], clock: Sequence[float]) -> list[float]:
    """Seconds that a unit of progress took by a clock, which tells the time of each event, in one stretch of up to
    `RECENT` seconds after another, the latest last and whole.
    """
    found: list[float] = []
    last = len(told) - 1
    while last > 0:
        first = bisect.bisect_left(clock, clock[last] - RECENT, 0, last)
        span, done = clock[last] - clock[first], told[last].done - told[first].done
        if span < LEAST or done <= 0:
            break
        found.append(span / done)
        last = first
    return found[::-1]
