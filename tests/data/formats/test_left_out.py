"""What a folder or an archive has beside the pairs that are read is named; and what is called so is found."""

import io
import json
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from ingested import encoded, folder, members, packed, said, shard, table

from ubt.core.errors import BadInput
from ubt.data import catalogue, labelled
from ubt.data.images import decode

KEYS = {
    "dots in some": ("a.png a.txt photo.v2.png photo.v2.txt b.png b.txt 22.05.png 22.05.txt", 4, {}),
    "dots in all": ("x.1.png x.1.txt x.2.png x.2.txt x.3.png x.3.txt", 3, {}),
    "dots in folders": ("v1.0/a.png v1.0/a.txt v1.1/a.png v1.1/a.txt", 2, {}),
    "another image of a key": ("a.png a.seg.png a.txt", 1, {"a.seg.png": "image without caption"}),
    "named by the whole name": ("a.png a.png.txt b.jfif b.jfif.txt", 2, {}),
    "two of a name, a text each": ("a.jfif a.png a.jfif.txt a.png.txt", 2, {}),
    "what nobody reads": (
        "a.png a.txt a.cls README movie.mp4 b.heic b.txt c.png",
        1,
        {
            "README": "another kind of file",
            "movie.mp4": "another kind of file",
            "b.heic": "another kind of file",
            "b.txt": "caption without image",
            "c.png": "image without caption",
        },
    ),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_only_what_follows_the_last_dot_is_an_ending(tmp_path, name, kind):
    names, pairs, left_out = KEYS[name]
    if kind == "tar":
        read = catalogue.read(shard(tmp_path / "a.tar", members(*names.split())))
        left_out = {f"a.tar::{n}": reason for n, reason in left_out.items()}
    else:
        for n, data in members(*names.split()):
            (tmp_path / n).parent.mkdir(exist_ok=True)
            (tmp_path / n).write_bytes(data)
        read = catalogue.read(tmp_path)
    captions, found = said(read)
    assert (len(captions), found) == (pairs, left_out)
    for caption, image in zip(captions, read["pairs"]["image"], strict=True):
        ending = image.partition("@")[0].rpartition(".")[2]
        own = image.partition("::")[2].partition("@")[0] if kind == "tar" else image
        assert caption in (f"of {own.removesuffix(ending)}txt", f"of {own}.txt")


def tree(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(i) if name.endswith(("png", "jfif", "PNG")) else b"a text")
    return root


def test_what_lies_in_linked_hidden_and_unreadable_folders_is_named(tmp_path, monkeypatch):
    tree(tmp_path, "all/car/0.png", "some/cat/0.png", "some/dog/0.png", "some/dog/shut/1.png", "some/.git/x.png")
    root = tmp_path / "some"
    (root / "car").symlink_to("../all/car")
    (root / "dog" / "in").symlink_to("../cat")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    read = labelled.read(root)
    assert (read["classes"], read["about"]["kept"]) == (["cat", "dog"], 2)
    assert dict(read["quarantine"][["image", "reason"]].to_numpy()) == {
        "car": "linked folder",
        "dog/in": "linked folder",
        ".git": "hidden folder",
        "dog/shut": "unreadable folder",
    }
    tree(root, "cat/0.txt", "dog/0.txt")
    assert said(catalogue.read(root))[1] == {
        "car": "linked folder",
        "dog/in": "linked folder",
        "dog/shut": "unreadable folder",
        ".git/x.png": "image without caption",
    }


def test_a_folder_of_links_only_says_so(tmp_path):
    tree(tmp_path, "all/car/0.png", "all/cat/0.png", "some/readme.md")
    for name in ("car", "cat"):
        (tmp_path / "some" / name).symlink_to(tmp_path / "all" / name)
    with pytest.raises(BadInput, match="2 links to folders, which are not followed"):
        labelled.read(tmp_path / "some")


def test_every_file_of_class_folders_is_an_image_or_named(tmp_path):
    tree(tmp_path, "car/0.jfif", "car/1.png", "car/8.heic", "car/9.avif", "cat/2.PNG", "cat/notes.txt", "loose.png")
    read = labelled.read(tmp_path)
    assert read["images"]["image"].tolist() == ["car/0.jfif", "car/1.png", "cat/2.PNG"]
    assert dict(read["quarantine"][["image", "reason"]].to_numpy()) == {
        "car/8.heic": "another kind of file",
        "car/9.avif": "another kind of file",
        "cat/notes.txt": "another kind of file",
        "loose.png": "image without class",
    }


def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path, monkeypatch):
    path, opened = folder(tmp_path), io.open

    def refuse(file, *args, **more):
        if str(file).endswith("1.png"):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **more)

    monkeypatch.setattr("builtins.open", refuse)
    assert said(catalogue.read(path))[1] == {"images/1.png": "unreadable file"}


def test_tables_and_archives_beside_the_one_that_is_read_are_named(tmp_path):
    folder(tmp_path)
    for name in ("more.csv", "old.zip", "labels.csv", "notes.txt"):
        (tmp_path / name).write_bytes(b"image,label\n")
    assert said(catalogue.read(tmp_path))[1] == {"more.csv": "another table", "old.zip": "another table"}


def test_members_of_a_zip_that_no_row_names_are_named(tmp_path):
    rows = [("captions.csv", b"image,caption\na.png,a\n"), ("labels.csv", b"image,label\nc.png,x\n")]
    inside = [(n, encoded(i)) for i, n in enumerate(("a.png", "b.png", "c.png"))]
    path = packed(tmp_path / "z.zip", [*rows, *inside, ("classes.txt", b"x\ny"), ("LICENSE", b""), ("t.csv", b"")])
    assert said(catalogue.read(path)) == (
        ["a"],
        {"b.png": "not in the table", "LICENSE": "another kind of file", "t.csv": "another table"},
    )


ACCENTED = "café/caffè ñandú.png"
FORMS = [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")]


@pytest.mark.parametrize(("on_disk", "written"), FORMS)
def test_the_same_letters_in_other_characters_find_each_other(tmp_path, on_disk, written):
    there, said_so = (unicodedata.normalize(form, ACCENTED) for form in (on_disk, written))
    table_bytes = f"image,caption\n{said_so},a cat\n".encode()
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).write_bytes(encoded(3))
    (tmp_path / unicodedata.normalize(on_disk, "é.csv")).write_bytes(table_bytes)
    packed(tmp_path / "z.zip", [(there, encoded(3)), ("captions.csv", table_bytes)])
    tarred = shard(tmp_path / "a.tar", [(there, encoded(3)), (said_so.replace(".png", ".txt"), b"a cat")])
    side = tmp_path / "side"
    (side / there).parent.mkdir(parents=True)
    (side / there).write_bytes(encoded(3))
    (side / Path(there).parent / Path(said_so).name.replace(".png", ".txt")).write_bytes(b"a cat")
    for path in (tmp_path / unicodedata.normalize(written, "é.csv"), tmp_path / "z.zip", tarred, side):
        read = catalogue.read(path)
        assert read["pairs"]["caption"].tolist() == ["a cat"], path
        assert (catalogue.open_images(read["about"], read["pairs"]["image"], 8)[0] == decode(encoded(3), 8)).all()


def test_of_two_that_are_spelled_alike_the_exact_one_is_meant(tmp_path):
    both = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    for i, name in enumerate(both):
        (tmp_path / name).write_bytes(encoded(i))
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{name},c\n" for name in both))
    read = catalogue.read(tmp_path)
    assert read["pairs"]["image"].tolist() == both
    folded = unicodedata.normalize("NFKD", "ệ.png")  # two marks, of which only one order is composed
    other = folded[0] + folded[2] + folded[1] + folded[3:]
    (tmp_path / folded).write_bytes(encoded(0))
    (tmp_path / other).write_bytes(encoded(1))
    (tmp_path / "captions.csv").write_text(f"image,caption\n{unicodedata.normalize('NFC', folded)},c\n{both[0]},d\n")
    assert said(catalogue.read(tmp_path / "captions.csv"))[0] == ["d"]


def test_labels_and_classes_are_the_same_in_both_forms(tmp_path):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = f"image,label\nimages/0.png,{forms[0]}\nimages/1.png,{forms[1]}\nimages/2.png,tea\n"
    path = table(tmp_path, rows, "labels.csv")
    assert labelled.read(path)["classes"] == [forms[0], "tea"]
    (tmp_path / "classes.txt").write_text(f"tea\n{forms[1]}\n")
    assert labelled.read(path)["images"]["label"].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("name", "asked", "pairs"),
    [
        ("d {1}", "d {1}/*.tar", 2),
        ("d {1,2}", "d {1,2}/0{0..1}.tar", 2),
        ("{0..9}", "{0..9}/{00,01}.tar", 2),
        ("a*b[1]", "a*b[1]/0?.tar", 2),
        ("plain", "plain/{1}*.tar", 1),
        ("plain", "plain/{1}0.tar", 1),
        ("{0}", "{0}", 3),
    ],
)
def test_brackets_in_a_name_that_is_there_are_no_pattern(tmp_path, name, asked, pairs):
    (tmp_path / name).mkdir()
    for i, leaf in enumerate(("00.tar", "01.tar", "{1}0.tar")):
        shard(tmp_path / name / leaf, [("a.png", encoded(i)), ("a.txt", b"a")])
    if pairs == 2:
        (tmp_path / name / "{1}0.tar").unlink()
    assert len(catalogue.read(tmp_path / asked)["pairs"]) == pairs


def test_broken_and_equal_images_are_counted_when_pairs_are_imported(tmp_path):
    rows = [(f"images/{i}.png", "a") for i in range(6)] + [("images/0.png", "a"), ("images/0.png", "b")]
    path = folder(tmp_path, rows, images=6)
    (tmp_path / "images/1.png").write_bytes(encoded(0))  # the bytes of 0
    (tmp_path / "images/2.png").write_bytes(encoded(2)[:60])
    (tmp_path / "images/3.png").write_bytes(b"no")
    read = catalogue.read(path)
    assert said(read)[1] == {"images/2.png": "truncated image", "images/3.png": "not an image"}
    assert read["quarantine"]["row"].tolist() == [3, 4]
    assert read["about"]["duplicates"] == {"rows": 2, "images": 1}
    later = catalogue.read(path, catalogue.SourceOptions(decode=False))
    assert (later["about"]["kept"], "duplicates" in later["about"]) == (8, False)
    labels = table(
        tmp_path / "l", "image,label\nimages/0.png,x\nimages/0.png,x\nimages/1.png,y\nimages/3.png,y\n", "l.csv"
    )
    (tmp_path / "l/images/3.png").write_bytes(b"")
    counted = labelled.read(labels)["about"]
    assert (counted["quarantined"], counted["duplicates"]) == ({"zero-size image": 1}, {"rows": 1, "images": 0})


def test_decoding_now_changes_nothing_else(tmp_path):
    path = folder(tmp_path, [(f"images/{i % 3}.png", f"c {i}") for i in range(9)])
    now, later = (catalogue.read(path, catalogue.SourceOptions(decode=d))["pairs"] for d in (True, False))
    pd.testing.assert_frame_equal(now, later)
    assert json.dumps(catalogue.read(path)["about"])
