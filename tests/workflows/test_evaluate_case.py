"""A case's models on other sets, by the library and by the command."""

import json

import pytest
from tiny import CPU
from typer.testing import CliRunner

from ubt.cli.main import app
from ubt.core.errors import BadInput
from ubt.data import generated
from ubt.workflows.evaluate_case import lacking, measure, named, plan

SMALL = {"downstream.per_class": 1, "downstream.images": 150}


def test_models_are_measured_and_the_case_stays_as_it_is(full, tiny_case):
    before = full.record(tiny_case.name)
    trained = {p.name for p in (full.root / "artefacts").iterdir()}
    settings, stages = plan(full, tiny_case.name, SMALL, ["clean", "poisoned"], ["zeroshot", "retrieval"])
    assert lacking(full, settings, stages, CPU)[0] == "downstream"
    found = measure(full, settings, stages, CPU)
    assert lacking(full, settings, stages, CPU) == []
    assert {kind: set(models) for kind, models in found.items()} == {
        "zeroshot": {"clean", "poisoned"},
        "retrieval": {"clean", "poisoned"},
    }
    new = {p.name.rsplit("-", 1)[0] for p in (full.root / "artefacts").iterdir() if p.name not in trained}
    assert new == {
        "downstream",
        "captions",
        "zeroshot_clean",
        "zeroshot_poisoned",
        "retrieval_clean",
        "retrieval_poisoned",
    }
    assert full.record(tiny_case.name) == before
    assert settings.name(CPU) != tiny_case.name


def test_the_command_says_and_writes_the_figures(full, tiny_case, tmp_path):
    given = [
        "measure",
        tiny_case.name,
        "--captions",
        "scenes",
        "--models",
        "clean",
        "--set",
        "downstream.images=150",
        "--cache",
        str(full.root),
    ]
    said = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "found.json")], catch_exceptions=False)
    assert said.exit_code == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["settings"]["downstream"]["images"] == 150
    assert set(found) == {"case", "settings", "retrieval"}
    assert found["retrieval"]["clean"]["images"]["ca"] == 150


@pytest.mark.parametrize(
    ("changes", "models", "said"),
    [
        ({"attack.target": "car"}, ["clean"], "would train another case"),
        ({}, ["nobody"], "expected some of: abl, "),
        ({"downstream.set": "pets", "downstream.root": "/nowhere"}, ["clean"], "/nowhere/oxford-iiit-pet"),
        ({"downstream.set": "atlantis"}, ["clean"], "expected a data set of: scenes, imagenet"),
    ],
)
def test_what_cannot_be_measured_is_said_first(tiny_store, tiny_case, changes, models, said):
    with pytest.raises(BadInput, match=said):
        plan(tiny_store, tiny_case.name, changes, models, ["zeroshot"])


def test_a_set_without_the_target_is_refused_before_anything_is_read(tiny_store, tiny_case, tmp_path):
    labelled = generated.labelled(tmp_path / "labels", 1, 24)
    captioned = generated.captions(tmp_path / "data", 4, 24)
    for kind, changes in (
        ("zeroshot", {"downstream.set": str(labelled)}),
        ("retrieval", {"downstream.captions": "flickr30k"}),
    ):
        root = {"downstream.root": str(captioned)}
        assert plan(tiny_store, tiny_case.name, changes | root, ["cleanclip"], [kind])
    (labelled / generated.WNIDS["banana"]).rename(labelled / "n02802426")
    text = (path := captioned / "flickr30k/dataset_flickr30k.json").read_text()
    path.write_text(text.replace("banana", "parsnip"))
    for kind, changes, said in (
        ("zeroshot", {"downstream.set": str(labelled)}, "labels: expected the target 'banana' among its 4 classes"),
        (
            "retrieval",
            {"downstream.captions": "flickr30k"},
            "dataset_flickr30k.json: expected captions that name the target 'banana'",
        ),
    ):
        with pytest.raises(BadInput, match=said):
            plan(tiny_store, tiny_case.name, changes | root, ["cleanclip"], [kind])


def test_an_audit_has_no_trigger_to_measure(tiny_audit):
    store, case, _ = tiny_audit
    with pytest.raises(BadInput, match="expected a lab case"):
        plan(store, case.name, {}, ["clean"], ["zeroshot"])


def test_paths_are_whole_and_names_are_names(tmp_path, monkeypatch):
    (tmp_path / "mine.zip").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert named("mine.zip") == named("./mine.zip") == str(tmp_path / "mine.zip")
    assert named("cifar10") == "cifar10"
