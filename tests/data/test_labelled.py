"""Labelled images of one's own: classes by name, by index, by folder, and what is told when there are none."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from ingested import encoded, folder, packed

from ubt.core.errors import BadInput
from ubt.data import catalogue, labelled
from ubt.data.images import decode
from ubt.data.labelled import LabelledOptions

SHARED = Path(__file__).parents[3] / "shared" / "data"
CLASSES = ["tabby cat", "dog", "banana"]


def labels(path: Path, rows: list[str], classes: bytes | None = None) -> Path:
    """labels.csv with image i and label rows[i]; returns it."""
    folder(path, images=len(rows))
    (path / "labels.csv").write_text(
        "image,label\n" + "".join(f'images/{i}.png,"{label}"\n' for i, label in enumerate(rows))
    )
    if classes is not None:
        (path / "classes.txt").write_bytes(classes)
    return path / "labels.csv"


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("rows", [["2", "0", "2"], ["banana", "tabby cat", "banana"], ["banana", "0", "2"]])
def test_labels_are_names_or_indices(tmp_path, rows, whole):
    path = labels(tmp_path, rows, b"tabby cat\ndog\r\nbanana\n\n")
    read = labelled.read(path.parent if whole else path)
    assert (read["classes"], read["images"]["label"].tolist()) == (CLASSES, [2, 0, 2])
    assert read["images"]["label"].dtype == np.int64
    assert read["about"] == json.loads(json.dumps(read["about"]))
    found = catalogue.open_images(read["about"], read["images"]["image"], 12)[:]
    np.testing.assert_array_equal(found, np.stack([decode(encoded(i), 12) for i in range(3)]))


def test_without_a_list_the_labels_are_the_classes(tmp_path):
    read = labelled.read(labels(tmp_path, ["dog", "cat 10", "cat 9", "dog"]))
    assert (read["classes"], read["images"]["label"].tolist()) == (["cat 9", "cat 10", "dog"], [2, 1, 0, 2])


def test_a_name_that_is_a_number_goes_before_an_index(tmp_path):
    assert labelled.read(labels(tmp_path, ["1", "0"], b"1\n0\n"))["images"]["label"].tolist() == [0, 1]


def test_a_zip_has_its_classes_with_it(tmp_path):
    rows = b"image,label\na.png,1\nb.png,dog\n../c.png,dog\n"
    path = packed(
        tmp_path / "z.zip",
        [("d/labels.csv", rows), ("d/classes.txt", b"cat\ndog"), ("d/a.png", encoded()), ("d/b.png", encoded(1))],
    )
    read = labelled.read(path)
    assert (read["classes"], read["images"]["image"].tolist(), read["images"]["label"].tolist()) == (
        ["cat", "dog"],
        ["d/a.png", "d/b.png"],
        [1, 1],
    )
    assert read["quarantine"]["reason"].tolist() == ["path leaves the root"]


def test_class_folders(tmp_path):
    for i, name in enumerate(("dog", "tabby cat", "dog/more")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / f"{i}.png").write_bytes(encoded(i))
    (tmp_path / "dog" / "out.png").symlink_to("/etc/passwd")
    read = labelled.read(tmp_path)
    assert (read["classes"], read["images"]["label"].tolist()) == (["dog", "tabby cat"], [0, 0, 1])
    assert read["quarantine"]["reason"].tolist() == ["path leaves the root"]


def test_a_hugging_face_class_label_names_its_classes(tmp_path):
    features = {"info": {"features": {"label": {"names": CLASSES, "_type": "ClassLabel"}}}}
    table = pa.table({"image": [encoded(0), encoded(1)], "label": [2, 0]}).replace_schema_metadata(
        {"huggingface": json.dumps(features)}
    )
    with pa.ipc.new_stream(str(tmp_path / "data-00000-of-00001.arrow"), table.schema) as out:
        out.write_table(table)
    read = labelled.read(tmp_path)
    assert (read["classes"], read["images"]["label"].tolist()) == (CLASSES, [2, 0])


def test_a_label_that_is_no_class_costs_its_row_only(tmp_path):
    read = labelled.read(
        labels(tmp_path, ["dog", "wolf", "7", "-1", "1", "", "banana", "0", "²"], "\n".join(CLASSES).encode())
    )
    assert read["images"]["label"].tolist() == [1, 1, 2, 0]
    assert read["quarantine"][["row", "reason"]].to_numpy().tolist() == [
        [2, "unknown class"],
        [3, "unknown class"],
        [4, "unknown class"],
        [6, "empty caption"],
        [9, "unknown class"],
    ]


REFUSED = {
    "another list": (["wolf", "fox", "dog"], b"tabby cat\ndog\n", "expected labels that are among the 2 classes"),
    "numbers without names": (["0", "1", "2"], None, "put a classes.txt beside it"),
    "one class": (["dog", "dog"], None, "at least two classes"),
    "nothing": ([], None, "it is empty"),
    "no label": (["", ""], None, "none that can be used: 2 empty"),
    "an empty list": (["dog"], b"", "2 to 100000 class names"),
    "a list with one name twice": (["dog"], b"dog\ncat\ndog\n", "dog twice"),
    "a list with a hole": (["dog"], b"dog\n\ncat\n", "a class name in line 2, got empty"),
    "a list of bytes": (["dog"], b"dog\n\xff\xfe\n", "a class name in line 2, got undecodable"),
    "a list with control characters": (["dog"], b"dog\n\x1b[2J\n", "a class name in line 2, got control"),
    "a huge list": (["dog"], b"a" * 2_000_000, "at most 1 MiB of class names"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_labels_is_told(tmp_path, name):
    rows, classes, said = REFUSED[name]
    with pytest.raises(BadInput) as error:
        labelled.read(labels(tmp_path, rows, classes))
    assert said in str(error.value)


@pytest.mark.parametrize(("name", "target"), [("tinyimagenet50", "banana"), ("cifar10", "truck")])
def test_real_photos(name, target):
    path = SHARED / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    read = labelled.read(path, LabelledOptions(decode=False))
    counts = read["images"]["label"].value_counts()
    assert target in read["classes"]
    assert set(counts.index) == set(range(len(read["classes"])))
    assert read["about"]["quarantined"] == {}
