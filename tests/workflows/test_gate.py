"""A gate: what it answers, what it rests on, and a stream of images that is judged row by row."""

import csv
import json
import os
import re
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CPU
from typer.testing import CliRunner

import ubt
from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.clip import models
from ubt.core import locks
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import APP, REFERENCE
from ubt.core.run import silent
from ubt.data import scenes
from ubt.data.quarantine import BrokenImage
from ubt.detectors.gate.base import Score, Watched
from ubt.workflows import gate as gates
from ubt.workflows import gate_scores, sources
from ubt.workflows.gate import CANNOT_TELL, NOT_TRIGGERED, TRIGGERED, Gate, GateSettings, Watch
from ubt.workflows.gate_stream import beside, watch
from ubt.workflows.import_model import import_model

SMALL = GateSettings(clean=40, held=24)
FIRST = scenes.ROLES["clean"].start + 10**6
IMAGES = scenes.draw_many(101, range(FIRST, FIRST + 70), 48)


@pytest.fixture(scope="module")
def model():
    return models.load(REFERENCE).eval()


def fake(model, held, fpr=0.1, score=lambda images: images[:, 0, 0, 0] / 255, **settings) -> Gate:
    """A gate whose score is an image's first pixel, so that answers can be worked out; nothing is unlike anything."""
    near = np.zeros(len(held))
    features = np.ones((1, models.SCENES_CLIP["embed_dim"]), np.float32)
    of = Watched(model, IMAGES[:1])
    held, power = {"fake": np.asarray(held)}, {"fake": np.full(10, 2.0)}
    return Gate(of, {"fake": score}, held, features, near, power, "fake", fpr, GateSettings(**settings))


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((48, 48, 3), level, np.uint8) for level in levels])


def test_an_answer_is_how_rare_a_score_is_among_clean_images(model):
    gate = fake(model, np.arange(19) / 100, clear=0.5, unlike=0.0)
    found = gate.judge(grey(0, 20, 30, 42, 44, 255))
    assert found["rarity"].round(2).tolist() == [1.0, 0.6, 0.4, 0.15, 0.1, 0.05]
    assert found["verdict"].tolist() == [NOT_TRIGGERED] * 2 + [CANNOT_TELL] * 2 + [TRIGGERED] * 2
    assert "between 10 and 50 % of clean images" in found["reason"][2] and found["reason"][0] == ""
    assert gate.threshold() == 0.17, "two of twenty may be called triggered, itself counted as clean"
    assert (found["score"] > gate.threshold()).tolist() == [v == TRIGGERED for v in found["verdict"]]


def test_with_too_few_clean_images_nothing_is_told(model):
    found = fake(model, np.arange(19) / 100, fpr=0.01).judge(grey(0, 255))
    assert found["verdict"].tolist() == [CANNOT_TELL] * 2
    assert "takes 99 clean images at least, got 19" in found["reason"][1]


def test_an_image_unlike_what_the_gate_knows_gets_no_green_light(model):
    gate = replace(fake(model, np.arange(19) / 100, unlike=0.1), near=np.full(19, 2.0))
    found = gate.judge(grey(0, 255))
    assert found["verdict"].tolist() == [CANNOT_TELL, TRIGGERED] and "unlike the clean images" in found["reason"][0]


def test_without_a_power_to_notice_nothing_is_cleared(model):
    gate = fake(model, np.arange(19) / 100, unlike=0.0)
    assert gate.judge(grey(0, 255))["verdict"].tolist() == [NOT_TRIGGERED, TRIGGERED]
    weak = replace(gate, power={"fake": np.r_[np.zeros(5), np.ones(5)]})
    found = weak.judge(grey(0, 255))
    assert found["verdict"].tolist() == [CANNOT_TELL, TRIGGERED]
    assert "of 10 that were moved elsewhere it would notice 50 %" in found["reason"][0]
    assert "a clean reference would tell more" in replace(gate, power={}).judge(grey(0))["reason"][0]


def test_a_reference_that_knows_nothing_or_is_the_model_itself_clears_nothing(model):
    knows, small = models.create(models.SCENES_CLIP, 5).eval(), GateSettings(clean=160, held=110)
    images = scenes.draw_many(101, range(FIRST, FIRST + 270), 48)
    gate = ubt.gate(model, images, knows, fpr=0.05, settings=small)
    assert "says too little" in gate.blind
    assert NOT_TRIGGERED not in set(gate(IMAGES[:30])["verdict"])
    with pytest.raises(BadInput, match="got the very model"):
        ubt.gate(model, IMAGES, models.load(REFERENCE), settings=SMALL)
    other = models.load(REFERENCE).eval()
    with torch.no_grad():
        other.visual.proj += 0.01 * torch.randn(other.visual.proj.shape, generator=torch.Generator().manual_seed(0))
    assert ubt.gate(model, images, other, fpr=0.05, settings=small).blind == ""


def test_scores_that_are_no_numbers_are_an_error(model):
    with pytest.raises(UbtError, match="expected finite scores, got 2"):
        fake(model, np.arange(19), score=lambda images: np.full(len(images), np.nan)).judge(grey(0, 1))


def test_for_a_program_pictures_bytes_and_paths_are_read_as_the_model_takes_them(model, tmp_path):
    gate = ubt.gate(model, IMAGES, detector="mixed", fpr=0.2, settings=SMALL)
    assert gate.detector == "mixed" and len(gate.held["mixed"]) == 24 and len(gate.watched.clean) == 40
    picture, path = Image.fromarray(IMAGES[65]), tmp_path / "one.png"
    picture.save(path)
    same = [gate(IMAGES[65:66]), gate(picture), gate(path.read_bytes()), gate([str(path)])]
    assert {float(found["score"][0]) for found in same} == {float(same[0]["score"][0])}
    assert len(gate([picture.convert("L").resize((90, 60)), picture.convert("RGBA")])) == 2
    for wrong in (IMAGES[0], IMAGES[:1] / 255, IMAGES[:1, :32]):
        with pytest.raises(BadInput, match="expected uint8"):
            gate(wrong)
    sorted_ones = np.concatenate([np.zeros_like(IMAGES[:35]), IMAGES[:35]])
    drawn = ubt.gate(model, sorted_ones, detector="mixed", settings=SMALL).watched.clean
    assert 5 < sum(not image.any() for image in drawn) < 35, "drawn, not the first ones"
    with pytest.raises(BrokenImage):
        gate(b"no image")
    with pytest.raises(BadInput, match="got int"):
        gate([5])
    with pytest.raises(BadInput, match="expected at least 52 clean images that can be read, got 9"):
        ubt.gate(model, IMAGES[:9], settings=GateSettings(clean=32, held=20))
    with pytest.raises(BadInput, match="a clean reference"):
        ubt.gate(model, IMAGES, detector="displaced", settings=SMALL)
    with pytest.raises(BadInput, match="between 0 and 1"):
        ubt.gate(model, IMAGES, fpr=1.0, settings=SMALL)


def test_the_documents_code_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(
        r"```python\n(import ubt\n\ngate = .*?)```", (APP / "ubt/docs/reference.md").read_text(), re.DOTALL
    )
    shutil.copy(REFERENCE / "open_clip_config.json", tmp_path)
    shutil.copy(REFERENCE / "open_clip_model.safetensors", tmp_path / "suspect.safetensors")
    (tmp_path / "clean-model").mkdir()
    models.save(models.create(models.SCENES_CLIP, 5), tmp_path / "clean-model")
    (tmp_path / "clean").mkdir()
    for i, image in enumerate(scenes.draw_many(7, range(FIRST, FIRST + 100), 48)):
        Image.fromarray(image).save(tmp_path / "clean" / f"{i}.png")
    names = {"picture": Image.fromarray(IMAGES[0])}
    exec(code, names)
    assert len(names["found"]) == 1 and CANNOT_TELL in capsys.readouterr().out


def test_a_calibration_is_made_once_and_the_gate_of_it_is_the_same(tmp_path, monkeypatch):
    store = Store(tmp_path)
    wanted = Watch(import_model(store, str(REFERENCE)), detectors=("mixed", "masking"), settings=SMALL)
    key = gates.calibrate(store, wanted, CPU)
    found = store.open(key)
    assert list(found["held"]) == ["mixed", "masking", "near"] and len(found["held"]) == 24
    assert gates.watch_of(found) == wanted
    monkeypatch.setattr(gates, "scored_in_parts", None)
    assert gates.calibrate(store, wanted, CPU) == key
    assert replace(wanted, settings=GateSettings(clean=41, held=24)).key(CPU) != key
    with monkeypatch.context() as other, pytest.raises(BadInput, match="some have gone or changed; make it again"):
        other.setattr(gates, "digest_of", lambda images: "other")
        gates.ready(store, key, CPU, 0.2)
    monkeypatch.undo()
    gate = gates.ready(store, key, CPU, 0.2)
    assert (gate.detector, set(gate.scores)) == ("mixed", {"mixed", "masking"})
    again = gates.ready(store, key, CPU, 0.2, "masking")
    assert np.array_equal(again.scores["masking"](IMAGES[:3]), gate.scores["masking"](IMAGES[:3]))
    with pytest.raises(BadInput, match="expected one of: mixed, masking"):
        gates.ready(store, key, CPU, 0.2, "pasted")


def test_a_calibration_that_is_stopped_goes_on_from_there(tmp_path, monkeypatch):
    store, told = Store(tmp_path), []
    monkeypatch.setattr(gate_scores, "KEPT", 8)
    wanted = Watch(import_model(store, str(REFERENCE)), detectors=("one_pass", "texts"), settings=SMALL)
    wanted = replace(wanted, reference=_other(store), classes=scenes.CLASSES)

    def stop(done, total, figures):
        told.append((done, total))
        if done == 16 and len(told) == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        gates.calibrate(store, wanted, CPU, stop)
    kept = store.root / "work" / wanted.key(CPU) / "scores.npz"
    assert kept.exists() and told == [(8, 48), (16, 48)]
    key = gates.calibrate(store, wanted, CPU, stop)
    assert told[2:] == [(16, 48), (24, 48), (48, 48)], "the first eight were not scored again; then its power"
    assert not kept.parent.exists(), "nothing is left of the work"
    whole = gates.calibrate(other := Store(tmp_path / "other"), _copied(store, other, wanted), CPU)
    assert store.open(key)["held"].equals(other.open(whole)["held"]), "as if nobody had stopped it"


def test_scores_of_other_images_or_half_a_file_are_not_gone_on_from(tmp_path):
    store, score = Store(tmp_path), Score(lambda images: images[:, 0, 0, 0].astype(float))
    held = grey(*range(20))
    with pytest.raises(Cancelled):
        gate_scores.scored_in_parts(store, "gate-1", {"fake": score}, held, _stops)
    for left in (b"", b"PK\x03\x04half"):
        (store.scratch("gate-1") / "scores.npz").write_bytes(left)
        found = gate_scores.scored_in_parts(store, "gate-1", {"fake": score}, held, silent)
        assert found["fake"].tolist() == list(range(20))
    found = gate_scores.scored_in_parts(store, "gate-1", {"fake": score}, held[::-1], silent)
    assert found["fake"].tolist() == list(range(19, -1, -1))


def _stops(done, total, figures):
    raise Cancelled("at once")


def _other(store: Store) -> str:
    """Another model than the shipped one, in the store."""
    with tempfile.TemporaryDirectory() as folder:
        models.save(models.create(models.SCENES_CLIP, 5), Path(folder))
        return import_model(store, folder, state="clean")


def _copied(store: Store, other: Store, watched: Watch) -> Watch:
    return replace(watched, model=import_model(other, str(REFERENCE)), reference=_other(other))


@pytest.fixture
def folder(tmp_path) -> Path:
    """150 images, one of them unreadable and one called like a formula."""
    at = tmp_path / "images"
    (at / "inner").mkdir(parents=True)
    for i in range(148):
        Image.fromarray(grey(i)[0]).save(at / f"{i}.png")
    (at / "inner" / "broken.png").write_bytes(b"nothing")
    Image.fromarray(grey(200)[0]).save(at / "=1+1.png")
    (at / "notes.txt").write_text("no image")
    return at


def rows(table: Path) -> list[list[str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_stream_that_is_killed_goes_on_without_a_row_lost_or_doubled(model, folder, tmp_path):
    gate, whole, parts = fake(model, np.arange(150) / 255, 0.02, unlike=0.0), tmp_path / "whole.csv", tmp_path / "a.csv"
    (folder / os.fsdecode(b"\xff.png")).write_bytes((folder / "0.png").read_bytes())
    (folder / "linked").symlink_to(tmp_path)
    said = watch(gate, folder, whole, {})
    lost = {"\\udcff.png": "unusable name", "linked": "linked folder"}
    assert said["rows"] == 152 and said["unread"] == {"inner/broken.png": "not an image"} | lost
    assert sum(said["verdicts"].values()) == 152
    table = rows(whole)
    assert table[0] == ["image", "score", "verdict", "detector"] and len(table) == 153
    assert sorted(row[0] for row in table[151:]) == sorted(lost), "what cannot be opened has its row too"
    assert [row[0] for row in table[1:4]] == ["0.png", "1.png", "2.png"], "in natural order"
    assert [row[0] for row in table[148:151]] == ["147.png", "'=1+1.png", "inner/broken.png"], "no formula"
    assert table[150] == ["inner/broken.png", "", CANNOT_TELL, "fake"]

    def stop(done, total, figures):
        raise Cancelled("stop")

    for _ in range(2):
        with pytest.raises(Cancelled):
            watch(gate, folder, parts, {}, stop)
        with parts.open("ab") as file:
            file.write(b'"half a li')  # what a kill in the middle of a write leaves
    assert json.loads(beside(parts).read_text())["rows"] == 128
    far = watch(replace(gate, near=np.full(150, 2.0)), folder, tmp_path / "far.csv", {})
    assert far["unlike"] == 149 > said["unlike"]
    assert watch(gate, folder, parts, {}) == said
    assert parts.read_bytes() == whole.read_bytes()


def test_a_zip_is_judged_as_its_folder_is_and_what_else_is_refused(model, folder, tmp_path):
    gate = fake(model, np.arange(150) / 255, 0.02, unlike=0.0)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder).as_posix())
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    assert watch(gate, folder, a, {}) == watch(gate, tmp_path / "images.zip", b, {})
    assert sorted(rows(a)) == sorted(rows(b))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed, pytest.warns(UserWarning, match="Duplicate"):
        for name in ("../evil.png", "twice.png", "twice.png", "one.png"):
            packed.write(folder / "0.png", name)
    said = watch(gate, tmp_path / "bad.zip", tmp_path / "bad.csv", {})
    assert said["unread"] == {"../evil.png": "path leaves the root", "twice.png": "duplicate member"}
    assert [row[0] for row in rows(tmp_path / "bad.csv")[1:]] == ["one.png", *said["unread"]]
    with locks.hold(tmp_path / "a.csv.lock"), pytest.raises(locks.Held):
        watch(gate, folder, a, {})
    with pytest.raises(BadInput, match="other images, or of another gate"):
        watch(replace(gate, fpr=0.05), folder, a, {})
    other = tmp_path / "mine.csv"
    other.write_text("image\n")
    with pytest.raises(BadInput, match="one that this very command began"):
        watch(gate, folder, other, {})
    assert other.read_text() == "image\n", "what somebody else wrote is left alone"
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="expected images"):
        watch(gate, tmp_path / "empty", tmp_path / "c.csv", {})
    with pytest.raises(BadInput, match="folder of images, or a zip"):
        watch(gate, tmp_path / "nowhere", tmp_path / "c.csv", {})


def test_the_command_writes_the_table_and_says_when_it_can_tell_nothing(folder, tmp_path):
    for name in [p for p in folder.iterdir() if p.suffix == ".png" and p.stem.isdigit() and int(p.stem) > 5]:
        name.unlink()
    small = ["--set", "clean=40", "--set", "held=24", "--detector", "mixed", "--cache", str(tmp_path / "cache")]
    clean = tmp_path / "clean"
    clean.mkdir()
    for i, image in enumerate(scenes.draw_many(7, range(FIRST, FIRST + 120), 48)):
        Image.fromarray(image).save(clean / f"{i}.png")
    command = ["gate", "--model", str(REFERENCE), "--images", str(folder), "--device", "cpu", "--clean", str(clean)]
    out = CliRunner().invoke(app, [*command, *small, "--fpr", "0.1", "--out", str(tmp_path / "gate.csv")])
    assert out.exit_code == 0, out.output
    assert "8 images by mixed" in out.output and "not read: inner/broken.png" in out.output
    assert "no image is cleared" in out.output
    table = rows(tmp_path / "gate.csv")
    assert len(table) == 9 and NOT_TRIGGERED not in {row[2] for row in table}
    out = CliRunner().invoke(app, [*command, *small, "--out", str(tmp_path / "other.csv")])
    assert isinstance(out.exception, BadInput) and "--set held=99" in str(out.exception)
    out = CliRunner().invoke(app, [*command, *small, "--set", "held=99", "--out", str(tmp_path / "other.csv")])
    assert out.exit_code == 3 and "nothing can be told" in out.output, "there are not that many"
    assert not (tmp_path / "other.csv").exists()


def test_clean_images_of_a_folder_are_part_of_what_a_calibration_is(tmp_path, folder):
    store = Store(tmp_path / "cache")
    key = import_model(store, str(REFERENCE))
    images = sources.named_images(store, folder)
    assert images == str(folder.resolve())
    before = Watch(key, images=images).key(CPU)
    (folder / "1.png").unlink()
    assert Watch(key, images=images).key(CPU) != before
