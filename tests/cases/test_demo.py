"""What the package ships of finished cases: whole, small, the same as what was run, and never written to."""

import json

import numpy as np
import pytest
from tiny import CPU, tiny

from ubt.attacks import trigger
from ubt.attacks.rendered_scenes import Drawn
from ubt.cases import demo
from ubt.cases.quantized import Coded
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import make_demo
from ubt.cli.demo import built_in
from ubt.clip import difference, models
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import READY, REFERENCE, file_digest
from ubt.evaluation import zeroshot
from ubt.reports.paper.whatif import WHAT_IF


@pytest.fixture
def made(tiny_case, tiny_store, tmp_path) -> Store:
    """The tiny case as it would be shipped."""
    store = Store(tmp_path / "ready")
    make_demo.keep_case(tiny_store, CPU, demo.MAIN, make_demo.DemoCase("tiny", tiny()), store)
    return store


def test_what_is_shipped_is_whole_and_small(tmp_path):
    store, files = Store(tmp_path), [p for p in READY.rglob("*") if p.suffix in (".json", ".parquet", ".npz", ".npy")]
    assert set(demo.names()) == set(make_demo.CASES)
    for name in demo.names():
        record = store.record(name)
        assert CaseSettings.from_dict(record.settings) == make_demo.CASES[name].settings
        for key in record.artefacts.values():
            artefact = store.open(key)
            assert all(artefact[entry] is not None for entry in artefact.manifest["entries"])
    assert max(p.stat().st_size for p in files) < 3e6
    assert sum(p.stat().st_size for p in files) < 25e6
    assert store.names() == []


def test_the_shipped_grid_is_the_sweeps():
    import pandas as pd

    table = pd.read_parquet(demo.grid())
    for name, sweep in WHAT_IF.items():
        part = table[table["sweep"] == name]
        assert part["value"].tolist() == [float(v) for v in sweep.factors[0].values]
        assert part["default"].sum() == 1
        assert not part.loc[part["default"], "state"].any()
    measured = table[table["state"] == ""]
    inside = measured[["overfit clean", "overfit poisoned"]].map(sum).sum(axis=1)
    assert (inside == np.where(measured["sweep"] == "fraction", 10_000 * measured["value"], 600).round()).all()


def test_a_shipped_case_shows_what_was_run(made, tiny_case):
    record, run = made.record(demo.MAIN), tiny_case.artefacts
    drawn = made.open(record.artefacts["data"])["images"]
    images = run["data"]["images"]
    assert isinstance(drawn, Drawn)
    assert np.array_equal(np.asarray(drawn), images)
    assert np.array_equal(drawn[np.array([5, 3])], images[[5, 3]])
    assert np.array_equal(drawn[7], images[7])
    for stage in ("score", "score_overfit"):
        assert made.open(record.artefacts[stage])["similarity"].equals(run[stage]["similarity"])
    assert record.metrics == json.loads(json.dumps(tiny_case.metrics))
    for stage in make_demo.EMBEDDED:
        exact, coded = run[stage]["image_features"], made.open(record.artefacts[stage])["image_features"]
        assert np.abs(coded @ coded.T - exact @ exact.T).max() < 0.02
    measured, test = np.asarray(made.open(record.artefacts["test"])["images"]), made.open(record.artefacts["test"])
    assert np.array_equal(measured, run["test"]["images"])
    for entry in ("labels", "prompts", "classes"):
        assert np.array_equal(test[entry], run["test"][entry])
    assert np.array_equal(made.open(record.artefacts["data"])["tokens"], run["data"]["tokens"])
    assert not set(record.artefacts.values()) & {a.path.name for a in run.values()}


@pytest.mark.parametrize("stage", make_demo.MODELS)
def test_a_shipped_model_is_what_was_trained(made, tiny_case, stage):
    kept, trained = made.open(made.record(demo.MAIN).artefacts[stage]), tiny_case.artefacts[stage]
    restored, exact = kept["model"], trained["model"]
    assert kept.bytes < trained.bytes / 5
    assert all(
        (a - b).abs().max() <= 5e-5
        for a, b in zip(restored.state_dict().values(), exact.state_dict().values(), strict=True)
    )
    similarity = [similarities(m, tiny_case.artefacts["data"], 200) for m in (restored, exact)]
    assert np.abs(similarity[0] - similarity[1]).max() < 1e-4
    images = tiny_case.artefacts["test"]["images"]
    weights = [zeroshot.class_weights(m, tiny_case.artefacts["test"]["prompts"]) for m in (restored, exact)]
    found = [zeroshot.classify(m, images, w) for m, w in zip((restored, exact), weights, strict=True)]
    assert (found[0] != found[1]).sum() <= 1


def similarities(model, data, count: int) -> np.ndarray:
    """Of the first pairs, under a model."""
    images, tokens = data["images"][:count], data["tokens"][:count]
    return (models.embed_images(model, images) * models.embed_tokens(model, tokens)).sum(1)


@pytest.mark.parametrize(("stage", "scored"), [("poison", "score_poisoned"), ("overfit", "score_overfit")])
def test_the_shipped_models_give_the_similarities_that_pages_show(tmp_path, stage, scored):
    """Those of the run, which was another machine's."""
    store = Store(tmp_path)
    kept = {name: store.open(key) for name, key in store.record(demo.MAIN).artefacts.items()}
    now = similarities(kept[stage]["model"], kept["data"], 300)
    assert np.abs(now - kept[scored]["similarity"]["similarity"].to_numpy()[:300]).max() < 1e-3


@pytest.mark.parametrize(("stage", "judged"), [("poison", "poisoned"), ("unlearn", "purified")])
def test_the_shipped_models_classify_as_in_the_figures(tmp_path, stage, judged):
    """With and without the trigger, on a sixth of the images that CA and ASR are measured on."""
    store = Store(tmp_path)
    kept = {name: store.open(key) for name, key in store.record(demo.MAIN).artefacts.items()}
    test, model = kept["test"], kept[stage]["model"]
    images, weights = test["images"][:690], zeroshot.class_weights(model, test["prompts"])
    was = kept[f"evaluate_{judged}"]["predictions"]
    (planted,) = make_demo.CASES[demo.MAIN].settings.attacks
    triggered = trigger(images, np.arange(len(images)), planted.attack.name, planted.trigger)
    for shown, column in ((images, "clean"), (triggered, "triggered")):
        assert (zeroshot.classify(model, shown, weights) == was[column].to_numpy()[:690]).mean() > 0.995


def test_a_difference_is_of_the_reference_alone(tiny_case, tmp_path):
    model = tiny_case.artefacts["unlearn"]["model"]
    difference.Difference.of(model).save(tmp_path / "model")
    assert difference.about(tmp_path / "model")["original"] == models.weights_digest(model)
    about = tmp_path / "model" / difference.ABOUT
    about.write_text(about.read_text().replace(file_digest(REFERENCE / models.WEIGHTS), "0" * 64))
    with pytest.raises(UbtError, match="expected the reference 0000"):
        difference.load(tmp_path / "model")
    with pytest.raises(UbtError, match="expected a model of the architecture"):
        difference.Difference.of(models.create({**models.SCENES_CLIP, "embed_dim": 64}, 0))


def test_coded_vectors_keep_their_angles():
    vectors = np.random.default_rng(0).standard_normal((50, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = Coded.of(vectors).decoded()
    assert np.abs(found @ found.T - vectors @ vectors.T).max() < 0.015


def test_where_they_cannot_be_written_nothing_is_computed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("ubt.cli.demo.run_missing", lambda *arguments: asked.append(arguments) or ({"a": "b"}, 1))
    written_to, other, file = tmp_path / "made", tmp_path / "cache", tmp_path / "file"
    for folder in (written_to, other):
        (folder / "cases").mkdir(parents=True)
    for path in (written_to / demo.GRID, file):
        path.write_text("")
    for out, said in (
        (file, "expected a folder that can be written"),
        (file / "below", "expected a folder that can be written"),
        (other, "expected a new folder, or one of built-in cases"),
    ):
        with pytest.raises(BadInput, match=f"--out: {said}, got {out}"):
            built_in(out, cache=tmp_path / "own")
    assert not asked
    for out in (written_to, tmp_path / "new" / "below"):
        with pytest.raises(UbtError, match="1 of 1 cases failed"):
            built_in(out, "cpu", "fp32", tmp_path / "own")
    assert len(asked) == 2
