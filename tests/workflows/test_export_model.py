"""The purified model to take away opens in plain open_clip and says what it is."""

import io
import json
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny import CPU, tiny
from typer.testing import CliRunner

from ubt.cases import demo
from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.cli import make_demo
from ubt.cli.main import app
from ubt.clip import models
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import file_digest
from ubt.data import model_input
from ubt.data.scenes import prompts
from ubt.workflows import export_model


@pytest.mark.parametrize("which", export_model.STAGES)
def test_unpacked_it_opens_and_its_card_is_true(tiny_case, tiny_store, tmp_path, which):
    with zipfile.ZipFile(io.BytesIO(export_model.zipped(tiny_store, tiny_case.name, which))) as z:
        z.extractall(tmp_path)
    folder = tmp_path / f"{tiny_case.name}-{which}"
    card = json.loads((folder / models.CARD).read_text())
    assert card["digest"] == file_digest(folder / models.WEIGHTS)
    assert card["measures_percent"]["ca"] == tiny_store.case(tiny_case.name).metrics[which]["ca"]
    assert card["settings"]["data"]["pairs"] == 600
    plain, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = models.load(folder)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), ours.state_dict().values(), strict=True))


def test_exported_it_measures_in_plain_open_clip_what_was_reported(tiny_case, tiny_store, tmp_path):
    folder = export_model.export(tiny_store, tiny_case.name, "unlearn", tmp_path / "new" / "out")
    assert {p.name for p in folder.iterdir()} == {models.CONFIG, models.WEIGHTS, models.CARD}
    assert [p.name for p in folder.parent.iterdir()] == ["out"]
    scope = {"open_clip": open_clip}
    exec(export_model.opening_line(folder), scope)
    model, preprocess, tokenizer = scope["model"], scope["preprocess"], open_clip.get_tokenizer(f"local-dir:{folder}")
    test, ours = tiny_case.artefacts["test"], models.load(folder)
    with torch.inference_mode():
        text = [model.eval().encode_text(tokenizer(p), normalize=True) for p in prompts()]
        weights = torch.nn.functional.normalize(torch.stack([t.mean(0) for t in text]))
        images = model.encode_image(
            torch.stack([preprocess(Image.fromarray(i)) for i in test["images"]]), normalize=True
        )
    predicted = (images @ weights.T).argmax(1).numpy()
    reported = tiny_store.case(tiny_case.name).metrics["purified"]["ca"]
    assert 100 * (predicted == test["labels"]).mean() == pytest.approx(reported, abs=0.1)
    assert np.abs(models.embed_images(ours, test["images"]) - images.numpy()).max() <= 1e-5
    assert np.abs(models.embed_tokens(ours, model_input.tokenize(prompts()[0], 24)) - text[0].numpy()).max() <= 1e-5
    with pytest.raises(BadInput, match="expected a folder that is not there yet"):
        export_model.export(tiny_store, tiny_case.name, "unlearn", folder)


def test_the_card_says_what_it_was_made_from(tiny_case, tiny_store):
    record = tiny_store.record(tiny_case.name)
    card = export_model.card(tiny_store, tiny_case.name)
    assert card["name"] == f"{tiny_case.name}-purified"
    assert card["settings"] == record.settings
    before = tiny_case.artefacts["poison"]
    assert card["state"] == "purified"
    assert card["made_from"]["case"] == tiny_case.name
    assert card["made_from"]["defence"] == "UBT, ours"
    weights = before.manifest["files"][f"model/{models.WEIGHTS}"]["sha256"]
    assert card["made_from"]["parent"] == {"stage": "poison", "artefact": before.path.name, "digest": weights}
    assert card["made_from"]["D"]["artefact"] == tiny_case.artefacts["data"].path.name
    assert card["made_from"]["artefacts"]["select"] == record.artefacts["select"]
    assert card["architecture"].startswith("ViT 48 px, patch 8, 4 layers x 128, 4 heads")
    assert export_model.card(tiny_store, tiny_case.name, "poison")["state"] == "poisoned"
    with pytest.raises(BadInput, match="expected a stage that makes a model"):
        export_model.card(tiny_store, tiny_case.name, "split")


def test_nothing_is_left_of_an_export_that_failed(tiny_case, tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr(export_model, "card", lambda *arguments: {"not": object()})
    with pytest.raises(TypeError):
        export_model.export(tiny_store, tiny_case.name, "unlearn", tmp_path / "out")
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a folder that can be made"):
        export_model.export(tiny_store, tiny_case.name, "unlearn", tmp_path / "file" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_export_left_goes_with_the_next(tiny_case, tiny_store, tmp_path):
    left = tmp_path / ".out.4194305.tmp"
    left.mkdir()
    (left / "open_clip_model.safetensors").write_bytes(b"half")
    export_model.export(tiny_store, tiny_case.name, "unlearn", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_command_line_brings_in_and_takes_away(tiny_case, tiny_store, tmp_path):
    """What was taken away comes back with the same weights, and says what it was."""
    cache, out = str(tmp_path / "cache"), tmp_path / "out"

    def ubt(*arguments):
        return CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False).stdout

    assert export_model.opening_line(out) in ubt(
        "export", tiny_case.name, "--out", str(out), "--cache", str(tiny_store.root)
    )
    printed = ubt("import", str(out), "--state", "purified", "--cache", cache)
    key = printed.split()[-1]
    assert json.loads(ubt("card", key, "--cache", cache))["state"] == "purified"
    assert json.loads(ubt("card", str(out)))["made_from"]["case"] == tiny_case.name
    assert key in ubt("list", "--cache", cache)
    ours, theirs = Store(cache).find(key)["model"], models.load(out)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert "freed" in ubt("delete", key, "--cache", cache)
    assert key not in ubt("list", "--cache", cache)
    with pytest.raises(BadInput, match="unknown model"):
        ubt("card", key, "--cache", cache)


def test_what_is_not_there_is_said(tiny_case, tiny_store, tmp_path):
    with pytest.raises(BadInput, match="expected one of: purified, published"):
        export_model.zipped(tiny_store, tiny_case.name, "nosuch")
    store = Store(tmp_path)
    name = create(store, tiny(), CPU)
    with pytest.raises(BadInput, match="expected the stage unlearn to be done"):
        export_model.zipped(store, name, "purified")


def test_changed_weights_are_not_handed_out(tiny_case, tiny_store, tmp_path):
    import shutil

    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    path = root / "artefacts" / tiny_case.artefacts["unlearn"].path.name / "model" / models.WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UbtError, match="expected the bytes its manifest describes"):
        export_model.zipped(Store(root), tiny_case.name, "purified")


def test_a_shipped_model_is_exported_whole_and_its_card_says_so(tiny_case, tiny_store, tmp_path):
    shipped, folder = Store(tmp_path / "shipped"), tmp_path / "out"
    make_demo.keep_case(tiny_store, CPU, demo.MAIN, make_demo.DemoCase("tiny", tiny()), shipped)
    export_model.export(shipped, demo.MAIN, "unlearn", folder)
    card = json.loads((folder / models.CARD).read_text())
    original = tiny_case.artefacts["unlearn"].manifest["files"][f"model/{models.WEIGHTS}"]["sha256"]
    assert card["digest"] == file_digest(folder / models.WEIGHTS)
    assert [line for line in card["assumed"] if original in line and "restored" in line]
    parent = tiny_case.artefacts["poison"].manifest["files"][f"model/{models.WEIGHTS}"]["sha256"]
    assert (card["state"], card["made_from"]["parent"]["digest"]) == ("purified", parent)
    assert card["measures_percent"]["ca"] == tiny_store.case(tiny_case.name).metrics["purified"]["ca"]
    restored = shipped.open(shipped.record(demo.MAIN).artefacts["unlearn"])["model"]
    plain, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), restored.state_dict().values(), strict=True)
    )
    assert zipfile.ZipFile(io.BytesIO(export_model.zipped(shipped, demo.MAIN, "published"))).testzip() is None
