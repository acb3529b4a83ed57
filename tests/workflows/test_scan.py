"""A scan of a model alone: what it is made of, what it leaves, and the model purified without its data."""

import json

import numpy as np
import open_clip
import pytest
from ingested import encoded
from tiny import CPU, alone
from typer.testing import CliRunner

from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import REFERENCE
from ubt.data import scenes, unlabelled
from ubt.detectors.inversion.base import Inverted
from ubt.reports import scan_report
from ubt.workflows import made_here, purify_scanned, scan, scanned_pairs, sources
from ubt.workflows.import_model import import_model

QUICK = {"images": 16, "held": 16, "faint.steps": 2, "masked.steps": 2, "faint.batch": 2, "masked.batch": 2}
NAMES = scenes.CLASSES[:9]
LINES = {"poisoned": 0, "clear": 0, "alone_poisoned": 0, "alone_clear": 0, "asr": 0}
POISONED = QUICK | {f"verdict.{name}": value for name, value in LINES.items()}
"""With lines that every model is beyond."""


def settings(**changes) -> scan.ScanSettings:
    return scan.ScanSettings().with_values(QUICK | {k.replace("__", "."): v for k, v in changes.items()})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


def test_a_scan_is_made_once_and_a_reference_inverted_once(store):
    from ubt.clip import models
    from ubt.workflows.clean_models import keep

    clean = sources.resolved(store, sources.SHIPPED)
    fresh = keep(store, models.create(models.SCENES_CLIP, 5), "fresh", "test", {}, 0.0)
    other = keep(store, models.create(models.SCENES_CLIP, 6), "other", "test", {}, 0.0)
    wanted = scan.of_imported(store, fresh, clean, sources.SCENES, NAMES, settings())
    told = []
    key = scan.scan(store, wanted, CPU, lambda done, total, _: told.append(done / total))
    assert told == sorted(told) and told[-1] == 1.0
    made = set(store.all_imported("inverted"))
    assert len(made) == 4, "two methods on two models"
    assert scan.scan(store, wanted, CPU) == key
    found, inverted = store.open(key), [Inverted.read(a) for a in store.all_imported("inverted").values()]
    first = found["classes"]["class"].iloc[found["classes"]["score"].to_numpy().argmax()]
    of_first = [t.pattern for i in inverted for t in i.triggers if t.target == first]
    assert any(np.array_equal(found["pattern"], pattern) for pattern in of_first), "the trigger of that very class"
    scan.scan(store, scan.of_imported(store, other, clean, sources.SCENES, NAMES, settings()), CPU)
    assert len(set(store.all_imported("inverted")) - made) == 2
    store.prune()
    assert set(store.all_imported("inverted")) >= made and store.find(key) is not None, "they stay as imports do"
    assert scan.again(store.open(key)) == wanted
    assert scan.listed(store)["model"].tolist() == ["other", "fresh"]
    with pytest.raises(BadInput, match="the very model to be scanned"):
        scan.of_imported(store, clean, clean, sources.SCENES)


def test_what_it_leaves_is_read_by_others(store, tmp_path):
    model = import_model(store, str(REFERENCE))
    wanted = scan.of_imported(
        store, model, "", sources.SCENES, NAMES, settings(target_free_too=True, target_free__steps=2)
    )
    found = store.open(scan.scan(store, wanted, CPU))
    written = scan_report.write(found, tmp_path / "out")
    said = json.loads(written[0].read_text())
    assert {"verdict", "reason", "target", "score", "asr", "reference_asr", "size", "seconds", "classes"} <= set(said)
    assert sorted(c["name"] for c in said["classes"]) == sorted(NAMES)
    assert said["reference_asr"] is None
    assert written[1].read_bytes().startswith(b"\x89PNG")
    page = written[2].read_text()
    assert "<script" not in page and "Verdict" in page and scan.LIMITS[:40] in page
    assert len(found["target_free"]) == 2


def test_images_and_classes_come_from_where_they_are_named(store, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n in range(40):
        (pictures / f"{n}.png").write_bytes(encoded(n))
    (pictures / "broken.png").write_bytes(b"nothing")
    (pictures / "notes.md").write_text("no image")
    wanted = scan.prepare(store, str(REFERENCE), "", str(pictures), "cat, owl,car", settings())
    assert (wanted.images, wanted.classes) == (str(pictures), ("cat", "owl", "car"))
    key = scan.scan(store, wanted, CPU)
    found = store.open(key)
    assert found["verdict"]["verdict"] == "cannot tell" and "at least 8 classes" in found["verdict"]["reason"]
    (pictures / "0.png").write_bytes(encoded(99))
    assert scan.key_of(store, wanted, CPU) != key, "other images are another scan"
    with pytest.raises(BadInput, match="--classes: expected the names of classes"):
        scan.prepare(store, str(REFERENCE), "", str(pictures))
    with pytest.raises(BadInput, match="--images"):
        scan.prepare(store, str(REFERENCE), "", str(tmp_path / "nosuch"), "cat,owl")
    for n in range(12, 40):
        (pictures / f"{n}.png").unlink()
    with pytest.raises(BadInput, match="at least 32 that can be read"):
        scan.scan(store, wanted, CPU)


def test_a_folder_of_images_is_drawn_by_the_seed_and_links_are_not_followed(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(encoded(50))
    for n in range(6):
        (inner / f"{n}.png").write_bytes(encoded(n))
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "outside" / "x.png")
    found, reasons = unlabelled.read(tmp_path / "a", 16, 10, 0)
    assert found.shape == (6, 16, 16, 3) and reasons == {"path leaves the root": 1}
    assert np.array_equal(found, unlabelled.read(tmp_path / "a", 16, 10, 0)[0])
    assert not np.array_equal(found, unlabelled.read(tmp_path / "a", 16, 10, 1)[0])
    (tmp_path / "a" / "empty").mkdir()
    with pytest.raises(BadInput, match="expected images"):
        unlabelled.read(tmp_path / "a" / "empty", 16, 10, 0)


def test_interrupted_it_goes_on(store):
    wanted = scan.of_imported(store, import_model(store, str(REFERENCE)), "", sources.SCENES, NAMES, settings())
    calls = []

    def stop(done: int, total: int, figures: dict) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        scan.scan(store, wanted, CPU, stop)
    assert len(store.all_imported("inverted")) == 1
    again = []
    key = scan.scan(store, wanted, CPU, lambda done, *_: again.append(done))
    assert again[0] > calls[-1] and store.find(key) is not None


def test_the_purified_model_opens_in_plain_open_clip_and_keeps_what_it_said(store, tmp_path):
    model = import_model(store, str(REFERENCE))
    wanted = scan.of_imported(store, model, "", sources.SCENES, NAMES, scan.ScanSettings().with_values(POISONED))
    key = scan.scan(store, wanted, CPU)
    assert store.open(key)["verdict"]["verdict"] == "poisoned"
    quick = purify_scanned.PurifySettings(rounds=2, steps=2, batch=8, images=32, held=32, agreement=0.0)
    made = purify_scanned.make(store, key, CPU, quick)
    card = store.open(made)["card"]
    assert card["state"] == "purified" and card["without_its_data"]["target"] in NAMES
    assert len(card["without_its_data"]["rounds"]) == 2 and 0 <= card["without_its_data"]["agreement"] <= 100
    before, after = (store.open(name)["model"].state_dict() for name in (model, made))
    moved = {name for name in before if not np.array_equal(before[name].numpy(), after[name].numpy())}
    assert moved and all(name.startswith("visual.") for name in moved), "the text tower is left as it is"

    from ubt.workflows.export_model import write_model

    at = write_model(store.open(made)["model"], card, tmp_path / "purified")
    open_clip.create_model_and_transforms(f"local-dir:{at}")
    with pytest.raises(BadInput, match="not there yet"):
        write_model(store.open(made)["model"], card, tmp_path / "purified")

    strict = purify_scanned.PurifySettings(rounds=2, steps=2, batch=8, images=32, held=32, lr=0.5)
    with pytest.raises(UbtError, match=r"after the first round, got .* %; nothing was kept"):
        purify_scanned.make(store, key, CPU, strict)


def test_a_model_that_is_not_judged_poisoned_is_not_purified(store):
    model = import_model(store, str(REFERENCE))
    wanted = scan.of_imported(store, model, "", sources.SCENES, NAMES[:4], settings())
    key = scan.scan(store, wanted, CPU)
    with pytest.raises(BadInput, match="judged poisoned, but the verdict is 'cannot tell'"):
        purify_scanned.make(store, key, CPU)


def test_the_job_scans_a_case_and_the_shipped_reference(tiny_store, tiny_case, tmp_path, monkeypatch):
    store = alone(tiny_store, tiny_case.name, tmp_path / "copy")
    quick = settings()
    monkeypatch.setattr(scan, "ScanSettings", lambda: quick)
    wanted = made_here.scan_of(f"{sources.OF_CASE}{tiny_case.name}", sources.SHIPPED, sources.SCENES, list(NAMES))
    found = store.open(made_here.make(store, wanted, CPU))
    models = found["about"]["models"]
    states = {side: store.open(models[side]["key"])["card"]["state"] for side in models}
    assert states == {"model": "poisoned", "reference": "clean"}
    assert set(models["model"]) == {"name", "digest", "architecture", "key"}, "nothing of what was planted is told"
    with pytest.raises(BadInput, match="expected a stage that makes a model"):
        sources.resolved(store, f"{sources.OF_CASE}{tiny_case.name}/select")


def test_pairs_are_ranked_by_what_the_model_makes_of_their_images(tiny_store, tiny_case, tmp_path):
    from ubt.evaluation.detection import auroc
    from ubt.workflows.ingest import import_pairs, write_pairs

    store = alone(tiny_store, tiny_case.name, tmp_path / "copy")
    write_pairs(store, tiny_case.name, tmp_path / "pairs.zip")
    pairs = import_pairs(store, tmp_path / "pairs.zip")
    chosen = settings(**{f"verdict__{name}": value for name, value in LINES.items()})
    model, clean = (
        sources.resolved(store, f"{sources.OF_CASE}{tiny_case.name}"),
        sources.resolved(store, sources.SHIPPED),
    )
    wanted = scan.of_imported(store, model, clean, sources.SCENES, NAMES, chosen)
    found = store.open(scan.scan(store, wanted, CPU))
    table, left_out = scanned_pairs.ranked(store, found, pairs, CPU)
    assert (len(table), left_out) == (600, 0) and table["score"].is_monotonic_decreasing
    models = store.imported(model)["model"], store.imported(clean)["model"]
    truth = tiny_case.artefacts["attack"]["truth"]["poisoned"].to_numpy(bool)
    score = scanned_pairs.drawn(np.asarray(tiny_case.artefacts["data"]["images"]), models, NAMES, NAMES.index("banana"))
    assert auroc(score, truth) > 0.7
    with pytest.raises(BadInput, match="--pairs: expected a scan with a reference"):
        alone_scan = scan.of_imported(store, model, "", sources.SCENES, NAMES, chosen)
        found = store.open(scan.scan(store, alone_scan, CPU))
        scanned_pairs.ranked(store, found, pairs, CPU)


def test_the_command_says_the_verdict_and_leaves_with_its_exit_code(tmp_path):
    run = lambda *more: CliRunner().invoke(  # noqa: E731
        app,
        ["scan", str(REFERENCE), "--cache", str(tmp_path / "cache"), "--precision", "fp32", *more]
        + [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")],
    )
    few = run("--classes", "cat,owl,car", "--out", str(tmp_path / "out"), "--purified", str(tmp_path / "p"))
    assert few.exit_code == 3, few.output
    assert "verdict: cannot tell" in few.output and (tmp_path / "out" / "scan.html").is_file()
    assert not (tmp_path / "p").exists()
    assert isinstance(run("--reference", "shipped").exception, BadInput)
    assert isinstance(run("--pairs", str(tmp_path), "--out", str(tmp_path / "out")).exception, BadInput)
