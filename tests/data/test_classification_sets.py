"""Data sets by name, in torchvision's layouts with an image or two a class; and what is said where they are absent or
not what they seem.
"""

import hashlib
import json
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from ubt.core.errors import BadInput
from ubt.data import classification_sets, imagenet
from ubt.data.classification_sets import SETS, absent, read, some, with_target


def picture(path, shade=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (shade, 50, 20)).save(path)


def dtd(root, classes=47):
    names = [f"kind{i:02}_x" for i in range(classes)]
    for i, n in enumerate(names):
        picture(root / f"dtd/dtd/images/{n}/{n}_1.jpg", 2 * i)
    (root / "dtd/dtd/labels").mkdir()
    (root / "dtd/dtd/labels/test1.txt").write_text("".join(f"{n}/{n}_1.jpg\n" for n in names))


def pets(root):
    names = [f"Great_Breed{i:02}" for i in range(37)]
    for i, n in enumerate(names):
        picture(root / f"oxford-iiit-pet/images/{n}_1.jpg", 2 * i)
    (root / "oxford-iiit-pet/annotations").mkdir()
    (root / "oxford-iiit-pet/annotations/test.txt").write_text(
        "".join(f"{n}_1 {i + 1} 1 1\n" for i, n in enumerate(names))
    )


def food(root):
    names = [f"dish_{i:03}" for i in range(101)]
    for i, n in enumerate(names):
        picture(root / f"food-101/images/{n}/7.jpg", i)
    (root / "food-101/meta").mkdir()
    (root / "food-101/meta/test.json").write_text(json.dumps({n: [f"{n}/7"] for n in names}))


def caltech(root):
    for i, n in enumerate(["BACKGROUND_Google", "Faces", "car_side", *(f"thing_{i:02}" for i in range(99))]):
        picture(root / f"caltech101/101_ObjectCategories/{n}/image_0001.jpg", i)


@pytest.mark.parametrize(
    ("name", "make", "third"),
    [("dtd", dtd, "kind02 x"), ("pets", pets, "great breed02"), ("food101", food, "dish 002")],
)
def test_torchvisions_layouts_are_read_with_names_that_a_caption_would_use(tmp_path, name, make, third):
    make(tmp_path)
    found = read(name, 8, str(tmp_path))
    assert found.classes[2] == third
    assert len(found.classes) == SETS[name].classes == len(found.labels)
    pixels = found.images[[2]]
    assert pixels.shape == (1, 8, 8, 3)
    assert abs(int(pixels[0, 4, 4, 0]) - (2 if name == "food101" else 4)) <= 2
    assert found.templates
    assert all("{}" in t for t in found.templates)


def test_a_folder_of_images_may_be_a_link_and_none_of_them_leads_out(tmp_path):
    dtd(tmp_path)
    (tmp_path / "dtd/dtd/images").rename(tmp_path / "elsewhere")
    (tmp_path / "dtd/dtd/images").symlink_to(tmp_path / "elsewhere")
    assert read("dtd", 8, str(tmp_path)).images[:].shape == (47, 8, 8, 3)
    picture(tmp_path / "secret.jpg")
    listed = tmp_path / "dtd/dtd/labels/test1.txt"
    listed.write_text(listed.read_text() + "../secret.jpg\n")
    with pytest.raises(BadInput, match="48"):
        read("dtd", 8, str(tmp_path))
    (tmp_path / "dtd/dtd/images").unlink()
    (tmp_path / "food-101/meta").mkdir(parents=True)
    (tmp_path / "food-101/images").mkdir()
    (tmp_path / "food-101/meta/test.json").write_text(json.dumps({f"d{i}": ["../../secret"] for i in range(101)}))
    assert read("food101", 8, str(tmp_path)).images.reasons([0]) == {0: "path leaves the root"}


def test_caltech_has_no_background_and_better_names(tmp_path):
    caltech(tmp_path)
    found = read("caltech101", 8, str(tmp_path))
    assert found.classes[:2] == ["off-center face", "side of a car"]
    assert len(found.images) == 101


def test_cifar_is_read_only_if_its_files_are_the_known_ones(tmp_path, monkeypatch):
    from torchvision import datasets

    folder, sums = tmp_path / "cifar-10-batches-py", {}
    folder.mkdir()
    batch = {
        "data": np.arange(20 * 3072, dtype=np.uint32).astype(np.uint8).reshape(20, 3072),
        "labels": [i % 10 for i in range(20)],
    }
    for name, value in {"test_batch": batch, "batches.meta": {"label_names": [f"c_{i}" for i in range(10)]}}.items():
        (folder / name).write_bytes(pickle.dumps(value))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    with pytest.raises(BadInput, match=r"test_batch: expected CIFAR-10 as cifar-10-python.tar.gz"):
        read("cifar10", 8, str(tmp_path))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": sums["batches.meta"]})
    found = read("cifar10", 8, str(tmp_path))
    assert found.images.shape == (20, 32, 32, 3)
    assert found.labels[:3].tolist() == [0, 1, 2]
    assert found.classes[1] == "c 1"


def test_imagenet_needs_its_thousand_folders(tmp_path):
    known = imagenet.wnids()
    assert (len(known), known[0], known[954]) == (1000, "n01440764", "n07753592")
    for name in known[:3]:
        picture(tmp_path / f"imagenet/val/{name}/a.JPEG")
    with pytest.raises(
        BadInput, match=r"imagenet/val: expected ImageNet-1K's 1000 folders .* got 3 folders without n01491361"
    ):
        read("imagenet", 8, str(tmp_path))
    for name in known:
        (tmp_path / f"imagenet/val/{name}").mkdir(exist_ok=True)
    picture(tmp_path / "imagenet/val/n07753592/b.JPEG")
    found = read("imagenet", 8, str(tmp_path))
    assert [found.classes[i] for i in found.labels] == [found.classes[0], found.classes[1], found.classes[2], "banana"]


def test_what_is_absent_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv(classification_sets.DATA, raising=False)
    assert "UBT_DATA or downstream.root" in absent("dtd")
    monkeypatch.setenv(classification_sets.DATA, str(tmp_path))
    said = absent("pets")
    assert f"{tmp_path}/oxford-iiit-pet/annotations/test.txt" in said
    assert "put there" in said
    assert "expected a data set of: scenes, imagenet, cifar10" in absent("nowhere")
    assert "no such file" in absent(f"{tmp_path}/photos.zip")
    with pytest.raises(BadInput, match="put there"):
        read("food101", 8)
    dtd(tmp_path, classes=46)
    assert absent("dtd") == ""
    with pytest.raises(BadInput, match=r"test1.txt: expected DTD's 47 classes, got 46 \(kind00 x"):
        read("dtd", 8)
    (tmp_path / "dtd/dtd/labels/test1.txt").write_text("no slash\n")
    with pytest.raises(BadInput, match="another layout"):
        read("dtd", 8)


def test_a_name_may_be_a_labelled_source_in_the_folder_of_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "cifar10.zip", "w") as z:
        picture(tmp_path / "a.png")
        z.write(tmp_path / "a.png", "a.png")
        z.writestr("labels.csv", "image,label\na.png,cat\n")
        z.writestr("classes.txt", "cat\ndog\n")
    with pytest.raises(BadInput, match=r"cifar10.zip: expected CIFAR-10's 10 classes, got 2 \(cat, dog"):
        read("cifar10", 8, str(tmp_path))
    (tmp_path / "cifar10.zip").rename(tmp_path / "mine.zip")
    for name in ("mine", str(tmp_path / "mine.zip")):
        found = read(name, 8, str(tmp_path))
        assert (found.classes, found.labels.tolist(), found.images[:].shape) == (["cat", "dog"], [0], (1, 8, 8, 3))


def test_the_target_is_found_whatever_its_capitals_and_some_of_each_class():
    assert with_target(["great dane", "Pug"], "pug", "pets") == 1
    with pytest.raises(BadInput, match=r"pets: expected the target 'banana' among its 2 classes \(great dane, pug"):
        with_target(["great dane", "pug"], "banana", "pets")
    labels = np.array([0] * 9 + [1] * 2)
    rows = some(labels, 3, 0)
    assert np.bincount(labels[rows]).tolist() == [3, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert some(labels, 3, 0).tolist() == rows.tolist() != some(labels, 3, 1).tolist()
    assert some(labels, 0, 0).tolist() == list(range(11))
