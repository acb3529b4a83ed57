"""Pairs from every source: what is found, under which id, and that its images are read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import encoded, folder, packed, shard

from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.data import catalogue
from ubt.data.catalogue import SourceOptions
from ubt.data.images import decode

SIZE = 12
SHARED = Path(__file__).parents[3] / "shared" / "data"


def check(path: Path, ids: list[str] | None = None, options: SourceOptions | None = None, n: int = 3) -> dict:
    """Read `n` pairs "caption i" of image i, all of them good, and their images."""
    read = catalogue.read(path, options)
    pairs = read["pairs"]
    assert list(pairs.columns) == ["id", "caption", "image"]
    assert pairs["caption"].tolist() == [f"caption {i}" for i in range(n)]
    assert pairs["id"].is_unique
    assert ids is None or pairs["id"].tolist() == ids
    assert len(read["quarantine"]) == 0
    assert list(read["quarantine"].columns) == ["row", "image", "caption", "reason"]
    assert read["about"] == json.loads(json.dumps(read["about"]))
    assert (read["about"]["read"], read["about"]["kept"], read["about"]["quarantined"]) == (n, n, {})
    images = catalogue.open_images(read["about"], pairs["image"], SIZE)
    np.testing.assert_array_equal(images[::-1], np.stack([decode(encoded(i), SIZE) for i in reversed(range(n))]))
    return read


TABLES = {
    "CleanCLIP": b"image,caption\nimages/%d.png,caption %d\n",
    "open_clip": b"filepath\ttitle\nimages/%d.png\tcaption %d\n",
    "img2dataset": b"url,caption,key,image_path\nhttp://x/y.jpg,caption %d,000%d,images/%d.png\n",
    "LAION": b"TEXT,PATH\ncaption %d,images/%d.png\n",
    "semicolon, BOM, CRLF": b"\xef\xbb\xbfimage;caption\r\nimages/%d.png;caption %d\r\n",
    "quoted newlines": b'image,caption\n"images/%d.png","caption\n%d"\n',
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("whole", [False, True])
def test_tables_by_any_ones_columns(tmp_path, name, whole):
    head, _, row = TABLES[name].partition(b"\n")
    rows = b"".join(row % ((i,) * row.count(b"%d")) for i in range(3))
    path = folder(tmp_path, table=head + b"\n" + rows)
    read = check(
        path.parent if whole else path,
        [f"000{i}" for i in range(3)] if name == "img2dataset" else [f"images/{i}.png" for i in range(3)],
    )
    assert read["about"]["columns"]["text"].lower() in ("caption", "title", "text")


def test_columns_separator_folder_and_limit_can_be_chosen(tmp_path):
    path = folder(
        tmp_path / "a",
        table=b"where|words|caption|name\n" + b"".join(b"%d.png|caption %d|other|n%d\n" % (i, i, i) for i in range(3)),
    )
    options = SourceOptions(image="where", caption="words", ident="name", separator="|", folder="images", limit=2)
    check(path, ["n0", "n1"], options, 2)
    with pytest.raises(
        BadInput, match=r"expected one image column, one of image, filepath.*got the columns 'where', 'words'"
    ):
        catalogue.read(path)
    with pytest.raises(BadInput, match=r"expected one caption column, 'nosuch'; got the columns"):
        catalogue.read(path, SourceOptions(image="where", caption="nosuch"))
    with pytest.raises(BadInput, match="which is none"):
        catalogue.read(path, SourceOptions(folder="nowhere"))


def test_absolute_paths_into_the_folder_are_its_own(tmp_path):
    check(
        folder(tmp_path, [(str(tmp_path / "images" / f"{i}.png"), f"caption {i}") for i in range(3)]),
        [f"images/{i}.png" for i in range(3)],
    )


def test_an_image_with_several_captions_has_several_ids(tmp_path):
    read = catalogue.read(
        folder(tmp_path, [("images/0.png", "a"), ("images/1.png", "b"), ("images/0.png", "c"), ("images/0.png", "a")])
    )
    assert read["pairs"]["id"].tolist() == ["images/0.png", "images/1.png", "images/0.png#2", "images/0.png#3"]


def test_text_is_kept_by_arrow(tmp_path):
    pairs = catalogue.read(folder(tmp_path))["pairs"]
    assert {pairs[c].dtype.storage for c in pairs} == {"pyarrow"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{0..99999999}.tar", "expected at most 100000 files, got more"),
        ("{5..3}.tar", "expected at least one file, got none"),
        ("x{a,b{1,2}.tar", "expected braces as"),
        ("{a}/" * 300, "expected at most 16 braces, got 300"),
        ("{a.tar,b.csv}", "expected a shard"),
    ],
)
def test_a_pattern_that_is_none_is_refused(pattern, said):
    with pytest.raises(BadInput, match=said):
        catalogue.read(Path(pattern))


def test_shards_by_file_folder_glob_and_braces(tmp_path):
    for s in range(3):
        sample = [
            (f"00{s}{s}.png", encoded(s)),
            (f"00{s}{s}.txt", f"caption {s}".encode()),
            (f"00{s}{s}.json", b'{"caption": "other"}'),
        ]
        shard(tmp_path / f"0{s}.tar", sample)
    ids = [f"0{s}/00{s}{s}" for s in range(3)]
    for path in (tmp_path, tmp_path / "*.tar", tmp_path / "0{0..2}.tar", tmp_path / "{00,01,02}.tar"):
        check(path, ids)
    check(tmp_path / "00.tar", ids[:1], n=1)
    with pytest.raises(BadInput, match=r"03\.tar: expected a shard"):
        catalogue.read(tmp_path / "{00..03}.tar")
    read = catalogue.read(tmp_path)
    shard(tmp_path / "01.tar", [("a.png", encoded(0))])
    with pytest.raises(UbtError, match=r"01\.tar.*has changed since"):
        catalogue.open_images(read["about"], read["pairs"]["image"], SIZE)[:]


def test_shards_with_json_captions_in_any_order(tmp_path):
    images = [(f"d/{i}.png", encoded(i)) for i in range(3)]
    texts = [(f"d/{i}.json", json.dumps({"key": i, "caption": f"caption {i}"}).encode()) for i in range(3)]
    check(shard(tmp_path / "a.tar", images + texts), [f"a/d/{i}" for i in range(3)])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "stream", "file", "saved"])
def test_columns_with_images_in_them(tmp_path, kind, nested):
    held = [encoded(i) for i in range(3)]
    image = (
        pa.array([{"bytes": b, "path": None} for b in held], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        if nested
        else pa.array(held)
    )
    table = pa.table({"image": image, "text": [f"caption {i}" for i in range(3)]})
    if kind == "parquet":
        path = tmp_path / "train.parquet"
        pq.write_table(table, path, row_group_size=2)
    else:
        path = tmp_path / "data-00000-of-00001.arrow"
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(str(path), table.schema) as out:
            out.write_table(table, max_chunksize=2)
    if kind == "saved":
        (tmp_path / "state.json").write_text("{}")
        (tmp_path / "dataset_info.json").write_text("{}")
    check(tmp_path if kind == "saved" else path, [f"{path.name}::{i}" for i in range(3)])


def test_parquet_with_paths(tmp_path):
    folder(tmp_path)
    pq.write_table(
        pa.table({"filepath": [f"images/{i}.png" for i in range(3)], "caption": [f"caption {i}" for i in range(3)]}),
        tmp_path / "p.parquet",
    )
    check(tmp_path / "p.parquet", [f"images/{i}.png" for i in range(3)])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_images_by_the_path_in_their_struct(tmp_path, kind):
    folder(tmp_path)
    of = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "image": pa.array([{"bytes": None, "path": f"images/{i}.png"} for i in range(3)], of),
            "caption": [f"caption {i}" for i in range(3)],
        }
    )
    path = tmp_path / f"p.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as out:
            out.write_table(table)
    check(path, [f"images/{i}.png" for i in range(3)])


def test_a_split_of_a_saved_dataset_is_chosen(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "state.json").write_text("{}")
        table = pa.table({"image": [encoded(0)], "caption": ["caption 0" if split == "train" else "other"]})
        with pa.ipc.new_stream(str(tmp_path / split / "data-00000-of-00001.arrow"), table.schema) as out:
            out.write_table(table)
    (tmp_path / "dataset_dict.json").write_text("{}")
    check(tmp_path, n=1)


def test_a_folder_of_images_with_texts(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "a.png").write_bytes(encoded(i))
        (tmp_path / f"{i}" / ("a.json" if i == 1 else "a.txt")).write_text(
            json.dumps({"caption": f"caption {i}"}) if i == 1 else f"caption {i}\n"
        )
    check(tmp_path, [f"{i}/a.png" for i in range(3)])


@pytest.mark.parametrize("inside", ["", "deep/er/"])
def test_a_zip_with_the_csv_that_fits(tmp_path, inside):
    images = [(f"{inside}images/{i}.png", encoded(i)) for i in range(3)]
    table = "image,caption\n" + "".join(f"images/{i}.png,caption {i}\n" for i in range(3))
    members = [(f"{inside}labels.csv", b"image,label\n"), *images, (f"{inside}z.csv", table.encode())]
    check(packed(tmp_path / "z.zip", members), [f"{inside}images/{i}.png" for i in range(3)])


@pytest.mark.parametrize("name", ["tinyimagenet50", "cifar10"])
def test_real_photos(name):
    path = SHARED / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    read = catalogue.read(path, SourceOptions(limit=50))
    assert (read["about"]["kept"], read["about"]["quarantined"]) == (50, {})
    assert catalogue.open_images(read["about"], read["pairs"]["image"], 48)[:].std() > 30


def test_progress_is_told_and_can_cancel(tmp_path):
    path = folder(tmp_path, [(f"images/{i % 3}.png", f"c {i}") for i in range(20_001)])
    told = []
    catalogue.read(path, progress=lambda *a: told.append(a))
    assert [t[2]["rows"] for t in told] == [20_000, 20_001, 20_001]
    assert told[-1] == (3, 3, {"rows": 20_001.0, "broken": 0.0})
    assert all(0 < done <= total for done, total, _ in told)

    def stop(*_):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        catalogue.read(path, progress=stop)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nosuch.csv", "no such file or folder"),
        ("a.xlsx", "a file ending in '.xlsx'"),
        ("empty", "none of them among 0 files"),
        ("*.tar", "at least one file, got none"),
    ],
)
def test_what_is_no_source_is_told_what_was_expected(tmp_path, path, said):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="expected") as error:
        catalogue.read(tmp_path / path)
    assert said in str(error.value)


def test_a_long_table_stays_in_bounded_memory(tmp_path):
    """In a process of its own: 100,000 rows of 300 characters take less than four times their text above what imports
    take.
    """
    folder(tmp_path, images=1)
    with (tmp_path / "captions.csv").open("w") as f:
        f.write("image,caption\n")
        f.writelines(f"images/0.png,{i} {'word ' * 60}\n" for i in range(100_000))
    code = (
        "import resource, sys; from pathlib import Path; from ubt.data import catalogue; import pandas as pd\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak(); n = len(catalogue.read(Path(sys.argv[1]))['pairs']); print(n, peak() - before)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "captions.csv")],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    n, grown = done.stdout.split()
    assert int(n) == 100_000
    assert float(grown) < 4 * 31


def test_ids_are_stable_from_reading_to_reading(tmp_path):
    path = folder(tmp_path, [("images/0.png", "a"), ("images/0.png", "b"), ("nosuch.png", "c"), ("images/2.png", "d")])
    pd.testing.assert_frame_equal(catalogue.read(path)["pairs"], catalogue.read(path.parent)["pairs"])


def test_duplicate_and_tiny_images_stay_in_and_are_counted_and_listed(tmp_path):
    path = folder(
        tmp_path, [("images/0.png", "a"), ("images/0.png", "a"), ("images/9.png", "b"), ("images/0.png", "c")]
    )
    (tmp_path / "images" / "9.png").write_bytes(encoded(9, width=64, height=40))
    found = catalogue.read(path)
    assert len(found["pairs"]) == 4
    assert found["notes"] == {"duplicate pair": 1, "tiny image": 3}
    assert found["noted"][["row", "reason"]].values.tolist() == [
        [1, "tiny image"],
        [2, "duplicate pair"],
        [2, "tiny image"],
        [4, "tiny image"],
    ]
    assert set(found["noted"]["caption"]) == {"a", "c"}
    assert "notes" not in catalogue.read(path, catalogue.SourceOptions(decode=False))


def test_the_list_of_odd_rows_is_bounded_and_their_count_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "LISTED", 2)
    found = catalogue.read(folder(tmp_path, images=5))
    assert (found["notes"]["tiny image"], len(found["noted"])) == (5, 2)
