"""What is left of work under way, by what a run has told."""

import numpy as np
import pytest

from ubt.cases.events import Event
from ubt.workflows.time_left import BUSY, TWO_CORES, UNSURE, Step, left, speed, undone

COSTS = {"data": 10.0, "poison": 40.0, "score": 10.0}


def told(paces: list[tuple[int, float]], total: int = 400) -> tuple[list[Event], Step]:
    """Progress of `poison` of so many steps at so many seconds each, one stretch after another; and where it is."""
    events, at, done = [], 1000.0, 0
    for steps, pace in paces:
        for _ in range(steps):
            at, done = at + pace, done + 1
            events.append(Event("progress", "poison", done, total, at - 1000.0, at=at))
    return events, Step("running", at - 1000.0, done, total)


def of(events, step, known=None, alike=0.0):
    return left(COSTS, {"data": Step("done", 9), "poison": step, "score": Step()}, events, known, alike)


def test_a_steady_stage_takes_what_it_took():
    found = of(*told([(100, 0.1)]), known=1.0)
    assert found.stage == pytest.approx((30, 30))
    assert found.whole == pytest.approx((30 + 10 / UNSURE, 30 + 10 * UNSURE))
    assert not found.busy
    assert found.said == "about 30 s left of it, about 40 s in all"


@pytest.mark.parametrize("known", [None, 1.0])
def test_a_machine_that_becomes_busy_is_said_to_be_and_both_ends_are_shown(known):
    events, step = told([(300, 0.1), (30, 1.0)], total=400)
    found = of(events, step, known)
    assert found.busy
    assert found.stage == pytest.approx((7, 70))
    slow = 1.0 / 0.1
    assert found.whole[1] == pytest.approx(70 + 10 * (known or TWO_CORES) * UNSURE * slow, rel=0.05)
    assert found.said.endswith("; the machine is busy")
    calm = of(*told([(300, 0.1), (30, 1.0), (60, 0.1)], total=500), known)
    assert calm.busy, "a few seconds ago it was"
    assert not of(*told([(100, 1.0), (300, 0.1)], total=600), known).busy


def test_a_machine_busy_from_the_start_is_told_by_earlier_cases():
    events, step = told([(100, 1.0)])
    assert not of(events, step, known=1.0).busy
    assert of(events, step, known=1.0, alike=1.0).busy
    assert not of(events, step, known=1.0, alike=400 / 40 / BUSY).busy


def test_looks_at_the_test_set_take_time_and_make_no_machine_busy():
    """They are in what is left, and not in the seconds of a stage."""
    events, step = told([(200, 0.1)])
    events = [Event("progress", "poison", e.done, 400, e.seconds, at=1000 + 2 * e.seconds) for e in events]
    found = of(events, step, known=1.0, alike=0.1 * 400 / 40)
    assert not found.busy
    assert found.stage == pytest.approx((20, 40))


def test_before_a_stage_tells_its_declared_time_counts():
    found = of([], Step("waiting"), known=2.0)
    assert found.stage is None
    assert found.whole == pytest.approx((100 / UNSURE, 100 * UNSURE))
    started = of(*told([(1, 0.1)]), known=2.0)
    assert started.stage == pytest.approx((39.9, 39.9))
    assert of([], Step("running", 0.0, 0, 400), known=2.0).stage == pytest.approx((80, 80))


def test_what_was_computed_before_an_interruption_counts_once():
    """The run that goes on tells later moments, and seconds that include the earlier ones."""
    events = [Event("progress", "poison", 200 + i, 400, 100 + i * 0.5, at=9000 + i * 0.5) for i in range(1, 41)]
    found = of(events, Step("running", 120, 240, 400), known=1.0)
    assert found.stage == pytest.approx((160 * 0.5, 160 * 0.5))


def test_what_is_left_lies_within_what_is_said_on_a_machine_that_comes_and_goes():
    """Stretches of ten seconds, each at any of the paces of a quiet and a busy machine: what comes is not known, so not
    always.
    """
    rng, within = np.random.default_rng(0), []
    for _ in range(40):
        paces = [(int(10 / p), p) for p in rng.choice([0.1, 0.15, 0.2], 12)]
        total = sum(n for n, _ in paces)
        events, step = told(paces, total)
        for at in np.linspace(total // 3, total - 20, 5).astype(int):
            seen = [e for e in events if e.done <= at]
            found = of(seen, Step("running", seen[-1].seconds, int(at), total), known=1.0)
            rest = step.seconds - seen[-1].seconds
            within.append(found.stage[0] - 5 <= rest <= found.stage[1] + 5)
    assert np.mean(within) > 0.8


def test_speed_is_of_what_is_done_and_the_rest_of_what_is_not():
    steps = {"data": Step("done", 20), "poison": Step("running", 20, 100, 400), "score": Step()}
    assert speed(COSTS, steps, 1.0) == pytest.approx(40 / 20)
    assert speed(COSTS, steps, 60) is None
    assert undone(COSTS, steps) == pytest.approx(40)
