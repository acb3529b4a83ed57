"""Damaged and hostile parquet and Arrow files, which native code reads: named in the quarantine or refused, never the
end of the process.
"""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import encoded

from ubt.core.errors import BadInput, UbtError
from ubt.data import catalogue
from ubt.data.formats import columnar


def outcome_of(read: dict) -> list[str]:
    assert "good" in read["pairs"]["caption"].tolist()
    return read["quarantine"]["reason"].tolist()


def columns(path: Path, images: list, captions: pa.Array, **more) -> Path:
    pq.write_table(pa.table({"image": pa.array(images), "caption": captions}), path, **more)
    return path


def test_hostile_cells_of_parquet_are_named(tmp_path):
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(struct.pack("<3i", 0, 4, 9)), pa.py_buffer(b"goodcaf\xe9!"))
    assert outcome_of(catalogue.read(columns(tmp_path / "a.parquet", [encoded()] * 2, bad))) == ["undecodable caption"]
    large = pa.array(["good"] + ["x" * 1_000_000] * 100)
    read = catalogue.read(columns(tmp_path / "b.parquet", [encoded()] * 101, large))
    assert read["about"]["quarantined"] == {"caption too long": 100}
    empty = catalogue.read(columns(tmp_path / "c.parquet", [encoded(), None, b"", b"no"], pa.array(["good"] * 4)))
    assert outcome_of(empty) == ["zero-size image", "zero-size image", "not an image"]
    assert empty["quarantine"]["row"].tolist() == [2, 3, 4]


def arrow(column: pa.Array) -> bytes:
    out, table = io.BytesIO(), pa.table({"image": [encoded()] * len(column), "caption": column})
    with pa.ipc.new_stream(out, table.schema) as w:
        w.write_table(table)
    return out.getvalue()


def test_offsets_of_arrow_that_lead_out_of_the_file_are_refused(tmp_path):
    whole = arrow(pa.array(["good", "one", "two"]))
    offsets = struct.pack("<4i", 0, 4, 7, 10)
    for lie in ((0, 2**30, 7, 10), (0, 4, 7, 2**30), (0, -5, 7, 10)):
        assert whole.count(offsets) == 1
        (tmp_path / "a.arrow").write_bytes(whole.replace(offsets, struct.pack("<4i", *lie)))
        with pytest.raises(BadInput, match="damaged one"):
            catalogue.read(tmp_path / "a.arrow")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("cut", [0, 3, 8, 60, -20])
def test_damaged_columns_are_refused(tmp_path, name, cut):
    made = (
        columns(tmp_path / "whole.parquet", [encoded()], pa.array(["x"])).read_bytes()
        if name == "a.parquet"
        else arrow(pa.array(["x"] * 50))
    )
    (tmp_path / name).write_bytes(made[:cut] if name == "a.parquet" or cut >= 0 else made[: len(made) // 2])
    with pytest.raises(UbtError, match="expected"):
        catalogue.read(tmp_path / name)


READ_EACH = """
import sys
from pathlib import Path
from ubt.core.errors import UbtError
from ubt.data import catalogue
from ubt.data.images import sift
path, whole = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()
for at in range(int(sys.argv[2]), len(whole), int(sys.argv[3])):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ int(sys.argv[4])]) + whole[at + 1:])
    try:
        read = catalogue.read(path)
        sift(catalogue.open_images(read["about"], read["pairs"]["image"], 8), range(len(read["pairs"])), 1)
    except UbtError:
        pass
print("all of them read or refused")
"""


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_no_changed_byte_of_columns_ends_the_process(tmp_path, kind):
    """In a process of its own: what these formats hold is read by native code."""
    path, image = tmp_path / f"a.{kind}", encoded(0, width=3, height=3)
    if kind == "arrow":
        path.write_bytes(arrow(pa.array(["one", "two"])))
    else:
        columns(path, [{"bytes": image, "path": "x"}], pa.array(["one"]), store_schema=False)
    flip = 16  # in a parquet's footer this makes a list one longer or shorter
    start, step = (path.stat().st_size - 1000, 3) if kind == "parquet" else (0, 23)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", READ_EACH, str(path), str(max(0, start)), str(step), str(flip)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all of them read or refused\n"), done.stderr[-1500:]


@pytest.mark.parametrize("index", [-1, 2])
def test_a_dictionary_is_not_asked_for_what_it_has_not(index):
    column = pa.DictionaryArray.from_arrays(pa.array([0, index], pa.int32()), pa.array(["a", "b"]), safe=False)
    with pytest.raises(columnar.BROKEN, match="a dictionary of 2 texts"):
        columnar.texts(column)
