"""Pairs with images as a data set: what is written, and that Hugging Face `datasets` and this package open it."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ingested import pixels
from PIL import Image

from ubt.core.errors import UbtError
from ubt.data import catalogue
from ubt.pairs import image_dataset
from ubt.workflows.open_case import open_case

HOSTILE = ["../../etc/passwd", "=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "\ud800lone"]
TEXTS = pd.Series(HOSTILE, dtype=object)
FRAME = pd.DataFrame(
    {"id": list("abcd"), "caption": TEXTS, "image": TEXTS, "score": np.linspace(0, 1, 4, dtype=np.float32)}
)
SHOWN = np.stack([pixels(i, 20, 20) for i in range(9)])


class Lost:
    """Images of which row 3 can no longer be read."""

    def __getitem__(self, rows):
        if 3 in np.atleast_1d(rows):
            raise UbtError("it has changed since")
        return SHOWN[rows]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Hugging Face `datasets`, which looks for nothing elsewhere."""
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    reason = 'the package datasets is not installed (pip install "ubt-inspector[datasets]")'
    return pytest.importorskip("datasets", reason=reason)


def test_a_group_of_images_at_a_time_text_as_data_and_what_is_lost_as_null(tmp_path, monkeypatch):
    monkeypatch.setattr(image_dataset, "GROUP", 2)
    image_dataset.write(tmp_path / "a.parquet", FRAME, Lost(), np.array([8, 3, 0, 1]))
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2]
    told = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert told == {"image": {"_type": "Image"}}
    rows = file.read().to_pylist()
    assert rows[1]["image"] is None
    for row, at in zip(rows[::2], (8, 0), strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))), SHOWN[at])
    assert [row["image_path"] for row in rows] == [*HOSTILE[:3], "\ufffdlone"]
    assert [row["score"] for row in rows] == FRAME["score"].tolist()


def test_no_pairs_are_a_file_too(tmp_path):
    image_dataset.write(tmp_path / "a.parquet", FRAME[:0], SHOWN, np.zeros(0, int))
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


def test_the_card_holds_what_it_says_as_json_whatever_a_query_says():
    rule = "caption contains '```\n<script>alert(1)</script>'"
    text = image_dataset.card({"rule": rule}).decode()
    assert text.count("```") == 2
    assert json.loads(text.split("```json")[1].split("```")[0]) == {"rule": rule}
    assert f"path: {image_dataset.FILE}" in text.split("---")[1]


def test_what_is_written_is_read_back_here(tmp_path):
    image_dataset.write(tmp_path / "train.parquet", FRAME[:3], SHOWN, np.array([2, 0, 5]))
    (tmp_path / "README.md").write_bytes(image_dataset.card({}))
    read = catalogue.read(tmp_path)
    assert read["pairs"]["id"].tolist() == ["a", "b", "c"]
    assert read["pairs"]["caption"].tolist() == HOSTILE[:3]
    images = catalogue.open_images(read["about"], read["pairs"]["image"].to_numpy(object), 20)
    assert np.array_equal(images[:], SHOWN[[2, 0, 5]])


def test_datasets_opens_the_folder_the_file_and_a_case(offline, mapped, tmp_path):
    case = open_case(*mapped.names(), cache=mapped.root)
    count = case.export(tmp_path / "out", "suspicious")
    chosen = case.select("suspicious")
    found = [
        offline.load_dataset(str(tmp_path / "out"))["train"],
        offline.load_dataset("parquet", data_files=str(tmp_path / "out" / image_dataset.FILE))["train"],
        case.dataset("suspicious"),
    ]
    for opened in found:
        assert isinstance(opened.features["image"], offline.Image)
        assert opened["id"][:] == chosen["id"].tolist()
        assert count == len(opened) > 0
        assert np.array_equal(np.asarray(opened[4]["image"]), case.images([chosen["id"].iloc[4]])[0])
        assert opened["image_path"][:] == chosen["image"].tolist()


def test_without_datasets_a_case_says_what_to_install(full, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UbtError, match=r'pip install "ubt-inspector\[datasets\]"'):
        open_case(*full.names(), cache=full.root).dataset("topk")


@pytest.mark.parametrize("how", ["one", "several", "parquet", "paths"])
def test_what_datasets_saved_is_imported(offline, tmp_path, how):
    files = [tmp_path / "images" / f"{i}.png" for i in range(3)]
    files[0].parent.mkdir()
    for i, file in enumerate(files):
        Image.fromarray(SHOWN[i]).save(file)
    shown = [str(f) for f in files] if how == "paths" else [Image.open(f) for f in files]
    saved = offline.Dataset.from_dict({"image": shown, "caption": HOSTILE[:3], "id": list("xyz")})
    saved = saved.cast_column("image", offline.Image())
    path = tmp_path / "saved"
    if how == "several":
        offline.DatasetDict({"train": saved, "test": saved.select([0])}).save_to_disk(path)
    elif how == "parquet":
        path.mkdir()
        saved.to_parquet(path / "train-00000-of-00001.parquet")
    else:
        saved.save_to_disk(path)
    read = catalogue.read(path, catalogue.SourceOptions(folder=str(tmp_path)))
    assert read["pairs"]["id"].tolist() == list("xyz")
    assert read["pairs"]["caption"].tolist() == HOSTILE[:3]
    images = catalogue.open_images(read["about"], read["pairs"]["image"].to_numpy(object), 20)
    assert np.array_equal(images[:], SHOWN[:3])
