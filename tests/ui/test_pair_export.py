"""What *Export* saves, without a browser."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from ubt.cases.store import Store
from ubt.pairs.table import PairTable
from ubt.ui import pairs, tuning
from ubt.ui.pair_export import exported
from ubt.ui.tuning import Tuned
from ubt.ui.view import View, opened


@pytest.fixture
def audit(audited, monkeypatch) -> tuple[Store, View, PairTable]:
    monkeypatch.setenv("UBT_CACHE", str(audited.root))
    view = opened(*audited.names())
    return audited, view, pairs.table(view)


def unpacked(made: bytes) -> tuple[pd.DataFrame, dict]:
    with zipfile.ZipFile(io.BytesIO(made)) as z:
        return pd.read_json(io.BytesIO(z.read("pairs.jsonl")), lines=True), json.loads(z.read("about.json"))


def test_imported_pairs_have_the_member_or_path_of_their_image(audit):
    store, view, table = audit
    rows = np.array([5, 2, 11])
    stands = tuning.stands(view, table, {})
    frame, about = unpacked(exported(view, table, "topk", rows, "JSONL", {"case": view.name, "select": ""}, stands))
    taken = store.open(view.key("take"))["pairs"]
    assert frame["image"].tolist() == taken["image"].iloc[rows].tolist()
    assert frame["id"].tolist() == taken["id"].iloc[rows].tolist()
    assert "pairs.zip" in about["columns"]["image"]
    assert (about["rule"], about["address"]) == ("topk", {"case": view.name})
    assert "suspicious_tuned" not in frame


def test_columns_as_tuned_stand_beside_those_as_run_and_say_so(audit):
    _, view, table = audit
    stands = tuning.stands(view, table, {"fraction": 30.0, "threshold": 0.1, "k": 7})
    assert stands == Tuned(30.0, 0.1, 7, moved=True, start=stands.start)
    frame, about = unpacked(exported(view, table, "", np.arange(len(table)), "JSONL", {}, stands))
    lowest = np.argsort(table.similarity_reference, kind="stable")[: round(0.3 * len(table))]
    assert set(np.flatnonzero(frame["suspicious_tuned"])) == set(lowest)
    assert frame["topk_tuned"].sum() == 7
    assert (frame["suspicious_tuned"] & (table.similarity_overfit >= 0.1)).tolist() == frame["flagged_tuned"].tolist()
    assert frame["suspicious"].tolist() == table.suspicious.tolist()
    assert about["tuned"] == {"split.fraction": 0.3, "threshold": 0.1, "select.k": 7}
    assert about["settings"]["split"]["fraction"] == view.settings.split.fraction
    assert "the 30 % of lowest" in about["columns"]["suspicious_tuned"]
    assert "0.1 or more" in about["columns"]["flagged_tuned"]


def test_sliders_beyond_what_the_case_allows_stand_at_its_bounds(audit):
    _, view, table = audit
    assert tuning.stands(view, table, {"fraction": 1.0, "k": 150}).k == max(
        3, round(0.01 * len(table)), view.settings.k
    )


def test_drawn_pairs_have_the_scene_of_their_image(full, monkeypatch):
    monkeypatch.setenv("UBT_CACHE", str(full.root))
    view = opened(*full.names())
    table = pairs.table(view)
    frame, about = unpacked(exported(view, table, "", np.array([7, 3]), "JSONL", {}, tuning.stands(view, table, {})))
    assert frame["image"].tolist() == ["scene:0:1000000007", "scene:0:1000000003"]
    assert "scene:SEED:INDEX" in about["columns"]["image"]
