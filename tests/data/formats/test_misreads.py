"""Tables and captions that people report in public trackers: each is read rightly or its odd rows are named; none is
misread in silence.
"""

import csv
import io
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import encoded, folder, members, said, shard, table

from ubt.core.errors import BadInput
from ubt.data import catalogue, labelled
from ubt.data.formats import columnar, delimited
from ubt.data.images import decode
from ubt.data.quarantine import BrokenImage

INDEXED = {
    "pandas' index": ",filepath,title\n{0},images/{0}.png,dog {0}\n",
    "an index at the end": "filepath,title,\nimages/{0}.png,dog {0},{0}\n",
    "a comma at the header's end": "filepath,title,\nimages/{0}.png,dog {0},\n",
    "a comma at the header's end only": "filepath,title,\nimages/{0}.png,dog {0}\n",
    "two without a name": ",,filepath,title\n{0},x,images/{0}.png,dog {0}\n",
    "blank names": " ,filepath,title,  \n{0},images/{0}.png,dog {0},\n",
    "Excel's separator": "sep=;\nfilepath;title\nimages/{0}.png;dog {0}\n",
    "Excel's separator in quotes": '"sep=,"\r\nfilepath,title\r\nimages/{0}.png,dog {0}\r\n',
    "Excel's separator, BOM, no name": "\ufeffsep=|\n|filepath|title\n{0}|images/{0}.png|dog {0}\n",
}


@pytest.mark.parametrize("name", INDEXED)
def test_a_column_without_a_name_is_never_guessed(tmp_path, name):
    first, _, row = INDEXED[name].rpartition("\n")[0].rpartition("\n")
    ending = "\r\n" if "\r" in INDEXED[name] else "\n"
    rows = "".join(row.rstrip("\r").format(i) + ending for i in range(4))
    captions, left_out = said(catalogue.read(table(tmp_path, first + "\n" + rows)))
    assert (captions, left_out) == ([f"dog {i}" for i in range(4)], {})


def test_labels_beside_an_unnamed_index_are_the_labels(tmp_path):
    rows = "".join(f"{i},images/{i}.png,{'dog' if i % 2 else 'cat'}\n" for i in range(4))
    read = labelled.read(table(tmp_path, f",image,label\n{rows}", "labels.csv"))
    assert (read["classes"], read["images"]["label"].tolist()) == (["cat", "dog"], [0, 1, 0, 1])


def test_a_column_without_a_name_can_be_asked_for(tmp_path):
    path = table(tmp_path, ",image\na cat,images/0.png\n")
    with pytest.raises(BadInput, match="got the columns 'unnamed column 1', 'image'"):
        catalogue.read(path)
    assert said(catalogue.read(path, catalogue.SourceOptions(caption="unnamed column 1")))[0] == ["a cat"]


def test_what_spills_over_into_a_column_without_a_name_is_no_caption(tmp_path):
    path = table(tmp_path, "image,caption,\nimages/0.png,a cat,\nimages/1.png,red, not blue\nimages/2.png,a bus,\n")
    assert said(catalogue.read(path)) == (["a cat", "a bus"], {"images/1.png": "ragged row"})


def test_an_unnamed_column_of_a_parquet_is_never_guessed(tmp_path):
    pq.write_table(
        pa.table({"": ["0", "1"], "caption": ["a", "b"], "image": [encoded(0), encoded(1)]}), tmp_path / "a.parquet"
    )
    assert said(catalogue.read(tmp_path / "a.parquet")) == (["a", "b"], {})


STRAY = {
    "text first": (
        'title\tfilepath\n"a red car\timages/0.png\nplain one\timages/1.png\ntwo\timages/2.png\n"bus\timages/3.png\n',
        ["plain one", "two"],
        2,
    ),
    "image first": (
        'filepath\ttitle\nimages/0.png\t"a car\nimages/1.png\t"a bus\nimages/2.png\tplain\nimages/3.png\t5" pipe\n',
        ["plain", '5" pipe'],
        2,
    ),
    "closed at a line's end": (
        'title\tfilepath\n"a red car\timages/0.png\nplain\timages/1.png\na bus"\timages/2.png\nlast\timages/3.png\n',
        ["plain", 'a bus"', "last"],
        1,
    ),
    "commas in what is swallowed": (
        'image,caption\nimages/0.png,"car\nimages/1.png,"a bus, big"\nimages/2.png,"plain, too"\nimages/3.png,one\n',
        ["a bus, big", "plain, too", "one"],
        1,
    ),
    "a quoted word first": (
        'title\tfilepath\n"hello" on a sign\timages/0.png\nthe "end"\timages/1.png\n"quoted ""well"""\timages/2.png\n',
        ['"hello" on a sign', 'the "end"', 'quoted "well"'],
        0,
    ),
    "newlines that are meant": (
        'image,caption\nimages/0.png,"one\ntwo, three"\nimages/1.png,"a ""b""\n\nc"\nimages/2.png,"x, y\nz"\n',
        ["one two, three", 'a "b" c', "x, y z"],
        0,
    ),
    "newlines that are meant, image last": (
        'title,image\n"one\ntwo, three",images/0.png\n"a ""b""\n\nc",images/1.png\n"x, y\n, z",images/2.png\n',
        ["one two, three", 'a "b" c', "x, y , z"],
        0,
    ),
    "a quote in a text over two lines": (
        'title,image\n"one\nsays "hi" there",images/0.png\ntwo,images/1.png\n',
        ["two"],
        2,
    ),
}


@pytest.mark.parametrize("name", STRAY)
def test_a_stray_quote_costs_its_own_row_only(tmp_path, name):
    text, captions, broken = STRAY[name]
    found, left_out = said(catalogue.read(table(tmp_path, text, "a.tsv")))
    assert (found, list(left_out.values())) == (captions, ["unclosed quote"] * broken)


def test_rows_between_two_stray_quotes_are_counted(tmp_path):
    lines = [f"caption {i}\timages/{i % 4}.png\n" for i in range(1000)]
    for i in (50, 950):
        lines[i] = '"' + lines[i]
    for ends in ("png", "none"):  # with images that are not there, too: the line itself says that it is a row
        rows = "".join(lines).replace(".png", f".{ends}")
        path = table(tmp_path, "title\tfilepath\n" + rows, "t.tsv")
        if ends == "png":
            read = catalogue.read(path)
            assert (read["about"]["read"], read["about"]["kept"]) == (1000, 998)
            assert read["quarantine"]["row"].tolist() == [51, 951]
        else:
            with pytest.raises(BadInput, match="998 missing file; 2 unclosed quote"):
                catalogue.read(path)


def test_a_line_too_long_to_be_read_is_none_either_after_a_stray_quote(tmp_path):
    text = 'image,caption\nimages/0.png,"a\nimages/1.png,' + "x" * (3 << 20) + "\nimages/2.png,b\n"
    captions, left_out = said(catalogue.read(table(tmp_path, text)))
    assert captions == ["b"]
    assert sorted(left_out.values()) == ["row too long", "unclosed quote"]


JSON = {
    '{"caption": ["a cat", "a small cat"]}': ["a cat", "a small cat"],
    '{"captions": ["x y", "z"]}': ["x y", "z"],
    '{"Caption": "in any case"}': ["in any case"],
    '{"caption": ["a", 7, null, ["b"]]}': ["a", "caption not text", "empty caption", "caption not text"],
    '{"caption": []}': ["empty caption"],
    '{"caption": NaN}': ["empty caption"],
    '{"caption": null}': ["empty caption"],
    '{"caption": ""}': ["empty caption"],
    '{"caption": 7}': ["caption not text"],
    '{"caption": 1e400}': ["caption not text"],
    '{"caption": true}': ["caption not text"],
    '{"caption": {"en": "a cat"}}': ["caption not text"],
    '["a cat"]': ["empty caption"],
}


@pytest.mark.parametrize("text", JSON)
@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_caption_in_json_is_text_or_refused(tmp_path, text, kind):
    if kind == "tar":
        path = shard(tmp_path / "a.tar", [("a.png", encoded()), ("a.json", text.encode()), *members("b.png", "b.txt")])
    else:
        path = tmp_path
        for name, data in [("a.png", encoded()), ("a.json", text.encode()), *members("b.png", "b.txt")]:
            (path / name).write_bytes(data)
    read = catalogue.read(path)
    left_out = read["quarantine"]["reason"].tolist()
    assert [*read["pairs"]["caption"], *left_out] == [
        *(t for t in JSON[text] if "caption" not in t),
        "of b.txt",
        *(t for t in JSON[text] if "caption" in t),
    ]
    assert read["about"]["read"] == len(JSON[text]) + 1
    assert read["pairs"]["id"].is_unique
    if "{" in "".join(read["quarantine"]["caption"]):
        assert read["quarantine"]["caption"].tolist() == ["{'en': 'a cat'}"]


def test_labels_in_json_may_be_indices_and_nothing_else(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog")
    values = ["1", '"cat"', "true", "[0]", "NaN", "1.5"]
    inside = [
        m
        for i, v in enumerate(values)
        for m in ((f"{i}.png", encoded(i)), (f"{i}.json", b'{"label": %s}' % v.encode()))
    ]
    read = labelled.read(shard(tmp_path / "a.tar", inside))
    assert read["images"]["label"].tolist() == [1, 0]
    assert read["quarantine"]["reason"].tolist() == [
        "caption not text",
        "caption not text",
        "empty caption",
        "caption not text",
    ]


def of_images(rows: list[tuple[bytes | None, str | None] | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([r and {"bytes": r[0], "path": r[1]} for r in rows], kind)


MIXED = {
    "a null first": [None, (encoded(0), None), (encoded(1), "x.png")],
    "a path first": [(None, "images/0.png"), (encoded(0), "images/9.png"), (encoded(1), None)],
    "bytes first": [(encoded(0), "x.png"), (None, "images/1.png"), (None, None)],
    "empty bytes": [(b"", "images/2.png"), (encoded(0), None), (b"", None)],
    "a path that is none": [(encoded(1), None), (None, "../secret.png"), (None, "a.parquet::0")],
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_no_row_decides_for_others(tmp_path, name, kind):
    folder(tmp_path)
    (tmp_path / "captions.csv").unlink()
    made = pa.table({"image": of_images(MIXED[name]), "text": [f"{i}" for i in range(3)]})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(made, path, row_group_size=2)
    else:
        with pa.ipc.new_stream(str(path), made.schema) as out:
            out.write_table(made)
    good = {
        i: row[0] or (tmp_path / row[1]).read_bytes()
        for i, row in enumerate(MIXED[name])
        if row and (row[0] or (row[1] or "").startswith("images"))
    }
    read = catalogue.read(path)
    assert said(read)[0] == [f"{i}" for i in good]
    found = catalogue.open_images(read["about"], read["pairs"]["image"], 8)[:]
    np.testing.assert_array_equal(found, np.stack([decode(data, 8) for data in good.values()]))


def test_an_image_whose_path_looks_like_a_place_in_the_table_is_named(tmp_path):
    (tmp_path / "a.parquet::0").write_bytes(encoded(5))
    pq.write_table(
        pa.table({"image": of_images([(encoded(0), None), (None, "a.parquet::0")]), "text": ["a", "b"]}),
        tmp_path / "a.parquet",
    )
    assert said(catalogue.read(tmp_path / "a.parquet")) == (["a"], {"a.parquet::0": "unusable name"})


VIEWS = {
    "string_view": (pa.array(["a cat", "a dog of more than twelve letters"], pa.string_view()), pa.binary()),
    "binary_view": (pa.array(["a cat", "b"]), pa.binary_view()),
    "both": (pa.array(["a cat", "b"], pa.string_view()), pa.binary_view()),
    "a dictionary": (pa.array(["a cat", "a cat"]).dictionary_encode(), pa.large_binary()),
    "lists": (pa.array([["a cat", "a dog"], ["b"]]), pa.binary()),
    "lists of views": (pa.array([["a cat"], ["b", "c", "d"]], pa.list_(pa.string_view())), pa.binary_view()),
    "large lists": (pa.array([["a cat"], ["b", "c"]], pa.large_list(pa.large_string())), pa.binary()),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_columns_of_views_and_lists_are_read(tmp_path, name, kind):
    captions, held = VIEWS[name]
    made = pa.table({"image": pa.array([encoded(0), encoded(1)], held), "caption": captions})
    if kind == "parquet":
        pq.write_table(made, tmp_path / "a.parquet")
    else:
        with pa.ipc.new_file(str(tmp_path / "a.arrow"), made.schema) as out:
            out.write_table(made)
    read = catalogue.read(tmp_path / f"a.{kind}")
    flat = [t for c in captions.to_pylist() for t in (c if isinstance(c, list) else [c])]
    assert said(read) == (flat, {})
    images = catalogue.open_images(read["about"], read["pairs"]["image"], 8)
    rows = [i for i, c in enumerate(captions.to_pylist()) for _ in (c if isinstance(c, list) else [c])]
    np.testing.assert_array_equal(images[:], np.stack([decode(encoded(i), 8) for i in rows]))


@pytest.mark.parametrize(
    "captions",
    [pa.array([1, 2]), pa.array([0.5, None]), pa.array([True, False]), pa.array([{"en": "a"}] * 2), pa.nulls(2)],
)
def test_a_column_of_captions_of_another_type_is_named_with_it(tmp_path, captions):
    pq.write_table(pa.table({"image": [encoded(0)] * 2, "caption": captions}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="expected text in the caption column 'caption', got the type") as refused:
        catalogue.read(tmp_path / "a.parquet")
    assert str(captions.type) in str(refused.value)


def test_views_that_show_the_same_bytes_again_and_again_are_refused(monkeypatch):
    monkeypatch.setattr(columnar, "GROUP_BYTES", 1 << 16)
    one = np.array([1 << 12, 0, 0, 0], np.int32)  # a length, the first bytes, the buffer, the place in it
    many = pa.Array.from_buffers(
        pa.binary_view(), 1000, [None, pa.py_buffer(np.tile(one, 1000).tobytes()), pa.py_buffer(b"\0" * (1 << 12))]
    )
    with pytest.raises(columnar.BROKEN, match="views of more than 0 MiB"):
        columnar.texts(many)


PIECES = ["cat", '"', ",", ";", "\n", "a", "the red", "'", "\t", "|", "é", '5"', '""', "x,y", ' "q" ']


def of_table(text: str, separator: str, there: set[str]) -> list[tuple[str, str, str]]:
    """Image, caption and what is wrong of each row."""

    def place(name: str) -> str:
        if name not in there:
            raise BrokenImage("missing file", name)
        return name

    file = io.BytesIO(text.encode())
    head = delimited.header(file, "a.csv", separator)
    file.seek(0)
    rows = delimited.pairs(file, head, {"image": "image", "text": "caption"}, place, [])
    return [(row.image, row.text, row.broken) for row in rows]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_csv_writer_writes_is_read_as_it_was_written(quoting):
    for seed in range(150):
        rng, file = random.Random(seed), io.StringIO()
        separator, columns = rng.choice("\t,;|"), rng.sample(["image", "caption"], 2)
        captions = ["".join(rng.choices(PIECES, k=rng.randint(1, 6))).strip() or "z" for _ in range(8)]
        rows = [{"image": f"{i}.png", "caption": caption} for i, caption in enumerate(captions)]
        writer = csv.DictWriter(file, columns, delimiter=separator, quoting=quoting)
        writer.writeheader()
        writer.writerows(rows)
        found = of_table(file.getvalue(), separator, {row["image"] for row in rows})
        assert found == [(row["image"], row["caption"], "") for row in rows], seed


def test_in_a_table_without_quoting_no_caption_is_that_of_another_row():
    for seed in range(300):
        rng, rows = random.Random(seed), []
        columns = rng.sample(["image", "caption"], 2)
        for i in range(8):
            words = [f"row {i}", *rng.choices(["a", "cat", "5"], k=3)]
            words = [rng.choice(["{}", "{}", "{}", '"{}', '{}"', '"{}"']).format(w) for w in words]
            rows.append({"image": f"{i}.png", "caption": " ".join(words)})
        lines = ["\t".join(columns), *("\t".join(row[c] for c in columns) for row in rows)]
        found = of_table("\n".join(lines), "\t", {row["image"] for row in rows})
        assert len(found) == len(rows), seed
        for (image, caption, broken), row in zip(found, rows, strict=True):
            same = caption.replace('"', "") == row["caption"].replace('"', "")
            assert broken or (image == row["image"] and same), seed
