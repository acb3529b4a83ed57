"""Reading a finished step: some columns, and how much of it is checked."""

import math

import numpy as np
import pandas as pd
import pytest

from ubt.cases.artifact import Artefact, DamagedArtefact
from ubt.cases.store import Store
from ubt.core.errors import UbtError

FRAME = pd.DataFrame({"id": list("abc"), "similarity": [0.1, 0.2, 0.3], "rank": [3, 2, 1]})
ARRAY = np.arange(1000, dtype=np.float32).reshape(100, 10)


@pytest.fixture
def written(tmp_path) -> Artefact:
    return Store(tmp_path).write(
        "made-0",
        {"frame": FRAME, "array": ARRAY, "plain": {"k": [1, 2]}},
        {"stage": "made", "version": 1, "seconds": 0.0},
    )


def damage(artefact: Artefact, file: str) -> None:
    """Change one byte of the data and not the size."""
    path = artefact.path / file
    content = bytearray(path.read_bytes())
    content[-1 if file.endswith("npy") else len(content) // 3] ^= 1
    path.write_bytes(content)


def test_columns_are_read_in_the_order_asked_for(written):
    pd.testing.assert_frame_equal(written.read("frame"), FRAME)
    pd.testing.assert_frame_equal(written["frame"], FRAME)
    for wanted in (("rank", "id"), ["similarity"]):
        pd.testing.assert_frame_equal(written.read("frame", columns=wanted), FRAME[list(wanted)])
    assert len(written.read("frame", columns=()).columns) == 0


def test_arrays_come_as_maps_that_nobody_can_write_to(written):
    found = written.read("array")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, ARRAY)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


@pytest.mark.parametrize(
    ("entry", "file"), [("array", "array.npy"), ("frame", "frame.parquet"), ("plain", "plain.json")]
)
def test_what_is_larger_than_asked_is_taken_at_its_size(written, entry, file):
    size = (written.path / file).stat().st_size
    damage(written, "array.npy")
    if entry != "array":
        damage(written, file)
    for limit in (size, size + 1, math.inf):
        with pytest.raises(DamagedArtefact, match=file):
            written.read(entry, limit)
    with pytest.raises(DamagedArtefact, match=file):
        written[entry]
    if entry == "array":
        assert written.read(entry, size - 1)[0].tolist() == ARRAY[0].tolist()
    written.check()


def test_damage_to_one_entry_does_not_keep_the_others_from_being_read(written):
    damage(written, "frame.parquet")
    assert written.read("plain") == {"k": [1, 2]}
    np.testing.assert_array_equal(written.read("array"), ARRAY)
    with pytest.raises(DamagedArtefact, match=r"frame\.parquet") as said:
        written.read("frame", columns=["id"])
    assert said.value.key == "made-0"


def test_an_unknown_entry_is_answered_with_the_known(written):
    with pytest.raises(UbtError, match="expected one of the entries frame, array, plain, got 'nosuch'"):
        written.read("nosuch")
