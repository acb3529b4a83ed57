"""The purified model to take away opens in plain open_clip and says what it is."""

import io
import json
import zipfile

import open_clip
import pytest
import torch

from ubt import checkpoint, models
from ubt.cases import Store
from ubt.config import BadInput, UbtError, file_digest
from ubt.pipeline import create


@pytest.mark.parametrize("which", checkpoint.STAGES)
def test_unpacked_it_opens_and_its_card_is_true(tiny_case, tiny_store, tmp_path, which):
    with zipfile.ZipFile(io.BytesIO(checkpoint.zipped(tiny_store, tiny_case.name, which))) as z:
        z.extractall(tmp_path)
    folder = tmp_path / f"{tiny_case.name}-{which}"
    card = json.loads((folder / models.CARD).read_text())
    assert card["digest"] == file_digest(folder / models.WEIGHTS)
    assert card["measures_percent"]["ca"] == tiny_store.case(tiny_case.name)["metrics"][which]["ca"]
    assert card["settings"]["data"]["pairs"] == 600
    plain, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    ours = models.load(folder)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), ours.state_dict().values(), strict=True))


def test_what_is_not_there_is_said(tiny_case, tiny_store, tmp_path):
    from tiny import CPU, tiny

    with pytest.raises(BadInput, match="expected one of: purified, published"):
        checkpoint.card(tiny_store, tiny_case.name, "nosuch")
    store = Store(tmp_path)
    name = create(store, tiny(), CPU)
    with pytest.raises(BadInput, match="expected the stage unlearn to be done"):
        checkpoint.zipped(store, name, "purified")


def test_changed_weights_are_not_handed_out(tiny_case, tiny_store, tmp_path):
    import shutil

    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    path = root / "artefacts" / tiny_case.artefacts["unlearn"].path.name / "model" / models.WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UbtError, match="expected the bytes its manifest describes"):
        checkpoint.zipped(Store(root), tiny_case.name, "purified")
