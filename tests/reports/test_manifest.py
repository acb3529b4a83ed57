"""What the documents show stands with what made it, and what is made again is compared."""

import re

import numpy as np
import pandas as pd
import pytest
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import file_digest
from ubt.reports import documents, manifest
from ubt.reports.manifest import compare
from ubt.reports.paper import TABLES
from ubt.reports.paper.table import over_seeds

TEXT = documents.read("measured")


def test_every_table_of_the_documents_is_on_the_list_with_its_digest():
    known = {e.name: e for e in manifest.entries()}
    for path in manifest.folder().glob("*.csv"):
        if path.stem.startswith("cells-"):
            assert path.stem.replace("cells-", "table-") in known, "cells, of which a table is made or will be"
            continue
        entry = known[path.stem]
        assert file_digest(path) == entry.sha256, f"{path.name} was changed by hand, or not by reproduce --accept"
        assert entry.made and entry.version and entry.machine
        assert f"*Made by {entry.origin}*" in TEXT
    shown = {"-".join(found) for found in re.findall(r"generated: (table|sweep) ([\w-]+)", TEXT)}
    assert shown == {e.name for e in known.values() if e.sha256}


@pytest.mark.parametrize("text", ["[", "{}", '[{"name": "a"}]', '[{"name": "a", "commands": ["x"], "more": 1}]'])
def test_a_damaged_list_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(documents, "FOLDER", tmp_path)
    manifest.folder().mkdir()
    (manifest.folder() / "manifest.json").write_text(text)
    with pytest.raises(BadInput, match="expected a list of tables"):
        manifest.entries()


def table(rng: np.random.Generator, shift: float = 0.0, seeds: int = 3) -> pd.DataFrame:
    """Means and spreads of 30 rows, of two figures with a spread of 1 a seed, shifted by some."""
    lines = {"attack": ["a"] * 30, "method": [f"m{i}" for i in range(30)], "reported CA": [62.5] * 30}
    for name in ("measured CA", "measured ASR"):
        drawn = 50 + shift + rng.standard_normal((30, seeds))
        lines |= {name: drawn.mean(1).round(2), f"{name} spread": drawn.std(1, ddof=1).round(2)}
    return pd.DataFrame(lines | {"defence, s": rng.random(30), "seeds": seeds, "state": np.nan})


def written(folder, name, frame) -> "manifest.Path":
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def test_other_seeds_of_the_same_say_the_same_and_a_shift_does_not(tmp_path):
    rng = np.random.default_rng(0)
    share, alike = [], []
    for _ in range(40):
        found = compare(written(tmp_path, "a.csv", table(rng)), written(tmp_path, "b.csv", table(rng)))
        assert not found.same and found.changed == () and found.figures == 60
        share.append(len(found.outside) / found.figures)
        alike.append(found.alike)
    assert np.mean(share) == pytest.approx(0.05, abs=0.02)
    assert np.mean(alike) > 0.9
    moved = compare(tmp_path / "a.csv", written(tmp_path, "c.csv", table(rng, shift=3)))
    assert not moved.alike
    assert "a, m0: measured CA " in " ".join(moved.outside)


def test_seconds_count_for_nothing_and_all_else_has_to_be_equal(tmp_path):
    first = table(np.random.default_rng(0))
    a = written(tmp_path, "a.csv", first)
    assert compare(a, written(tmp_path, "b.csv", first)).same
    timed = compare(a, written(tmp_path, "b.csv", first.assign(**{"defence, s": 7.0})))
    assert timed.same
    for other, said in (
        (first.assign(**{"reported CA": 60.0}), "a, m0: reported CA 62.5, now 60"),
        (first.iloc[:-1], "no longer: a, m29"),
        (first.assign(method=first["method"].replace("m3", "m99")), "new: a, m99"),
        (first.drop(columns="state"), "columns: state"),
        (first.assign(seeds=5), "what its rows are of"),
        (first.assign(**{"measured CA": first["measured CA"].mask(first["method"] == "m2")}), "a, m2: measured CA"),
        (first.assign(state=["", "1 failed"] * 15), "new: a, m1, 1 failed"),
    ):
        found = compare(a, written(tmp_path, "b.csv", other))
        assert any(line.startswith(said) for line in found.changed) and not found.alike


def test_the_values_of_two_seeds_are_compared_by_their_mean_and_spread_also_with_a_table_that_did_not_keep_them(
    tmp_path,
):
    def made(values: list[float], seeds: int = 2) -> pd.DataFrame:
        return pd.DataFrame([{"attack": "a"} | over_seeds("measured CA", values) | {"seeds": seeds, "state": ""}])

    a = written(tmp_path, "a.csv", made([96.0, 97.0]))
    b = written(tmp_path, "b.csv", made([96.02, 97.0]))
    before = written(tmp_path, "before.csv", made([96.0, 97.0]).drop(columns="measured CA values"))
    for first in (a, before):
        found = compare(first, b)
        assert (found.changed, found.figures, found.alike) == ((), 1, True)


def test_one_test_image_more_is_no_difference(tmp_path):
    rare = table(np.random.default_rng(0)).assign(**{"measured ASR": 0.0, "measured ASR spread": 0.0})
    a = written(tmp_path, "a.csv", rare)
    assert compare(a, written(tmp_path, "b.csv", rare.assign(**{"measured ASR": 0.02}))).alike
    assert not compare(a, written(tmp_path, "b.csv", rare.assign(**{"measured ASR": 2.0}))).alike


def test_figures_of_one_seed_have_no_interval_and_are_counted(tmp_path):
    one = table(np.random.default_rng(0), seeds=3).assign(
        **{"measured CA spread": np.nan, "measured ASR spread": np.nan}
    )
    a = written(tmp_path, "a.csv", one)
    for by, alike in ((2.0, True), (20.0, False)):
        found = compare(a, written(tmp_path, "b.csv", one.assign(**{"measured CA": one["measured CA"] + by})))
        assert (found.figures, len(found.untold), found.alike) == (0, 30, alike)


def test_a_row_a_seed_is_compared_by_its_means(tmp_path):
    rng = np.random.default_rng(0)

    def verdicts(shift: float = 0.0) -> pd.DataFrame:
        rows = [(m, s, 0.7 + shift + 0.01 * rng.standard_normal(), "poisoned", False) for m in "ab" for s in range(4)]
        return pd.DataFrame(rows, columns=["model", "seed", "score", "answer", "wrong"])

    a = written(tmp_path, "a.csv", verdicts())
    assert compare(a, written(tmp_path, "b.csv", verdicts())).alike
    assert not compare(a, written(tmp_path, "b.csv", verdicts(0.2))).alike
    assert not compare(a, written(tmp_path, "b.csv", verdicts().assign(wrong=True))).alike


def test_what_is_accepted_is_on_the_list(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "FOLDER", tmp_path)
    manifest.folder().mkdir()
    (manifest.folder() / "manifest.json").write_text(
        '[{"name": "a", "commands": ["table 3 --seeds 2"]}, {"name": "b", "commands": ["sweep x"], "needs": "photos"}]'
    )
    before, other = manifest.entries()
    assert (before.seeds, other.seeds) == (2, 1)
    csv = written(tmp_path, "new.csv", table(np.random.default_rng(0)))
    manifest.accept(before, csv, "2026-11-29", "0.2", "a machine")
    after, same = manifest.entries()
    assert (after.sha256, after.made, after.version) == (file_digest(csv), "2026-11-29", "0.2")
    assert same == other
    assert (manifest.folder() / "a.csv").read_bytes() == csv.read_bytes()
    assert after.origin == "`python -m ubt table 3 --seeds 2`: version 0.2; a machine; 2026-11-29."


def test_what_the_documents_have_of_a_table_fills_its_rows(tmp_path):
    table = TABLES["9"]
    like = table.measured(Store(tmp_path), CPU, 1)
    found, origin = manifest.documented("table-9", like, table.heads)
    kept = pd.read_csv(manifest.folder() / "table-9.csv", dtype=str)
    assert list(found.columns) == list(like.columns)
    assert found[list(table.heads)].equals(like[list(table.heads)])
    there = found["seeds"] > 0
    assert there.sum() == len(kept)
    assert (found["state"] == "").equals(there)
    assert found.loc[there, "measured ASR"].tolist() == pytest.approx(kept["measured ASR"].astype(float).tolist())
    assert found.loc[~there, "measured ASR"].isna().all()
    assert "`python -m ubt table 9" in origin
    assert table.lines(found)
    assert manifest.documented("table-1", like, table.heads) is None
