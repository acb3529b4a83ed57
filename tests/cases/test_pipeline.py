"""The composition: caching, resume, damage, locks, cancel, and that the truth stays with the judge."""

import json
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest
from tiny import BRIEF, CPU, begun, fingerprints, tiny

from ubt.attacks import ATTACKS
from ubt.cases import events as journal
from ubt.cases.catalog import CASE, every
from ubt.cases.keys import keys
from ubt.cases.pipeline import Pipeline, create, run_each, standing, upto
from ubt.cases.store import Store
from ubt.core import files
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import REFERENCE
from ubt.data.scenes import CLASSES
from ubt.data.scenes.captions import TEMPLATES, from_template
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS
from ubt.evaluation import judge
from ubt.workflows import jobs


def computed(store, settings, **kwargs) -> list[str]:
    """The stages that a run computes, as opposed to finding them."""
    events = []
    Pipeline(store, CPU, watch=events.append, **kwargs).run(settings)
    return [e.stage for e in events if e.kind == "done"]


def test_a_case_has_figures_of_every_kind(tiny_store, tiny_case):
    m = tiny_store.case(tiny_case.name).metrics
    for model in ("clean", "poisoned", "purified", "published"):
        assert {"ca", "asr", "asr_all", "ra", "target_recall"} <= set(m[model])
    assert m["clean"]["ca"] > 90
    assert set(m["split"]) == {"fraction", "recall"}
    assert set(m["select"]) == {"k", "groups", "precision", "auroc"}
    assert {"answer", "score", "threshold", "checks"} <= set(m["verdict"])
    assert set(m["seconds"]) == {s.name for s in CASE}


def test_the_second_run_computes_nothing(tiny_store, tiny_case):
    assert computed(tiny_store, tiny()) == []


def test_running_a_few_stages_of_a_finished_case_forgets_nothing(tiny_store, tiny_case):
    before = tiny_store.record(tiny_case.name)
    Pipeline(tiny_store, CPU).run(tiny(), CASE[:3])
    after = tiny_store.record(tiny_case.name)
    assert after == before.changed(updated=after.updated)


def test_running_a_few_stages_of_an_outdated_case_does_not_pass_its_old_figures_off_as_new(tmp_path):
    store = Store(tmp_path)
    name = create(store, tiny(), CPU)
    record = store.record(name)
    store.save_case(name, record.changed(state="done", metrics={}, artefacts=record.artefacts | {"mask": "mask-0"}))
    assert standing(store, tiny(), CPU)[0] == "outdated"
    Pipeline(store, CPU).run(tiny(), upto("attack"))
    assert standing(store, tiny(), CPU)[0] == "partial"
    assert store.record(name).metrics is None


def test_several_cases_up_to_a_stage(tmp_path):
    store, cases = Store(tmp_path), [tiny(seed=seed) for seed in (1, 2)]
    assert standing(store, cases[0], CPU, until="attack")[0] == "to do"
    with pytest.raises(BadInput, match="unknown stage 'nosuch'"):
        run_each(store, [(cases[0], CPU, "nosuch")])
    assert run_each(store, [(case, CPU, "attack") for case in cases]) == {}
    assert {path.name.split("-")[0] for path in (tmp_path / "artefacts").iterdir()} == {"attack"}
    for case in cases:
        assert standing(store, case, CPU)[0] == "partial"
        assert standing(store, case, CPU, until="attack")[0] == "done"
        assert standing(store, case, CPU, until="data")[0] == "partial"


def test_a_stage_is_done_when_its_results_are_there_whatever_the_record_says(tiny_store, tiny_case, tmp_path):
    (tmp_path / "artefacts").mkdir()
    for artefact in tiny_case.artefacts.values():
        (tmp_path / "artefacts" / artefact.path.name).symlink_to(artefact.path)
    store = Store(tmp_path)
    assert standing(store, tiny(), CPU, until="score_overfit") == ("done", store.record(tiny_case.name))
    assert standing(store, tiny(select__k=5), CPU, until="score_overfit")[0] == "done"
    assert standing(store, tiny(select__k=5), CPU, until="select")[0] == "to do"
    store.save_case(tiny_case.name, tiny_store.record(tiny_case.name).changed(state="failed"))
    assert standing(store, tiny(), CPU, until="score_overfit")[0] == "done"
    (tmp_path / "artefacts" / tiny_case.artefacts["attack"].path.name).unlink()
    assert standing(store, tiny(), CPU, until="score_overfit")[0] == "failed"
    store.save_case(tiny_case.name, tiny_store.record(tiny_case.name).changed(state="done"))
    assert standing(store, tiny(), CPU, until="score_overfit")[0] == "partial"


def test_what_is_run_beyond_a_finished_case_leaves_it_finished(full, monkeypatch):
    name, before = tiny().name(CPU), full.record(tiny().name(CPU))
    Pipeline(full, CPU).run(tiny(), upto("detect_k_distance"))
    record = full.record(name)
    assert (record.state, record.metrics) == ("done", before.metrics)
    assert set(record.artefacts) == {*before.artefacts, "detect_k_distance"}
    full.prune()
    assert standing(full, tiny(), CPU, until="detect_k_distance")[0] == "done"

    def fails(*given, **named):
        raise UbtError("no room for neighbours")

    with monkeypatch.context() as m:
        m.setattr("ubt.detectors.density.slof", fails)
        assert run_each(full, [(tiny(), CPU, "detect_slof"), (tiny(), CPU, "detect_forest")]) == {
            f"{name}, detect_slof": "no room for neighbours"
        }
    assert standing(full, tiny(), CPU)[0] == jobs.status(full, name).state == "done"
    assert [standing(full, tiny(), CPU, until=f"detect_{d}")[0] for d in ("slof", "forest", "k_distance", "dao")] == [
        "failed",
        "done",
        "done",
        "partial",
    ]
    assert jobs.status(full, name).share == 1
    Pipeline(full, CPU).run(tiny(), upto("detect_slof"))
    assert full.record(name).errors == {}
    assert {"detect_k_distance", "detect_forest", "detect_slof"} <= set(full.record(name).artefacts)


def test_a_failed_cell_stays_failed_and_no_other_is_said_to_have(full, monkeypatch):
    """Also of a case that was never run to its end, whose own state the next run overwrites."""
    name, cells = tiny().name(CPU), ("detect_slof", "detect_forest", "detect_dao")
    full.save_case(name, full.record(name).changed(metrics=None, state="partial"))

    def states() -> list[str]:
        return [standing(full, tiny(), CPU, until=until)[0] for until in cells]

    def fails(*given, **named):
        raise UbtError("no room for neighbours")

    with monkeypatch.context() as m:
        m.setattr("ubt.detectors.density.slof", fails)
        run_each(full, [(tiny(), CPU, "detect_slof")])
    assert (states(), full.record(name).state) == (["failed", "partial", "partial"], "failed")
    run_each(full, [(tiny(), CPU, "detect_forest")])
    assert states() == ["failed", "done", "partial"]
    assert full.record(name).errors["detect_slof"].error == "no room for neighbours"
    Pipeline(full, CPU).run(tiny(), upto("detect_slof"))
    assert (states(), full.record(name).errors) == (["done", "done", "partial"], {})
    full.set_aside(full.record(name).artefacts["score_poisoned"])
    with monkeypatch.context() as m:
        m.setattr("ubt.clip.score.score", fails)
        run_each(full, [(tiny(), CPU, "score_poisoned")])
    assert states() == ["failed"] * 3


def test_another_k_retrains_nothing_and_going_back_is_free(full, tiny_case):
    done = computed(full, tiny(select__k=5))
    assert "select" in done
    assert not {
        "attack",
        "data",
        "score",
        "poison",
        "split",
        "overfit",
        "score_overfit",
        "evaluate_clean",
        "evaluate_poisoned",
    } & set(done)
    assert computed(full, tiny(select__k=5)) == []
    assert computed(full, tiny()) == []


def test_what_a_setting_reaches():
    def names(**changes):
        return keys(tiny(**changes), CPU, CASE, REFERENCE)

    base = names()

    def differ(**changes):
        return {s for s, key in names(**changes).items() if key != base[s]}

    assert differ(split__fraction=0.2) >= {"split", "overfit", "unlearn"}
    assert not differ(split__fraction=0.2) & {"data", "score", "poison"}
    assert differ(published__steps=5) == {"unlearn_published", "evaluate_published"}
    assert differ(test__per_class=3) == {"test", *(s for s in base if s.startswith("evaluate")), "diagnose"}
    assert differ(seed=1) == set(base)


def test_cancelled_anywhere_it_goes_on_to_the_same_result(tiny_case, tmp_path):
    store, stopped = Store(tmp_path), []
    begun(store, tiny_case, "poison", "overfit", "score_inside", "unlearn", "judge")
    for stage, at in (("poison", 9), ("overfit", 3), ("unlearn", 4)):
        events = []
        run = Pipeline(
            store,
            CPU,
            watch=events.append,
            cancelled=lambda e=events, s=stage, a=at: bool(e) and e[-1].stage == s and e[-1].done == a,
        )
        with pytest.raises(Cancelled):
            run.run(tiny())
        stopped.append(events[-1].stage)
        assert store.cases()[tiny().name(CPU)].state == "cancelled"
    assert stopped == ["poison", "overfit", "unlearn"]
    took = max(e.seconds for e in journal.read(store.journal(tiny().name(CPU))) if e.stage == "unlearn")
    events = []
    resumed = Pipeline(store, CPU, watch=events.append).run(tiny())
    first = next(e for e in events if e.stage == "unlearn" and e.kind == "progress")
    assert first.done == 5
    assert first.seconds > took, "what was spent before the cancel counts"
    assert resumed.artefacts["unlearn"].manifest["seconds"] > first.seconds
    assert fingerprints(resumed) == fingerprints(tiny_case)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b"", lambda b: bytes([b[0] ^ 1]) + b[1:-1] + bytes([b[-1] ^ 1])]
)
@pytest.mark.parametrize(
    "where",
    [
        "score_inside/similarity.parquet",
        "unlearn/model/open_clip_model.safetensors",
        "verdict/manifest.json",
        "judge/detection.json",
    ],
)
def test_a_damaged_artefact_is_said_set_aside_and_made_again(tiny_case, tiny_store, tmp_path, caplog, damage, where):
    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    store, (stage, name) = Store(root), where.split("/", 1)
    path = root / "artefacts" / tiny_case.artefacts[stage].path.name / name
    path.write_bytes(damage(path.read_bytes()))
    purified = root / "artefacts" / tiny_case.artefacts["evaluate_purified"].path.name
    shutil.rmtree(purified)
    shutil.rmtree(root / "artefacts" / tiny_case.artefacts["select"].path.name)
    again = Pipeline(store, CPU).run(tiny())
    assert "expected" in caplog.text
    assert "made again" in caplog.text
    same = fingerprints(again)
    assert same == fingerprints(tiny_case)


def test_a_running_case_refuses_a_second_run_and_says_who_has_it(tmp_path):
    store, settings = Store(tmp_path), tiny()
    with store.lock(settings.name(CPU), wait=0), pytest.raises(UbtError, match="being run by process"):
        Pipeline(Store(tmp_path), CPU).run(settings)


def test_two_cases_that_share_a_step_compute_it_once(tmp_path):
    stages = CASE[:2]
    done = []
    watch = lambda e: done.append(e.stage) if e.kind == "done" else None  # noqa: E731
    threads = [
        threading.Thread(target=Pipeline(Store(tmp_path), CPU, watch=watch).run, args=(tiny(select__k=k), stages))
        for k in (3, 4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(done) == ["attack", "data"]


def test_no_defender_is_handed_the_truth():
    stages = CASE
    roles = {s.name: s.role for s in stages}
    for s in stages:
        owners = {source.split(".")[0] for source in s.inputs.values()}
        if s.role == "defender":
            assert "attack" not in owners
            assert not {o for o in owners if roles.get(o) == "judge"}
            assert not {"attack", "attacks", *ATTACKS} & set(s.settings)


def test_permuting_the_truth_changes_no_score_and_no_weight(tmp_path):
    """The data stage plants the poison as usual; then the truth on disk is permuted before any stage, defence or
    detector acts. The oracle and the judge show that it would be seen.
    """
    oracle = DEFENSES["retrain"].model
    settings = tiny(data__pairs=100, **BRIEF)
    stages = tuple(s for s in every() if s in CASE or s.role != "judge" or s.name == oracle)
    store = Store(tmp_path / "permuted")
    Pipeline(store, CPU).run(settings, stages[:2])
    path = store.root / "artefacts" / keys(settings, CPU, stages, REFERENCE)["attack"]
    file = path / "truth.parquet"
    truth = pd.read_parquet(file)
    truth["poisoned"] = np.random.default_rng(1).permutation(truth["poisoned"].to_numpy())
    truth.to_parquet(file, index=False)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["truth.parquet"] = {"bytes": file.stat().st_size, "sha256": files.file_digest(file)}
    (path / "manifest.json").write_text(json.dumps(manifest))
    store.checked(path.name).unlink()
    a, b = (fingerprints(Pipeline(s, CPU).run(settings, stages)) for s in (store, Store(tmp_path / "told")))
    assert {d.model for d in DEFENSES.values()} | {f"detect_{name}" for name in DETECTORS} <= set(a)
    assert {s for s in a if a[s] != b[s]} == {"attack", "diagnose", "judge", oracle}


def test_the_defences_view_holds_no_truth(tiny_case):
    data = tiny_case.artefacts["data"]
    truth = tiny_case.artefacts["attack"]["truth"]
    assert list(data["pairs"].columns) == ["id", "caption"]
    assert data["pairs"]["id"].tolist() == truth["id"].tolist()
    assert not data["pairs"]["id"].str.contains("poison|backdoor|clean|trigger").any()
    rows = np.flatnonzero(truth["poisoned"])
    assert abs(np.mean(rows) - len(truth) / 2) < len(truth) / 5
    planted, clean = set(truth.loc[truth["poisoned"], "caption"]), set(truth.loc[~truth["poisoned"], "caption"])
    for template in [t for t in TEMPLATES if from_template(t, "banana") in planted]:
        assert any(from_template(template, name) in clean for name in CLASSES)


@pytest.mark.parametrize("name", ["../foreign", "..", "a/../../foreign", "/etc"])
def test_a_name_never_leads_out_of_the_cache(tmp_path, name):
    store = Store(tmp_path / "cache")
    for folder in (tmp_path / "foreign", tmp_path / "cache" / "foreign", tmp_path / "cache" / "cases"):
        folder.mkdir(exist_ok=True)
        (folder / "case.json").write_text('{"state": "done", "settings": {}, "artefacts": {}}')
    for read in (store.case, store.record, store.open):
        with pytest.raises(BadInput, match="which is no path"):
            read(name)


def test_deleting_and_pruning(tiny_store, tiny_case, tmp_path):
    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    store = Store(root)
    name = tiny_case.name
    with pytest.raises(BadInput, match="unknown case 'nosuch'"):
        store.delete("nosuch")
    (root / "work" / "left-over").mkdir(exist_ok=True)
    (root / "work" / "left-over" / "x").write_bytes(b"1" * 1000)
    assert store.prune() >= 1000
    assert computed(store, tiny()) == []
    for other in set(store.cases()) - {name}:
        store.delete(other)
    assert computed(store, tiny()) == []
    assert store.delete(name) > 0
    assert list((root / "artefacts").iterdir()) == []


def test_damaged_records_and_manifests_cost_nobody_their_results(tiny_store, tiny_case, tmp_path):
    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    store = Store(root)
    (root / "artefacts" / tiny_case.artefacts["select"].path.name / "manifest.json").write_text("{")
    store.prune()
    assert (root / "artefacts" / tiny_case.artefacts["poison"].path.name).is_dir()
    (root / "cases" / tiny_case.name / "case.json").write_text("{}")
    with pytest.raises(UbtError, match="damaged"):
        store.prune()
    assert (root / "artefacts" / tiny_case.artefacts["poison"].path.name).is_dir()


def test_pruning_keeps_what_an_interrupted_case_resumes_from(tmp_path):
    store, events = Store(tmp_path), []

    def at_step_five() -> bool:
        return bool(events) and (events[-1].stage, events[-1].done) == ("poison", 5)

    with pytest.raises(Cancelled):
        Pipeline(store, CPU, watch=events.append, cancelled=at_step_five).run(tiny())
    store.prune()
    assert list((tmp_path / "work").glob("poison-*/checkpoint.safetensors"))
    record = store.cases()[tiny().name(CPU)]
    store.save_case(tiny().name(CPU), record.changed(state="running"))
    assert store.cases()[tiny().name(CPU)].state == "interrupted"


def test_a_running_cases_artefacts_are_not_pruned(tiny_store, tiny_case, tmp_path):
    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    store = Store(root)
    record = store.cases()[tiny_case.name]
    store.save_case(tiny_case.name, record.changed(metrics=None, state="running"))
    store.prune()
    assert (root / "artefacts" / record.artefacts["poison"]).is_dir()


def test_a_full_disk_is_said_and_nothing_half_written_stays(tmp_path, monkeypatch):
    import errno

    store = Store(tmp_path)

    def full(path, entry, value):
        (path / f"{entry}.part").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ubt.cases.store.write_entry", full)
    with pytest.raises(UbtError, match="the disk is full"):
        Pipeline(store, CPU).run(tiny())
    assert list((tmp_path / "artefacts").iterdir()) == []
    assert not list((tmp_path / "work").rglob("*.part"))


def test_a_disk_too_full_for_checkpoints_does_not_stop_training(tiny_case, tmp_path, monkeypatch, caplog):
    from safetensors import SafetensorError

    from ubt.clip import training

    def full(tensors, path, meta):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(training, "save_file", full)
    monkeypatch.setattr(training.Checkpoint, "under", classmethod(lambda cls, folder: cls(folder / "c", seconds=0)))
    made, expected = fingerprints(Pipeline(Store(tmp_path), CPU).run(tiny(), upto("poison"))), fingerprints(tiny_case)
    assert made == {stage: expected[stage] for stage in made}
    assert "poison" in made
    assert "no room for a checkpoint" in caplog.text


def test_a_cache_that_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadInput, match="expected a folder that can be written"):
        Store(file / "cache")


def test_what_looking_on_took_is_not_a_stages_own_time(full, monkeypatch):
    def slow(*_, **__):
        time.sleep(0.5)
        return {"measures": {"ca": 1.0, "attacks": [{"asr": 2.0}]}}

    monkeypatch.setattr(judge, "evaluate", slow)
    started = time.monotonic()
    made = Pipeline(full, CPU).run(tiny(control__steps=1, control__batch=8), upto("control")).artefacts["control"]
    assert made["observed"]["asr"].tolist() == [2.0, 2.0]
    assert made.manifest["seconds"] < time.monotonic() - started - 1
