import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from leaks import leak
from tiny import BRIEF, tiny

from ubt.cases.pipeline import upto
from ubt.cases.store import Store
from ubt.cli import bench
from ubt.cli.bench_runs import gpu, growth, kills, pairs, profile
from ubt.cli.bench_runs.case import generate
from ubt.cli.bench_runs.models import compare, fresh_peak_mb
from ubt.clip import models
from ubt.clip.score import score
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Compute, Run, compute
from ubt.pairs import neighbors
from ubt.pairs.export import KINDS
from ubt.pairs.table import ABOUT, SIMILARITIES, PairTable
from ubt.workflows import jobs


def least_operations() -> dict[str, float]:
    """Operations a pair of the embedded model, at least: two a weight of its blocks and token, of encoding without most
    of the last image block; three times as many of a training step.
    """
    model = models.create(models.SCENES_CLIP, 0)
    towers = (model.visual.transformer, len(model.visual.positional_embedding)), (model.transformer, 24)
    once = sum(2 * tokens * sum(p.numel() for p in tower.parameters()) for tower, tokens in towers)
    return {"encode": 0.6 * once, "train": 2.2 * once}


def counted(rate: float, share: float, peak: float) -> float:
    """The operations a pair of which a rate is a share of the peak, in 10^12 a second: whatever the clock said."""
    return share * peak * 1e12 / rate


def test_bench_measures_both_sides_in_one_run():
    result, least = compare(Compute("cpu", "fp32"), steps=2, batch=16, rounds=1, attributed=80), least_operations()
    for name in ("train", "encode"):
        r = result[name]
        assert r["ours"] > 0
        assert r["bare"] > 0
        assert least[name] < counted(r["ours"], r["peak_share"], r["peak_tflops"]) < 1.6 * least[name]
    assert result["draw"] > 0
    assert result["memory"]["320"] < result["memory"]["80"] + 24
    assert all(result["attribution"][name] > 0 for name in ("plain", "last", "first"))


def test_the_memory_that_is_measured_would_show_a_leak():
    assert fresh_peak_mb("cpu", 200, leak) > 150


def table_of(store: Store, name: str) -> PairTable:
    made = store.record(name).artefacts
    return PairTable.from_stages(
        made.__contains__, lambda stage, entry, *names: store.open(made[stage]).read(entry, columns=names)
    )


@pytest.mark.parametrize("without", [(), ("truth",), ("images", "embedded")])
def test_a_generated_case_is_one_that_pages_can_read(tmp_path, without):
    store, nan = Store(tmp_path), 7
    name = generate(store, 1000, seed=3, width=16, nan=nan, **dict.fromkeys(without, False))
    table = table_of(store, name)
    assert jobs.status(store, name).state == "done"
    assert store.record(name).imported
    assert set(table) == set(ABOUT) - {"cluster", "label", "note"} - ({"poisoned"} if "truth" in without else set())
    assert all(len(table[column]) == 1000 for column in table)
    assert table.suspicious.sum() == 10
    assert table.topk.sum() == 3
    for column in SIMILARITIES:
        assert np.flatnonzero(np.isnan(table[column])).tolist() == list(range(nan))
    suspicious = table.similarity_reference[table.suspicious]
    assert suspicious.max() <= np.nanmin(table.similarity_reference[~table.suspicious])
    made = {stage: store.open(key).manifest["entries"] for stage, key in store.record(name).artefacts.items()}
    assert ("images" in made["data"]) == ("images" not in without)
    assert ("image_features" in made["score_overfit"]) == ("embedded" not in without)
    assert ("attack" in made) == ("truth" not in without)


def test_a_generated_cases_poisons_are_what_a_defence_looks_for(tmp_path):
    store = Store(tmp_path)
    name = generate(store, 1000, width=16)
    table, made = table_of(store, name), store.record(name).artefacts
    poisoned = table.poisoned
    assert poisoned.sum() == 8
    assert table.similarity_overfit[poisoned].min() > np.quantile(table.similarity_overfit[~poisoned], 0.9)
    features = store.open(made["score_overfit"])["image_features"]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert features.shape == (1000, 16)
    among = features[poisoned] @ features[poisoned].T
    assert among.mean() > (features[poisoned] @ features[~poisoned].T).mean() + 0.3
    corner = store.open(made["data"])["images"][:, -8:, -8:]
    assert (corner[poisoned] == corner[poisoned][0]).all()
    assert {caption.split()[2] for caption in table.frame(np.flatnonzero(poisoned))["caption"]} == {"banana"}


def test_a_case_that_was_generated_is_found_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    name = generate(store, 1000, width=16, images=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", None)
        assert generate(store, 1000, width=16, images=False) == name
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()} == before
    again = Store(tmp_path / "another")
    assert generate(again, 1000, width=16, images=False) == name
    table, other = table_of(store, name), table_of(again, name)
    for column in table:
        np.testing.assert_array_equal(other[column], table[column])
    others = {
        generate(store, 1000, **{"width": 16, "images": False} | change)
        for change in ({"seed": 1}, {"nan": 1}, {"truth": False}, {"width": 8})
    }
    assert len(others | {name}) == 5


def test_stages_and_a_bare_loop_choose_the_same_pairs(tmp_path, monkeypatch):
    pairs.generate(tmp_path / "pairs", 3000)
    took, rows = pairs.ours(tmp_path / "pairs", "cpu")
    _, others = pairs.bare(tmp_path / "pairs", "cpu")
    assert rows.tolist() == others.tolist()
    assert (len(rows), set(took)) == (30, {"score", "split", "score_inside", "select"})
    images, tokens = pairs.read(tmp_path / "pairs")
    table, model = pd.DataFrame({"id": np.arange(len(images)).astype(str)}), models.create(pairs.MODEL, 0)
    whole = score(model, images, tokens, table, Run())
    for name, value in {"HELD": 0, "IMAGES": 512, "CAPTIONS": 1000}.items():
        monkeypatch.setattr(f"ubt.clip.score.{name}", value)
    mapped = score(model, images, tokens, table, Run(scratch=tmp_path))
    assert isinstance(mapped["image_features"], np.memmap)
    for entry in ("image_features", "text_features"):
        np.testing.assert_allclose(mapped[entry], whole[entry], atol=1e-6)
    np.testing.assert_allclose(mapped["similarity"]["similarity"], whole["similarity"]["similarity"], atol=1e-6)


def test_a_profile_counts_what_each_stage_computes(monkeypatch):
    """Of a case's first stages: a step costs what counting by hand says; stages without a model have no operations."""
    where, run = compute("cpu", "fp32"), profile.Pipeline.run
    monkeypatch.setattr(profile.Pipeline, "run", lambda self, settings: run(self, settings, upto("overfit")))
    found = {s.stage: s for s in profile.profile(tiny(**BRIEF, data__pairs=100), where)}
    assert list(found) == ["attack", "data", "score", "poison", "split", "overfit"]
    least = least_operations()
    assert least["encode"] < found["score"].operations * 1e9 / 100 < 1.6 * least["encode"]
    assert 0.5 * least["train"] < found["poison"].operations * 1e9 / 64
    assert not any(found[name].operations for name in ("attack", "data", "split"))
    assert all(0 <= s.share < 1.2 for s in found.values())
    rows = profile.report(list(found.values()))
    took = [float(row[1]) for row in rows]
    assert took[:-1] == sorted(took[:-1], reverse=True) and rows[-1][0] == "all"


def test_growth_measures_every_stage_that_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("ubt.pairs.projection.project", lambda *given: {})
    figures = []
    for n in (300, 900):
        pairs.generate(tmp_path / str(n), n)
        figures.append(growth.stages(tmp_path / str(n), "cpu"))
    ours = {"score", "split", "score_inside", "select", "retain", "verdict", "flag", "mask"}
    assert set(figures[0]) == set(figures[1]) == ours | {"map"} | {f"export, {kind}" for kind in KINDS}
    assert all(seconds > 0 and mb > 50 for f in figures for seconds, mb in f.values())
    assert all(len(row) == 5 for row in growth.report([300, 900], figures))
    assert all(len(row) == 2 for row in growth.report([300], figures[:1]))


def test_a_case_on_two_devices_is_compared(tiny_case, monkeypatch):
    """With the figures of a finished case, and others the second time."""
    changed = copy.deepcopy(tiny_case.metrics)
    changed["poisoned"]["ca"] += 2
    changed["clean"]["ca"] += 1
    runs = iter([tiny_case, replace(tiny_case, metrics=changed)])
    monkeypatch.setattr(gpu.Pipeline, "run", lambda self, settings: next(runs))
    found = gpu.same_case(tiny(), compute("cpu"), compute("cpu"))
    agree = {row["what"]: row["agree"] for row in found["apart"]}
    assert len(agree) == 11 and {what for what in agree if not agree[what]} == {"poisoned ca"}
    assert found["seconds"] == [sum(tiny_case.metrics["seconds"].values())] * 2


def test_what_a_gpu_would_be_measured_by(monkeypatch):
    """At toy size, on the CPU; without a GPU the command says so."""
    least = least_operations()
    found = gpu.shaped(Compute("cpu", "fp32"), models.SCENES_CLIP, batch=8, steps=2, rounds=1, count=32)
    few_operations = {"train": least["train"], "overfit": least["train"], "score": least["encode"]}
    assert all(found[name]["pairs_per_second"] > 0 for name in (*few_operations, "attribute", "unlearn"))
    for name, few in few_operations.items():
        r = found[name]
        peak = found["peak_tflops"][r["precision"]]
        assert few < counted(r["pairs_per_second"], r["peak_share"], peak) < 1.6 * few
        assert r["memory_mb"] is None
    same = gpu.neighbours("cpu", 400, width=16, queries=20)
    assert (same["rows_alike"], same["largest_difference"], same["agree"]) == (1.0, 0.0, True)
    lines = list(gpu.of_shape(found))
    assert len(lines) == 6 and all("pairs/s" in line for line in lines[1:])
    assert "(agree)" in next(gpu.of_neighbours(same))
    apart = [{"what": "poisoned ca", "values": (98.0, 90.0), "bound": 1.5, "agree": False}]
    assert list(gpu.of_case({"seconds": [1.0, 2.0], "apart": apart})) == [
        "the default case: 1 s there, 2 s on the CPU",
        "poisoned ca: 98.00 there, 90.00 on the CPU (DISAGREE)",
    ]
    honest, answers = neighbors.exact, []

    def off(*given):
        answers.append(given)
        similarity, rows = honest(*given)
        return similarity + 0.01 * (len(answers) == 2), rows

    monkeypatch.setattr(gpu, "exact", off)
    assert not gpu.neighbours("cpu", 400, width=16, queries=20)["agree"]
    with pytest.raises(BadInput, match="expected a CUDA GPU that torch can use, found none"):
        gpu.measure(Compute("cpu", "fp32"), print)


def test_killed_at_random_moments_work_goes_on_to_the_same_results_and_leaves_nothing(tmp_path):
    """A tenth of what `bench --kills` does, on the case's first stages."""
    found = kills.measure(tmp_path / "kills", kills=10, seed=1, until="verdict")
    assert [(of.kills, of.differences, of.left, of.freed) for of in found["work"].values()] == [(2, [], [], 0)] * 5
    assert (found["left"], found["freed"]) == ([], 0)
    assert kills.report(found)[-1] == ("all", "10", "5", "5", "0", "0", "0")
    assert not (tmp_path / "kills").exists()


def test_kills_that_leave_something_end_the_command_with_an_error(tmp_path, monkeypatch, capsys):
    one = kills.Killed(clock=1, file=1, differences=["kill 2 of case"], left=["poison-0"], freed=5)
    monkeypatch.setattr(kills, "measure", lambda folder, count, say: {"work": {"case": one}, "left": [], "freed": 0})
    with pytest.raises(UbtError, match="got kill 2 of case, poison-0"):
        bench.bench(kills=True, cache=tmp_path)
    assert "| all | 2 | 1 | 1 | 1 | 1 | 5 |" in capsys.readouterr().out
