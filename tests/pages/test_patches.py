"""The page of located patches: what it shows with and without the truth, how it goes with the pair in view, strategies
side by side.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
from harness import charts, html_of, page, words
from tiny import CPU, alone, tiny

from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.store import Store
from ubt.core.files import file_digest
from ubt.core.run import Run
from ubt.evaluation import localization
from ubt.workflows import derived

QUICK = {
    "locate__images": 16,
    "locate__pasted": 5,
    "locate__top": 3,
    "locate__clusters": 12,
    "classify__steps": 4,
    "classify__batch": 16,
}


@pytest.fixture(scope="module")
def sought(tiny_case, tiny_store, tmp_path_factory) -> tuple[Store, object]:
    """A store with the tiny case in which patches were located, by two strategies."""
    store = alone(tiny_store, tiny_case.name, tmp_path_factory.mktemp("patches") / "cache")
    Pipeline(store, CPU).run(tiny(**QUICK, locate__strategy="interval"), upto("poisoncam_locate"))
    return store, Pipeline(store, CPU).run(tiny(**QUICK), upto("poisoncam_classify"))


@pytest.fixture
def located(sought, monkeypatch):
    store, case = sought
    monkeypatch.setenv("UBT_CACHE", str(store.root))
    return case


def test_patches_are_shown_in_the_order_of_their_rank(located):
    at = page("patches", case=located.name)
    candidates = located.artefacts["poisoncam_locate"]["candidates"].sort_values("rank")
    assert len(charts(at)) == 4
    shown = html_of(at)
    cards = shown.split('class="ubt-duo"')[1:]
    assert len(cards) == 12
    for card, rank, flips in zip(cards, candidates["rank"], candidates["flips"], strict=False):
        assert f"<b>{rank}. flips {100 * flips:.1f} %</b>" in card
    assert f"{int(candidates['changes'].sum()):,} a mask changes the cluster" in words(at)
    assert at.session_state["patch"] == candidates["id"].iloc[0]
    found = localization.located(
        candidates.reset_index(drop=True),
        located.artefacts["attack"]["truth"]["poisoned"].to_numpy(),
        located.artefacts["attack"]["manifest"],
        (48, 48),
    )
    made = localization.summary(candidates.reset_index(drop=True), found, 3)
    assert f"{made['iou']:.3f}" in shown
    assert f"{100 * made['inside']:.1f} %" in shown


def test_what_is_left_out_is_counted_with_the_truth_and_without(located):
    at = page("patches", case=located.name)
    kept = located.artefacts["poisoncam_classify"]["kept"]
    truth = located.artefacts["attack"]["truth"]["poisoned"].to_numpy()
    out = np.setdiff1d(np.arange(600), kept)
    assert f"<td>{len(out)} of 600 ({len(out) / 6:.1f} %)</td>" in html_of(at)
    assert f"<td>poisoned among them</td><td>{truth[out].sum()}</td>" in html_of(at)
    assert "AUROC" in html_of(at)
    at.toggle(key="reveal").set_value(False).run()
    assert not at.exception
    blind = re.sub(r'src="data:[^"]*"', "", html_of(at))
    assert f"<td>{len(out)} of 600" in blind
    assert not any(word in blind for word in ("AUROC", "IoU", "poisoned", "ground truth"))
    assert not any("poisoned" in t["name"] for c in charts(at) for t in c["data"] if t.get("name"))
    at.button(key="select-out").click().run()
    assert f":blue-badge[{len(out)} of 600]" in words(at)


def test_the_pair_in_view_goes_from_page_to_page(located):
    candidates = located.artefacts["poisoncam_locate"]["candidates"].sort_values("rank")
    fifth, ninth = candidates["id"].iloc[[4, 8]]
    at = page("patches", case=located.name, pair=fifth)
    assert at.selectbox(key="patch").value == fifth
    assert f"<td>id</td><td>{fifth}</td>" in html_of(at)
    at.selectbox(key="patch").set_value(ninth).run()
    assert at.session_state["pair"] == ninth
    assert f"<td>id</td><td>{ninth}</td>" in html_of(at)
    at.switch_page("pages/neighbours.py").run()
    assert at.selectbox(key="pair").value == ninth
    other = next(i for i in located.artefacts["data"]["pairs"]["id"] if i not in set(candidates["id"]))
    at = page("patches", case=located.name, pair=other)
    assert "was not among the images searched" in words(at)
    assert at.selectbox(key="patch").value == candidates["id"].iloc[0]


def test_strategies_stand_side_by_side_and_the_missing_one_is_offered(located, monkeypatch):
    for module in ("view", "job_panel"):
        monkeypatch.setattr(f"ubt.ui.{module}.compute", lambda: CPU)
    at = page("patches", case=located.name)
    table = next(h for h in html_of(at).split("<table") if "<th>strategy</th>" in h)
    assert "<td>full coverage</td><td>49</td>" in table
    assert "<td>interval</td><td>25</td>" in table
    assert "<td>random</td><td>-</td>" in table
    assert "0 of 1 further strategies measured" in words(at)
    assert [b.label for b in at.button if b.label.startswith("Compute")] == ["Compute the missing 1"]
    assert {t["name"] for t in charts(at)[3]["data"]} == {"full coverage", "interval"}


def test_a_trigger_over_the_whole_image_has_no_iou(located, sought, tmp_path, monkeypatch):
    store = alone(sought[0], located.name, tmp_path / "cache")
    monkeypatch.setenv("UBT_CACHE", str(store.root))
    folder = store.root / "artefacts" / located.artefacts["attack"].path.name
    pd.read_parquet(folder / "manifest.parquet").assign(top=0, left=0, height=48, width=48).to_parquet(
        folder / "manifest.parquet", index=False
    )
    about = json.loads((folder / "manifest.json").read_text())
    about["files"]["manifest.parquet"] = {
        "bytes": (folder / "manifest.parquet").stat().st_size,
        "sha256": file_digest(folder / "manifest.parquet"),
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    at = page("patches", case=located.name)
    assert "the trigger covers the whole image" in html_of(at)
    assert "of the trigger inside" not in html_of(at)
    assert "at most 0." not in html_of(at)


def test_why_the_last_attempt_failed_is_said_beside_the_button(full, tiny_case):
    errors = {"poisoncam_classify": {"state": "failed", "error": "expected <b>room</b>"}}
    full.save_case(tiny_case.name, full.record(tiny_case.name).changed(errors=errors))
    at = page("patches", case=tiny_case.name)
    assert [e.value.replace("\\", "") for e in at.error] == ["expected <b>room</b>"]
    assert "\\<b\\>" in at.error[0].value
    assert [b.label.replace("\\", "") for b in at.button if b.label.startswith("Run up to")] == [
        "Run up to poisoncam_classify"
    ]


@pytest.fixture
def at_once(monkeypatch):
    """Views computed where they are asked for, not in a process of their own."""

    def start(store, name, kind, options, wait=0.0):
        derived.make(store, store.record(name), kind, options, Run(compute=CPU))
        return True

    monkeypatch.setattr("ubt.workflows.jobs.start_view", start)


def test_a_drawn_trigger_is_tried_on_every_model(full, tiny_case, at_once, monkeypatch):
    monkeypatch.setattr("ubt.workflows.try_trigger.suggested", lambda store, record: ["<b>banana</b>"])
    at = page("patches", case=tiny_case.name)
    assert "Run up to poisoncam" in " ".join(b.label.replace("\\", "") for b in at.button)
    next(b for b in at.get("button_group") if b.key == "try-source").set_value("drawn").run()
    assert at.selectbox(key="try-target").value == "<b>banana</b>"
    at.button(key="build-probe").click().run()
    assert not at.exception
    chart = charts(at)[-1]["data"]
    assert [t["name"] for t in chart] == ["no trigger", "control", "the suspected trigger"]
    assert all(len(t["x"]) == 4 for t in chart)
    shown = html_of(at)
    assert "<b>banana</b>" not in shown + words(at)
    assert "labelled images of other classes" in words(at)
    at.selectbox(key="try-target").set_value("banana").run()
    assert [b.label for b in at.button if b.key == "build-probe"] == ["Try it"]


def test_a_found_patch_is_offered_where_it_was_found(located, at_once):
    at = page("patches", case=located.name)
    candidates = located.artefacts["poisoncam_locate"]["candidates"]
    first = candidates[candidates["rank"] == 1].iloc[0]
    edges = {s.label: s.value for s in at.slider if s.label.startswith("Its ")}
    assert edges == {"Its top edge, px": first["y"], "Its left edge, px": first["x"]}
    next(b for b in at.get("button_group") if b.key == "try-source").set_value("cut").run()
    at.text_input(key="try-pair").set_value("no such *pair*").run()
    assert "no such \\*pair\\*" in words(at)
    assert not at.exception
