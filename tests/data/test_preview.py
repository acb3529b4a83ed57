"""A look at a source before it is read."""

import itertools

import numpy as np
import pandas as pd
import pytest
from ingested import encoded, folder, packed, pixels, shard

from ubt.core.errors import BadInput
from ubt.data.catalogue import SourceOptions
from ubt.data.formats.base import NoColumn
from ubt.data.labelled import LabelledOptions
from ubt.data.preview import SIDE, look


def test_the_first_rows_are_those_of_the_source_and_why_they_would_be_left_out(tmp_path):
    rows = [
        ("images/0.png", "fine"),
        ("../x.png", "out"),
        ("images/9.png", "gone"),
        ("images/1.png", " "),
        *(("images/2.png", "more"),) * 20,
    ]
    seen = look(folder(tmp_path, rows), SourceOptions())
    assert (seen.kind, seen.names) == ("table", ["image", "caption"])
    assert seen.rows["reason"].tolist() == ["", "path leaves the root", "missing file", "empty caption"] + [""] * 4
    assert seen.rows.index.tolist() == list(range(1, 9))
    assert [i is not None for i in seen.images] == [True, False, False, True] + [True] * 4
    assert seen.images[0].shape == (SIDE, SIDE, 3)


def test_every_kind_of_source_is_recognised(tmp_path):
    pair = [("a.png", encoded(0, width=SIDE, height=SIDE)), ("a.txt", b"one")]
    table = [("c.csv", b"image,caption\na.png,one\n"), pair[0]]
    (tmp_path / "beside").mkdir()
    for name, data in pair:
        (tmp_path / "beside" / name).write_bytes(data)
    pd.DataFrame({"image": [pair[0][1]], "caption": ["one"]}).to_parquet(tmp_path / "t.parquet")
    kinds = {
        "zip with c.csv": packed(tmp_path / "z.zip", table),
        "tar shards": shard(tmp_path / "s.tar", pair),
        "1 columnar file": tmp_path / "t.parquet",
        "folder of images with texts": tmp_path / "beside",
    }
    for kind, path in kinds.items():
        seen = look(path, SourceOptions())
        assert (seen.kind, seen.rows["text"].tolist()) == (kind, ["one"])
        assert np.array_equal(seen.images[0], pixels(0, SIDE, SIDE)), kind
    (tmp_path / "classes" / "owl").mkdir(parents=True)
    (tmp_path / "classes" / "cat").mkdir()
    for name in ("owl", "cat"):
        (tmp_path / "classes" / name / "1.png").write_bytes(encoded(0))
    seen = look(tmp_path / "classes", LabelledOptions())
    assert (seen.kind, seen.rows["text"].tolist()) == ("class folders", ["cat", "owl"])


@pytest.mark.parametrize("how", ["csv", "zip"])
def test_columns_that_cannot_be_guessed_are_named(tmp_path, how):
    table = folder(tmp_path, table=b"where,said\nimages/0.png,one\n")
    path = (
        table
        if how == "csv"
        else packed(tmp_path / "z.zip", [("t.csv", table.read_bytes()), ("images/0.png", encoded(0))])
    )
    with pytest.raises(NoColumn, match="expected one image column") as e:
        look(path, SourceOptions())
    assert e.value.there == ["where", "said"]
    seen = look(path, SourceOptions(image="where", caption="said"))
    assert seen.columns["text"] == "said"
    assert seen.images[0] is not None


def test_only_the_first_rows_are_read(tmp_path, monkeypatch):
    taken = []
    from ubt.data import formats

    source = formats.open_source(folder(tmp_path), SourceOptions())
    rows = source.rows

    def counted():
        for row in itertools.cycle(rows()):
            taken.append(row.number)
            yield row

    source.rows = counted
    monkeypatch.setattr(formats, "open_source", lambda path, options: source)
    assert len(look(tmp_path, SourceOptions(), 5).rows) == len(taken) == 5


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        look(tmp_path / "nosuch", SourceOptions())
