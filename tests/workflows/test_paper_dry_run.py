"""The dry run of the preset `paper`, on both layouts, and what it says of a real run."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny import CPU

from ubt.cases.presets import papers
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import paper
from ubt.clip import architecture
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Run, compute
from ubt.data import catalogue, generated, user_roles
from ubt.workflows.paper_dry_run import ARCHITECTURE, BASELINES, STEPS, TOY, dry_run, needs, of_baseline

SMALL = {
    "own.templates": "7",
    "downstream.templates": "7",
    "poison.batch": 32,
    "overfit.steps": 1,
    "unlearn.steps": 1,
    "published.steps": 1,
    "test.per_class": 2,
}


def test_every_step_passes_in_the_papers_order_on_shards(tmp_path, monkeypatch):
    """At 64 px and two narrow layers a tower; baselines, which the test on a CSV runs, are left out."""
    config, narrow = architecture.named(ARCHITECTURE), {"layers": 2, "width": 128}
    towers = {"vision_cfg": narrow, "text_cfg": narrow | {"heads": 2}}
    monkeypatch.setattr(architecture, "named", lambda name: config | {t: config[t] | n for t, n in towers.items()})
    monkeypatch.setenv("UBT_CHECKPOINT_SECONDS", "3600")
    said: list[str] = []
    found = dry_run(tmp_path / "dry", "webdataset", compute("cpu"), said.append, size=64, changes=SMALL, baselines=())
    baselines = {stage for name in BASELINES for stage in of_baseline(name)}
    assert [p.stage for p in found] == [
        stage for stages in STEPS.values() for stage in stages if stage not in baselines
    ]
    assert list(dict.fromkeys(p.step for p in found)) == [step for step in STEPS if step != "baselines"]
    proved = {p.stage: p.said for p in found}
    assert proved["take"] == "40 pairs decoded where they lie, 23 left for other roles; set apart: none"
    assert proved["attack"].startswith("4 poisons for 'banana'")
    assert "from 512-dimensional features" in proved["score"]
    assert all(
        "a ViT-B/32 of its own" in proved[stage] for stage in ("poison", "overfit", "unlearn", "unlearn_published")
    )
    assert "of 8 and 6 images" in proved["evaluate_purified"]
    assert "of 8 and 7 images" in proved["retrieval_purified"]
    assert "63 of 64 pairs as tar shards" in said[0]
    assert "1 truncated image" in said[0]
    assert not (tmp_path / "dry").exists()


def test_both_layouts_give_the_same_pairs(tmp_path, reference):
    taken = []
    for layout, kind in (("webdataset", "tar shards"), ("csv", "table")):
        found = catalogue.read(generated.pairs(tmp_path / layout, layout, 30, 48))
        assert kind in found["about"]["kind"].lower()
        s = CaseSettings().with_values({"data.pairs": 20, "split.fraction": 0.2, "attack.rate": 0.1})
        run, about = Run(compute=CPU), found["about"]
        pairs = user_roles.take(found["pairs"], about, reference, s.data, s.own, run)["pairs"]
        images = user_roles.as_found(pairs, about, reference, s.own, run)["images"]
        taken.append((pairs["caption"].tolist(), np.asarray(images)))
    assert taken[0][0] == taken[1][0]
    assert (taken[0][1] == taken[1][1]).all()
    with pytest.raises(BadInput, match="expected one of webdataset, csv"):
        dry_run(tmp_path / "dry", "parquet", CPU)


def test_two_dry_runs_in_one_cache_do_not_empty_each_others_folder(tmp_path, full_disk):
    """Said even where the other one has left no room."""
    store = Store(tmp_path)
    (store.scratch("dry-run") / "own").write_text("")
    with store.lock("dry-run"), pytest.raises(UbtError, match="is being run by process"):
        paper.dry_run("paper", "csv", {}, CPU, tmp_path, lambda: False)
    assert (store.scratch("dry-run") / "own").exists()


def test_a_dry_run_without_room_says_how_much_it_needs(tmp_path, full_disk):
    with pytest.raises(BadInput, match=r"expected 8 GB of room in .*, got 7\.8; choose another --cache"):
        paper.dry_run("paper", "csv", {}, CPU, tmp_path, lambda: False)


@pytest.fixture
def full_disk(monkeypatch):
    """A disk with too little room for a dry run."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=7.8e9))


@pytest.fixture
def least(monkeypatch):
    """An architecture that costs nothing in place of the paper's."""
    monkeypatch.setattr("ubt.workflows.paper_dry_run.ARCHITECTURE", "small")
    monkeypatch.setattr(
        "ubt.clip.architecture.named",
        lambda name: {
            "embed_dim": 32,
            "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        },
    )


def test_every_step_and_baseline_passes_on_a_csv(least, tmp_path):
    found = dry_run(tmp_path / "dry", "csv", CPU, size=32, changes=SMALL)
    assert [p.stage for p in found] == [stage for stages in STEPS.values() for stage in stages]
    assert found[0].said == "40 pairs decoded where they lie, 23 left for other roles; set apart: none"


def test_a_step_that_leaves_what_it_must_not_ends_the_dry_run(least, tmp_path, monkeypatch):
    monkeypatch.setattr("ubt.workflows.paper_dry_run.suspicious_count", lambda pairs, fraction: 9)
    with pytest.raises(UbtError, match="dry run: expected the 9 lowest, got 8"):
        dry_run(tmp_path / "dry", "csv", CPU, size=32, changes=SMALL, baselines=(), steps=tuple(STEPS)[:5])


def test_what_a_real_run_needs_is_counted_from_its_settings():
    said = "\n".join(needs())
    assert "cache: 11 GB a case" in said
    assert "about 4.6 h a case on a machine as fast as the paper's" in said
    assert "2.4 GB" in said
    assert set(TOY) <= set(CaseSettings().described())
    assert papers(20_000)["overfit.steps"] == 1562
