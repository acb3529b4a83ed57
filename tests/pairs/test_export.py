"""What leaves comes back: pairs, order, text, numbers; and no spreadsheet runs a caption."""

import csv
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from ubt.core.errors import BadInput
from ubt.pairs.export import KINDS, packed

TEXTS = [
    "a banana",
    'say "b", then\nnext\r\nline',
    "=1+1",
    "  =HYPERLINK(1)",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "\uff1dx",
    "\u3000\uff0bx",
    "\uff0dx",
    "\uff20x",
    "\u200b=x",
    "\ufeff@x",
    "\ufe62x",
    "\ufe63x",
    "\ufe66x",
    " \ufe6bx",
    "\x01=x",
    "\x1f\u200b\ufe66x",
    "a=b",
    "x\n=1+1",
    "日本 🍌",
    "'quoted",
    "",
    "nul\0",
    "1e5",
    "NaN",
    "\ud800lone",
    None,
]
FORMULAS = set(range(2, 22))
FRAME = pd.DataFrame(
    {
        "id": [f"-{i:02d}" if i % 2 else f"p{i:02d}" for i in reversed(range(len(TEXTS)))],
        "caption": pd.Series(TEXTS, dtype=object),
        "score": np.linspace(-1, 1, len(TEXTS), dtype=np.float32),
        "rank": [np.nan, -3.5, np.inf] * (len(TEXTS) // 3) + [0.1] * (len(TEXTS) % 3),
        "topk": [True, False] * (len(TEXTS) // 2),
        "n": range(-2, len(TEXTS) - 2),
        "label": [None] * (len(TEXTS) - 1) + ["clean"],
        "=cmd": pd.Categorical(["-a", "b"] * (len(TEXTS) // 2)),
    }
).set_index(np.arange(100, 100 + len(TEXTS)))


def opened(kind: str, frame: pd.DataFrame = FRAME) -> bytes:
    with zipfile.ZipFile(io.BytesIO(packed(frame, kind, {}))) as z:
        return z.read(f"pairs.{kind.lower()}")


def test_csv_holds_every_pair_and_no_formula():
    rows = list(csv.reader(io.StringIO(opened("CSV").decode(), newline="")))
    assert rows[0] == ["id", "caption", "score", "rank", "topk", "n", "label", "'=cmd"]
    assert [r[0].removeprefix("'") for r in rows[1:]] == FRAME["id"].tolist()
    for i, (row, text) in enumerate(zip(rows[1:], TEXTS, strict=True)):
        assert row[1] == ("'" * (i in FORMULAS) + (text or "")).replace("\ud800", "\ufffd")
        assert np.float32(row[2]) == FRAME["score"].iloc[i]
        assert (float(row[3]) if row[3] else None) == (
            None if np.isnan(FRAME["rank"].iloc[i]) else FRAME["rank"].iloc[i]
        )
        assert row[4] == ("false" if i % 2 else "true")
        assert row[5:] == [str(i - 2), "clean" if i == len(TEXTS) - 1 else "", "b" if i % 2 else "'-a"]


def test_jsonl_holds_the_text_as_it_is():
    lines = opened("JSONL").decode().split("\n")
    rows = [json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is no JSON")) for line in lines[:-1]]
    assert lines[-1] == ""
    assert [r["caption"] for r in rows] == TEXTS
    assert [r["id"] for r in rows] == FRAME["id"].tolist()
    assert [r["rank"] for r in rows] == [v if np.isfinite(v) else None for v in FRAME["rank"]]
    assert [(r["topk"], r["n"], r["label"], r["=cmd"]) for r in rows[-2:]] == [
        (True, len(TEXTS) - 4, None, "-a"),
        (False, len(TEXTS) - 3, "clean", "b"),
    ]
    assert np.float32(rows[3]["score"]) == FRAME["score"].iloc[3]


def test_parquet_holds_text_and_types():
    table = pyarrow.parquet.read_table(io.BytesIO(opened("parquet")))
    assert table.column_names == FRAME.columns.tolist()
    assert [str(t) for t in table.schema.types[2:6]] == ["float", "double", "bool", "int64"]
    assert table["caption"].to_pylist() == [t and t.replace("\ud800", "\ufffd") for t in TEXTS]
    for name in ("id", "score", "topk", "n", "=cmd"):
        assert table[name].to_pylist() == FRAME[name].tolist()
    assert table["rank"].to_pylist() == [None if np.isnan(v) else v for v in FRAME["rank"]]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_input_gives_equal_bytes_and_says_what_it_is(kind, monkeypatch):
    about = {"case": "badnet-0", "rule": "caption = '\ud800'", "settings": {"seed": 0}}
    made = packed(FRAME, kind, about)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert packed(FRAME.copy(), kind, dict(about)) == made
    with zipfile.ZipFile(io.BytesIO(made)) as z:
        assert z.testzip() is None
        assert z.namelist() == [f"pairs.{kind.lower()}", "about.json"]
        assert json.loads(z.read("about.json")) == about


@pytest.mark.parametrize("kind", KINDS)
def test_no_pairs_and_odd_columns_do_not_crash(kind):
    assert opened(kind, FRAME.iloc[:0]) is not None
    assert opened(
        kind, pd.DataFrame({"tags": [["=a"], None], "\ud800": [{"k": 1}, "x"], 3: pd.to_datetime(["2026-01-01", None])})
    )


def test_an_unknown_kind_is_refused():
    with pytest.raises(BadInput, match=r"expected one of CSV, JSONL, parquet; got 'xlsx'"):
        packed(FRAME, "xlsx", {})
