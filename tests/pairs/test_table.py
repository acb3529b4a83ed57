"""The table of pairs, against joins by id in pandas over a real case."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ubt.core.errors import BadInput
from ubt.pairs.query import parse
from ubt.pairs.table import ABOUT, SIMILARITIES, PairTable


def table_of(case, *stages: str) -> PairTable:
    """The table of a case of which only these stages are finished."""
    return PairTable.from_stages(
        stages.__contains__, lambda stage, entry, *names: case.artefacts[stage].read(entry, columns=names)
    )


@pytest.fixture(scope="module")
def table(tiny_case) -> PairTable:
    return table_of(tiny_case, *tiny_case.artefacts)


def test_every_column_says_what_its_stage_said_of_that_pair(tiny_case, table):
    made = tiny_case.artefacts
    pairs = made["data"]["pairs"][["id", "caption"]]
    joined = pairs.copy()
    for name, stage in SIMILARITIES.items():
        joined = joined.merge(made[stage]["similarity"].rename(columns={"similarity": name}), on="id", how="left")
    joined = joined.merge(made["split"]["split"][["id", "suspicious"]], on="id", how="left")
    joined = joined.merge(made["select"]["ranked"][["id", "rank"]], on="id", how="left")
    joined["topk"] = joined["id"].isin(made["select"]["topk"]["id"])
    joined = joined.merge(made["attack"]["truth"][["id", "poisoned"]], on="id", how="left")
    assert list(table) == [name for name in ABOUT if name in table]
    assert set(table) == set(ABOUT) - {"cluster", "label", "note"}
    got = table.frame(np.arange(len(pairs)))
    assert got[["id", "caption"]].astype(object).equals(pairs.astype(object))
    for name in joined.columns[2:]:
        np.testing.assert_allclose(got[name].astype(float), joined[name].astype(float), atol=1e-6, err_msg=name)
    assert got["suspicious"].sum() == got["rank"].notna().sum() == 72
    best = got.loc[got["suspicious"], "similarity_overfit"].max()
    assert got.loc[got["rank"] == 1, "similarity_overfit"].item() == best


def test_flagged_is_topk_and_what_was_pulled_towards_it(tiny_case, table):
    flag, topk = tiny_case.artefacts["flag"]["flagged"], tiny_case.artefacts["select"]["topk"]
    flagged = set(topk["id"]) | set(flag.loc[flag["poisoned"], "id"])
    ids = np.array(table.id.to_pylist())
    assert set(ids[table.flagged]) == flagged
    assert (np.isfinite(table.group) == table.flagged).all()
    groups = dict(zip(topk["id"], topk["group"], strict=True)) | dict(flag[flag["poisoned"]].set_index("id")["group"])
    assert {pair: table.group[ids == pair].item() for pair in flagged} == groups


def test_what_no_stage_has_found_is_no_column(tiny_case):
    assert list(table_of(tiny_case)) == ["id", "caption"]
    assert list(table_of(tiny_case, "score", "split")) == ["id", "caption", "similarity_reference", "suspicious"]
    assert list(table_of(tiny_case, "attack")) == ["id", "caption", "poisoned"]
    before = table_of(tiny_case, "select")
    assert list(before) == ["id", "caption", "rank", "topk", "flagged", "group"]
    assert (before.flagged == before.topk).all()
    assert before.topk.sum() == len(tiny_case.artefacts["select"]["topk"])


def test_pairs_that_are_flagged_bring_its_group_and_the_others_keep_theirs():
    """A confirmed pair that is not flagged keeps D_topk's group; one that both name takes the flag's."""
    frames = {
        "data": pd.DataFrame({"id": list("abcd"), "caption": list("wxyz")}),
        "ranked": pd.DataFrame({"row": [2, 0], "rank": [1, 2]}),
        "topk": pd.DataFrame({"row": [0, 2], "group": [1, 1]}),
        "flagged": pd.DataFrame({"poisoned": [False, False, True, True], "group": [-1, -1, 0, 2]}),
    }
    table = PairTable.from_stages(
        ("select", "flag").__contains__,
        lambda stage, entry, *names: frames[stage if stage == "data" else entry][list(names)],
    )
    np.testing.assert_array_equal(table.rank, [2, np.nan, 1, np.nan])
    np.testing.assert_array_equal(table.group, [1, np.nan, 0, 2])
    assert table.flagged.tolist() == [True, False, True, True]


def test_decisions_stand_beside_their_pairs(table):
    ids = table.id.to_pylist()
    labels = pd.DataFrame(
        {
            "id": [ids[7], "not of this case", ids[0]],
            "label": ["backdoor", "clean", None],
            "note": ["香蕉", "", "look again"],
        }
    )
    got = table.with_labels(labels)
    joined = pd.DataFrame({"id": ids}).merge(labels, on="id", how="left")
    for name in ("label", "note"):
        assert got[name].to_pylist() == joined[name].astype(object).where(joined[name].notna(), None).tolist()
    none = table.with_labels(labels[:0])
    assert none.label.null_count == none.note.null_count == len(ids)


def test_rows_and_frames_keep_the_order_asked_for(table):
    ids = table.id.to_pylist()
    wanted = [ids[500], "unknown", ids[3], ids[500]]
    rows = table.rows(wanted)
    assert rows.tolist() == [500, 3, 500]
    assert table.ids(rows) == [ids[500], ids[3], ids[500]]
    assert table.rows([]).tolist() == []
    some = table.frame(rows, ["suspicious", "id", "nosuch"])
    assert list(some.columns) == ["id", "suspicious"]
    assert some["id"].tolist() == [ids[500], ids[3], ids[500]]
    assert some["suspicious"].tolist() == table.suspicious[rows].tolist()
    assert PairTable(pa.array(["a"]), pa.array(["b"])).frame(np.array([], int)).empty


def test_a_map_adds_its_places_and_a_query_selects_by_them(table):
    xy, cluster = np.random.default_rng(0).normal(size=(len(table), 2)).astype(np.float32), np.arange(len(table)) % 3
    mapped = table.with_map("joint", {"overfit": xy}, cluster)
    added = {"cluster", "map_joint_overfit_x", "map_joint_overfit_y", "cluster_joint"}
    assert set(mapped) - set(table) == added and "cluster" not in table
    assert mapped["map_joint_overfit_y"].base is xy, "columns are not copied"
    chosen = parse("cluster = 1 and map_joint_overfit inside (0 -9, 9 -9, 9 9, 0 9) and not flagged").rows(mapped)
    assert chosen.tolist() == ((cluster == 1) & (xy[:, 0] > 0) & ~table.flagged).tolist()
    both = mapped.with_map("image", {"poisoned": xy}, cluster[::-1])
    assert both.cluster.tolist() == cluster[::-1].tolist() and both["cluster_joint"].tolist() == cluster.tolist()


def test_without_the_truth_nothing_tells_it(table):
    blind = table.without_truth
    assert "poisoned" in table and "poisoned" not in blind
    assert "poisoned" not in blind.frame(np.arange(3)).columns
    assert set(table) - set(blind) == {"poisoned"}
    with pytest.raises(BadInput, match="one of the columns id, caption"):
        parse("poisoned").rows(blind)
    with pytest.raises(KeyError, match="expected one of the columns"):
        blind["poisoned"]


def test_the_most_suspicious_come_first(table):
    rows = table.most_suspicious(np.ones(len(table), bool), len(table))
    overfit, place = table.similarity_overfit, np.argsort(rows)
    kind = np.where(table.topk, 0, np.where(table.flagged, 1, np.where(table.suspicious, 2, 3)))[rows]
    assert (np.diff(kind) >= 0).all()
    assert (np.diff(overfit[rows][kind == 2]) <= 0).all()
    assert (np.diff(table.similarity_reference[rows][kind == 3]) >= 0).all()
    some = table.most_suspicious(~table.topk, 20)
    assert not table.topk[some].any() and place[some].tolist() == sorted(place[some])
    assert len(some) == 20
