"""Jobs as a user meets them: started, joined, cancelled, killed, resumed."""

import itertools
import re
import time

import pytest
from tiny import CPU, put_results, tiny

from ubt.cases import events
from ubt.cases.catalog import CASE, every
from ubt.cases.cost_model import cost
from ubt.cases.pipeline import create, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import locks
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Compute
from ubt.workflows import jobs, time_left


def wait(store: Store, name: str, until, limit: float = 180.0) -> jobs.Status:
    """The first status for which `until` holds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        status = jobs.status(store, name)
        if until(status):
            return status
        time.sleep(0.02)
    raise AssertionError(f"expected the job to get there within {limit} s, it stands at {status}")


def owner(store: Store, name: str) -> int:
    return int(re.search(r"process (\d+)", (store.root / "work" / f"{name}.owner").read_text())[1])


def stopped(status: jobs.Status) -> bool:
    return not status.running


def test_a_second_run_joins_and_cancel_keeps_what_is_finished(tmp_path):
    store = Store(tmp_path)
    name = create(store, tiny(data__pairs=200, poison__epochs=900), CPU)
    assert jobs.start(store, name) is True
    assert jobs.start(store, name) is False
    status = wait(store, name, lambda s: s.steps["poison"].done > 2)
    assert status.current == "poison"
    assert 0 < status.share < 1
    assert 0 < status.left.whole[0] < status.left.whole[1]
    with pytest.raises(UbtError, match="being run by process"):
        store.delete(name)
    jobs.cancel(store, name)
    assert wait(store, name, stopped).state == "cancelled"
    assert {"data", "score"} <= set(jobs.status(store, name).finished)
    assert not store.cancel_flag(name).exists()
    assert list(store.root.glob("work/poison-*/checkpoint.safetensors"))
    jobs.cancel(store, name)
    assert not store.cancel_flag(name).exists()


def test_one_stage_and_what_it_needs(tmp_path):
    store = Store(tmp_path)
    name = create(store, tiny(data__pairs=200), CPU)
    jobs.start(store, name, "score")
    status = wait(store, name, stopped)
    assert status.state == "partial"
    assert set(status.finished) == {"attack", "data", "score"}
    with pytest.raises(UbtError, match="unknown stage 'nosuch'"):
        jobs.start(store, name, "nosuch")


def test_what_a_job_cannot_do_is_said(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(BadInput, match="may have been deleted"):
        jobs.start(store, "badnet-0-00000000")
    name = create(store, tiny(attack__rate=1.0), CPU)
    jobs.start(store, name)
    status = wait(store, name, stopped)
    assert status.state == "failed"
    assert "expected at most" in status.error
    create(store, tiny(attack__rate=1.0), CPU)
    assert store.record(name).state == "failed"


def test_a_job_for_which_there_is_too_little_memory_says_so(tmp_path):
    (tmp_path / "work").mkdir()
    said = "Traceback:\nImportError: libtorch_cpu.so: failed to map segment from shared object\n"
    (tmp_path / "work" / "import-0.log").write_text(said)
    assert jobs.failure(Store(tmp_path), "import-0").startswith("expected more memory")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        '{"schema": 99, "settings": {}, "state": "done", "artefacts": {}}',
        '{"settings": {"nosuch": 1}, "state": "done", "artefacts": {}}',
    ],
)
def test_a_record_that_cannot_be_read_is_damaged(tmp_path, content):
    store = Store(tmp_path)
    name = create(store, tiny(), CPU)
    (tmp_path / "cases" / name / "case.json").write_text(content)
    assert jobs.status(store, name).state == "damaged"
    assert "delete" in jobs.status(store, name).error
    assert name in store.names()


def test_a_finished_case_that_lost_a_step_is_no_longer_finished(tiny_case, tiny_store, tmp_path):
    import shutil

    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    store = Store(root)
    assert jobs.status(store, tiny_case.name).state == "done"
    shutil.rmtree(root / "artefacts" / tiny_case.artefacts["judge"].path.name)
    assert jobs.status(store, tiny_case.name).state == "partial"


def test_cases_of_two_caches_take_turns_to_compute(tmp_path):
    stores = [Store(tmp_path / name) for name in ("a", "b")]
    cases = [(store, create(store, tiny(seed=s, data__pairs=200), CPU)) for s, store in enumerate(stores)]
    with locks.hold(locks.turn("cpu")):
        for case in cases:
            jobs.start(*case, "score")
        for case in cases:
            assert wait(*case, lambda s: s.current == "attack").steps["attack"].state == "waiting"
    for case in cases:
        assert wait(*case, stopped).state == "partial"
    spans = []
    for store, name in cases:
        told = {(e.kind, e.stage): e for e in events.read(store.journal(name))}
        for stage in ("attack", "data", "score"):
            starts = told["starts", stage].at
            spans.append((starts, starts + told["done", stage].seconds))
    spans.sort()
    clocks = 0.01
    assert all(before[1] <= after[0] + clocks for before, after in itertools.pairwise(spans))


def test_the_estimate_knows_every_stage_that_takes_time(tmp_path):
    """By what they took on the machine that made the built-in case."""
    store = Store(tmp_path)
    artefacts = {
        s: key for s, key in store.record("ready-badnet").artefacts.items() if s in {stage.name for stage in CASE}
    }
    seconds = {s: store.open(key).manifest["seconds"] for s, key in artefacts.items()}
    slow = {s for s, took in seconds.items() if took > 0.02 * sum(seconds.values())}
    assert {"poison", "score", "evaluate_poisoned"} <= slow
    assert slow <= {s.name for s in every() if s.cost(CaseSettings()) > 0.1}


def test_what_remains_is_of_what_is_missing_and_each_step_counts_once(full, tiny_case):
    def left(*until: str | None) -> float:
        return jobs.remaining(full, [(tiny(), CPU, u) for u in until]).seconds

    assert left(None, "evaluate_purified") == 0
    assert 0 < left("control") < left("evaluate_control")
    assert left("control", "evaluate_control") == pytest.approx(left("evaluate_control"), rel=0.05)
    assert left("evaluate_control", "evaluate_cleanclip") > left("evaluate_cleanclip")


def test_an_estimate_is_at_the_speed_of_what_this_cache_has_computed_else_on_two_cores(tmp_path):
    store, work = Store(tmp_path), [(tiny(seed=2), CPU, None)]
    declared = jobs.remaining(store, work)
    assert not declared.measured
    assert "has not been timed yet" in declared.said
    before = CaseSettings()
    stages = upto("evaluate_poisoned")
    took = {s.name: 3 * cost(s.name, before) for s in stages}
    create(store, before, CPU)
    for s in stages:
        put_results(store, before, s.name, {}, seconds=took[s.name])
    found = jobs.remaining(store, work)
    assert found.measured
    assert found.seconds == pytest.approx(3 * declared.seconds / time_left.TWO_CORES)
    assert found.said.endswith("on this machine")
    assert not jobs.remaining(store, [(tiny(), Compute("cuda", "bf16"), None)]).measured
    half = jobs.remaining(store, [(before.with_values({"unlearn.steps": 7}), CPU, None)])
    assert half.measured
    assert half.seconds < jobs.remaining(store, [(CaseSettings().with_values({"seed": 9}), CPU, None)]).seconds


def test_nothing_of_a_job_is_in_the_record_of_another(tmp_path):
    store = Store(tmp_path)
    a, b = (create(store, tiny(seed=s), CPU) for s in (1, 2))
    before = store.record(b)
    jobs.start(store, a, "attack")
    wait(store, a, stopped)
    assert store.record(b) == before


def test_several_cases_up_to_a_stage(tmp_path):
    store = Store(tmp_path)
    names = [create(store, tiny(seed=seed), CPU) for seed in (1, 2)]
    with pytest.raises(BadInput, match="unknown stage 'nosuch'"):
        jobs.start_each(store, "figure-x", [(names[0], "nosuch")])
    assert jobs.start_each(store, "figure-x", [(name, "attack") for name in names])
    wait(store, names[1], lambda s: s.state == "partial")
    for name in names:
        assert jobs.status(store, name).finished == ("attack",)
        assert jobs.status(store, name, "attack").share == 1
        assert jobs.status(store, name).share < 1


def test_several_cases_in_one_process(tmp_path):
    """One of them fails; cancelled, it stops and says nothing wrong; started again, it goes on."""
    store = Store(tmp_path)
    names = [create(store, tiny(data__pairs=200, poison__epochs=1, attack__rate=rate), CPU) for rate in (0.05, 1.0)]
    work = [(name, "score_poisoned") for name in names]
    assert jobs.start_each(store, "table-x", work)
    assert not jobs.start_each(store, "table-x", work)
    wait(store, names[0], lambda s: s.steps["poison"].state != "missing")
    assert jobs.cancel(store, "table-x")
    deadline = time.monotonic() + 60
    while store.held("table-x") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jobs.status(store, names[0]).state == "cancelled"
    assert jobs.status(store, names[1]).state == "new"
    assert not store.cancel_flag("table-x").exists()
    assert jobs.start_each(store, "table-x", work)
    wait(store, names[1], lambda s: s.state == "failed")
    assert "score_poisoned" in jobs.status(store, names[0]).finished
    with pytest.raises(BadInput, match="may have been deleted"):
        jobs.start_each(store, "table-x", [("badnet-0-00000000", None)])
