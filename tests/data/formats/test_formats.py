"""One place for a new format: a toy declared here is read as those of the package are; and a source is opened once."""

import base64
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ingested import encoded, folder, packed
from PIL import Image

from ubt.core.errors import BadInput
from ubt.data import catalogue, formats, labelled, retrieval_sets
from ubt.data.catalogue import SourceOptions
from ubt.data.formats import archives, columnar
from ubt.data.formats.base import Format, ReadOptions, Row, Source
from ubt.data.images import Images, decode
from ubt.data.locations import Folder, Locations
from ubt.data.preview import look
from ubt.reports import docs_tables

SIZE = 12


class Lines:
    """Images in base64 in the lines of a file; a place is the line's number."""

    def __init__(self, where: Locations):
        self.where, self.lines = where, Path(where.root).read_text().splitlines()

    def read(self, place: str) -> bytes:
        return base64.b64decode(json.loads(self.lines[int(place)])["image"])


def from_lines(paths: list[Path], options: ReadOptions) -> Source:
    (path,) = paths

    def rows() -> Iterator[Row]:
        for n, line in enumerate(path.read_text().splitlines()):
            yield Row(n + 1, str(n), json.loads(line).get(options.text or options.what), None, "")

    return Source("JSON lines", Lines(Locations("jsonl", str(path), [])), rows)


TOY = Format(
    "a .jsonl of captions and images in base64",
    ("`.jsonl`", "a caption and an image in base64 a line", "`17`"),
    endings=(".jsonl",),
    files=from_lines,
    readers={"jsonl": Lines},
)


@pytest.fixture
def toy(monkeypatch, tmp_path) -> Path:
    """A registered format, and a file of it."""
    monkeypatch.setitem(formats.FORMATS, "toy", TOY)
    lines = [{"caption": f"caption {i}", "image": base64.b64encode(encoded(i)).decode()} for i in range(3)]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "some.jsonl"


@pytest.mark.parametrize("whole", [False, True])
def test_a_format_is_one_declaration(toy, whole):
    read = catalogue.read(toy.parent if whole else toy)
    assert read["pairs"]["caption"].tolist() == [f"caption {i}" for i in range(3)]
    assert read["about"]["kind"] == "JSON lines"
    expected = np.stack([decode(encoded(i), SIZE) for i in range(3)])
    images = catalogue.open_images(read["about"], read["pairs"]["image"], SIZE)
    np.testing.assert_array_equal(images[:], expected)
    images.save(toy.parent / "kept")
    np.testing.assert_array_equal(Images.load(toy.parent / "kept")[:], expected)
    assert look(toy, SourceOptions()).rows["reason"].tolist() == [""] * 3
    assert docs_tables.formats()[-1] == "| `.jsonl` | a caption and an image in base64 a line | `17` |"


def test_what_is_expected_names_every_format(toy, tmp_path):
    for read, what in ((catalogue.read, "caption"), (labelled.read, "label")):
        with pytest.raises(BadInput) as refused:
            read(tmp_path / "nosuch")
        for known in formats.FORMATS.values():
            assert (known.expected in str(refused.value)) == (what in known.holds)
        assert TOY.expected in str(refused.value)


def test_a_folder_with_files_of_a_format_is_no_folder_of_class_folders(toy):
    (toy.parent / "cat").mkdir()
    (toy.parent / "owl").mkdir()
    with pytest.raises(BadInput, match="3 empty caption"):
        labelled.read(toy.parent)


def calls(do: Callable[[], object], of: dict[Callable, str]) -> dict[str, int]:
    """How often some functions are called while `do` runs, in this thread."""
    codes, seen = {function.__code__: name for function, name in of.items()}, Counter()

    def look(frame, event, arg):
        if event == "call" and frame.f_code in codes:
            seen[codes[frame.f_code]] += 1

    sys.setprofile(look)
    try:
        do()
    finally:
        sys.setprofile(None)
    return dict(seen)


def of_table(path: Path) -> Path:
    return folder(path).parent


def of_texts(path: Path) -> Path:
    path.mkdir()
    for i in range(3):
        (path / f"{i}.png").write_bytes(encoded(i))
        (path / f"{i}.txt").write_text(f"caption {i}")
    return path


def of_zip(path: Path) -> Path:
    table = "image,caption\n" + "".join(f"{i}.png,caption {i}\n" for i in range(3))
    return packed(path, [(f"{i}.png", encoded(i)) for i in range(3)] + [("captions.csv", table.encode())])


def of_parquet(path: Path) -> Path:
    rows = {"image": [encoded(i) for i in range(3)], "caption": [f"caption {i}" for i in range(3)]}
    pd.DataFrame(rows).to_parquet(path)
    return path


OPENED = {
    "a folder with a table": (of_table, Folder.__init__),
    "a folder with texts": (of_texts, Folder.__init__),
    "a zip": (of_zip, archives.open_zip),
    "a parquet": (of_parquet, columnar.opened),
}


@pytest.mark.parametrize("name", OPENED)
def test_a_source_is_opened_once(tmp_path, name):
    """Once for columns, rows and images together: what is opened is passed on."""
    make, opens = OPENED[name]
    path = make(tmp_path / f"a.{name.split()[-1]}")
    seen = calls(lambda: look(path, SourceOptions()), {opens: "opened", Image.open: "decoded"})
    assert seen == {"opened": 1, "decoded": 3}
    seen = calls(lambda: retrieval_sets.read(str(path), SIZE)[0][0], {opens: "opened", Image.open: "decoded"})
    assert seen == {"opened": 1, "decoded": 1}


def test_the_classes_of_a_zip_are_read_from_the_opened_one(tmp_path):
    table = b"image,label\na.png,1\nb.png,0\n"
    members = [("labels.csv", table), ("classes.txt", b"cat\nowl"), ("a.png", encoded(0)), ("b.png", encoded(1))]
    path, read = packed(tmp_path / "z.zip", members), []
    assert calls(lambda: read.append(labelled.read(path)), {archives.open_zip: "opened"}) == {"opened": 1}
    assert (read[0]["classes"], read[0]["images"]["label"].tolist()) == (["cat", "owl"], [1, 0])
