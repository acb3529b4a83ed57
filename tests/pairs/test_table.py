"""What is known of every pair, against joins by id in pandas over a real case."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ubt.pairs import table


def known(case, *stages: str) -> dict:
    """The columns of a case of which only these stages are finished."""
    return table.known(
        stages.__contains__, lambda stage, entry, *names: case.artefacts[stage].read(entry, columns=names)
    )


@pytest.fixture(scope="module")
def found(tiny_case) -> dict:
    return known(tiny_case, *tiny_case.artefacts)


def test_every_column_says_what_its_stage_said_of_that_pair(tiny_case, found):
    made = tiny_case.artefacts
    pairs = made["data"]["pairs"][["id", "caption"]]
    joined = pairs.copy()
    for name, stage in table.SIMILARITIES.items():
        joined = joined.merge(made[stage]["similarity"].rename(columns={"similarity": name}), on="id", how="left")
    joined = joined.merge(made["split"]["split"][["id", "suspicious"]], on="id", how="left")
    joined = joined.merge(made["select"]["ranked"][["id", "rank"]], on="id", how="left")
    joined["topk"] = joined["id"].isin(made["select"]["topk"]["id"])
    joined = joined.merge(made["attack"]["truth"][["id", "poisoned"]], on="id", how="left")
    assert list(found) == [name for name in table.ABOUT if name in found]
    assert set(found) == set(table.ABOUT) - {"cluster", "label", "note"}
    got = table.frame(found, np.arange(len(pairs)))
    assert got[["id", "caption"]].astype(object).equals(pairs.astype(object))
    for name in joined.columns[2:]:
        np.testing.assert_allclose(got[name].astype(float), joined[name].astype(float), atol=1e-6, err_msg=name)
    assert got["suspicious"].sum() == got["rank"].notna().sum() == 72
    best = got.loc[got["suspicious"], "similarity_overfit"].max()
    assert got.loc[got["rank"] == 1, "similarity_overfit"].item() == best


def test_flagged_is_topk_and_what_was_pulled_towards_it(tiny_case, found):
    flag, topk = tiny_case.artefacts["flag"]["flagged"], tiny_case.artefacts["select"]["topk"]
    flagged = set(topk["id"]) | set(flag.loc[flag["poisoned"], "id"])
    ids = np.array(found["id"].to_pylist())
    assert set(ids[found["flagged"]]) == flagged
    assert (np.isfinite(found["group"]) == found["flagged"]).all()
    groups = dict(zip(topk["id"], topk["group"], strict=True)) | dict(flag[flag["poisoned"]].set_index("id")["group"])
    assert {pair: found["group"][ids == pair].item() for pair in flagged} == groups


def test_what_no_stage_has_found_is_no_column(tiny_case):
    assert list(known(tiny_case)) == ["id", "caption"]
    assert list(known(tiny_case, "score", "split")) == ["id", "caption", "similarity_reference", "suspicious"]
    assert list(known(tiny_case, "attack")) == ["id", "caption", "poisoned"]
    before = known(tiny_case, "select")
    assert list(before) == ["id", "caption", "rank", "topk", "flagged", "group"]
    assert (before["flagged"] == before["topk"]).all()
    assert before["topk"].sum() == len(tiny_case.artefacts["select"]["topk"])


def test_pairs_that_are_flagged_bring_its_group_and_the_others_keep_theirs():
    """A confirmed pair that is not flagged keeps D_topk's group; one that both name takes the flag's."""
    frames = {
        "data": pd.DataFrame({"id": list("abcd"), "caption": list("wxyz")}),
        "ranked": pd.DataFrame({"row": [2, 0], "rank": [1, 2]}),
        "topk": pd.DataFrame({"row": [0, 2], "group": [1, 1]}),
        "flagged": pd.DataFrame({"poisoned": [False, False, True, True], "group": [-1, -1, 0, 2]}),
    }
    found = table.known(
        ("select", "flag").__contains__,
        lambda stage, entry, *names: frames[stage if stage == "data" else entry][list(names)],
    )
    np.testing.assert_array_equal(found["rank"], [2, np.nan, 1, np.nan])
    np.testing.assert_array_equal(found["group"], [1, np.nan, 0, 2])
    assert found["flagged"].tolist() == [True, False, True, True]


def test_decisions_stand_beside_their_pairs(found):
    ids = found["id"].to_pylist()
    labels = pd.DataFrame(
        {
            "id": [ids[7], "not of this case", ids[0]],
            "label": ["backdoor", "clean", None],
            "note": ["香蕉", "", "look again"],
        }
    )
    got = table.decided(found["id"], labels)
    joined = pd.DataFrame({"id": ids}).merge(labels, on="id", how="left")
    for name in ("label", "note"):
        assert got[name].to_pylist() == joined[name].astype(object).where(joined[name].notna(), None).tolist()
    none = table.decided(found["id"], labels[:0])
    assert none["label"].null_count == none["note"].null_count == len(ids)


def test_rows_and_frames_keep_the_order_asked_for(found):
    ids = found["id"].to_pylist()
    wanted = [ids[500], "unknown", ids[3], ids[500]]
    rows = table.rows_of(found["id"], wanted)
    assert rows.tolist() == [500, 3, 500]
    assert table.rows_of(found["id"], []).tolist() == []
    some = table.frame(found, rows, ["suspicious", "id", "nosuch"])
    assert list(some.columns) == ["id", "suspicious"]
    assert some["id"].tolist() == [ids[500], ids[3], ids[500]]
    assert some["suspicious"].tolist() == found["suspicious"][rows].tolist()
    assert table.frame({"id": pa.array(["a"])}, np.array([], int)).empty
