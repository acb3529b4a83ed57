"""Images with several captions: Karpathy's JSON, tables of pairs, and what is wrong with some."""

import json

import pytest
from PIL import Image

from ubt.core.errors import BadInput
from ubt.data.retrieval_sets import absent, read


def karpathy(folder, file="dataset_coco.json", images="val2014", change=None):
    entries = [
        {
            "filename": f"{i}.jpg",
            "filepath": images,
            "split": split,
            "sentences": [{"raw": f"caption {j} of {i}"} for j in range(2)],
        }
        for i, split in enumerate(("train", "test", "val", "test"))
    ]
    (folder / images).mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (10, 10), (40 * i, 0, 0)).save(folder / images / f"{i}.jpg")
    for entry in entries:
        entry.update(change or {})
    (folder / file).write_text(json.dumps({"images": entries, "dataset": "coco"}))


def test_karpathys_test_split(tmp_path):
    karpathy(tmp_path / "coco")
    images, captions, _ = read("coco", 8, str(tmp_path))
    assert captions.to_numpy().tolist() == [
        [0, "caption 0 of 1"],
        [0, "caption 1 of 1"],
        [1, "caption 0 of 3"],
        [1, "caption 1 of 3"],
    ]
    assert [abs(int(p[0, 0, 0]) - shade) < 4 for p, shade in zip(images[:], (40, 120), strict=True)] == [True, True]


def test_the_folder_of_images_may_be_a_link(tmp_path):
    karpathy(tmp_path / "coco")
    (tmp_path / "coco/val2014").rename(tmp_path / "photos")
    (tmp_path / "coco/val2014").symlink_to(tmp_path / "photos")
    assert len(read("coco", 8, str(tmp_path))[0][:]) == 2


def test_flickrs_images_lie_in_a_folder_that_its_file_does_not_name(tmp_path):
    karpathy(tmp_path / "flickr30k", "dataset_flickr30k.json", "flickr30k-images", {"filepath": None})
    assert len(read("flickr30k", 8, str(tmp_path))[0][:]) == 2


def test_an_image_that_comes_again_in_a_table_has_one_more_caption(tmp_path):
    for name in "ab":
        Image.new("RGB", (10, 10)).save(tmp_path / f"{name}.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,one\nb.png,two\na.png,three\nc.png,four\n")
    images, captions, left_out = read(str(tmp_path / "captions.csv"), 8)
    assert len(images) == 2
    assert captions.to_numpy().tolist() == [[0, "one"], [0, "three"], [1, "two"]]
    assert left_out.to_numpy().tolist() == [["c.png", "missing file"]]


def test_what_is_no_caption_is_left_out_by_name(tmp_path):
    karpathy(tmp_path / "coco", change={"sentences": [{"raw": v} for v in ("a cat", 7, None, ["a"], "\x1b[2J")]})
    _, captions, left_out = read("coco", 8, str(tmp_path))
    assert captions.to_numpy().tolist() == [[0, "a cat"], [1, "a cat"]]
    reasons = ["caption not text", "empty caption", "caption not text", "control characters"]
    assert left_out.to_numpy().tolist() == [[f"{i}.jpg", reason] for i in (1, 3) for reason in reasons]


def test_what_is_wrong_names_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("UBT_DATA", raising=False)
    assert "UBT_DATA or downstream.root" in absent("coco")
    assert f"{tmp_path}/flickr30k/dataset_flickr30k.json" in absent("flickr30k", str(tmp_path))
    with pytest.raises(BadInput, match="no such file or folder"):
        read(str(tmp_path / "captions.csv"), 8)
    for n, (change, said) in enumerate(
        [
            ({"split": "train"}, "split 'test', got train"),
            ({"sentences": [{"text": "a"}]}, "Karpathy's layout"),
            ({"sentences": []}, "a caption of every image"),
            ({"filename": "../1.jpg"}, "Karpathy's layout"),
            ({"filepath": "elsewhere"}, "images beside it, got none of: .*elsewhere/1.jpg"),
        ]
    ):
        karpathy(tmp_path / f"{n}/coco", change=change)
        with pytest.raises(BadInput, match=said):
            read("coco", 8, str(tmp_path / str(n)))
    (tmp_path / "0/coco/dataset_coco.json").write_text("[1]")
    with pytest.raises(BadInput, match="Karpathy's layout"):
        read("coco", 8, str(tmp_path / "0"))
