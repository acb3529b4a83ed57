"""Scans of models whose truth is known: which models they are, what a cell says, and what is summed."""

import pandas as pd
import pytest
from tiny import CPU, put_results
from typer.testing import CliRunner

from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.core.errors import BadInput, UbtError
from ubt.reports.paper import TABLES, cells, scan_table
from ubt.reports.paper.cell_table import CLEAN, PATCH
from ubt.reports.paper.scan_table import ROWS
from ubt.workflows.measure_scan import EVALUATED

TABLE = TABLES["scan"]
CELL = {
    **{"answer": "poisoned", "score": 9.0, "first": "banana", "inverted asr": 97.0, "reference asr": 40.0},
    **{"size": 0.01, "own answer": "cannot tell", "own score": 2.5, "own first": "key", "target": "banana"},
}


def item(table, name: str, seed: int):
    return next(i for i in table.items(6) if (i.name, i.seed) == (name, seed))


def put(store: Store, table, name: str, seed: int, asr: float = 99.0, **changes) -> None:
    """A case's measures and its scan as if they had been made."""
    row = table.rows[name]
    if (case := row.case(seed)) is not None:
        for stage, value in zip(EVALUATED, (asr, 1.0), strict=True):
            put_results(store, case, stage, {stage: {"measures": {"asr": value}}})
    cell = CELL | ({"asr": asr, "natural asr": 1.0} if row.kind != CLEAN else {}) | changes
    identity = table.identity(item(table, name, seed), CPU)
    store.put(f"cell-{identity}", {"cell": cells.stamped(identity, CPU) | cell}, {"stage": "cell", "seconds": 0.0})


def test_the_models_are_those_that_were_asked_for():
    counted = {name: sum(n == name for n in (i.name for i in TABLE.items(6))) for name in ROWS}
    assert sum(counted[name] for name, row in ROWS.items() if row.kind == CLEAN) == 24
    assert {n for n, c in counted.items() if c == 3} == {"badnet stripes", "trojvqa", "sig", "wanet", "ssba"}
    six = {"badnet", "badnet at a random place", "blended", "badencoder", "badclip"}
    assert {n for n, c in counted.items() if c == 6 and ROWS[n].kind != CLEAN} == six
    first = [i.name for i in TABLE.items(2)][: len(ROWS)]
    assert first == list(ROWS), "of every row the first seed comes first"
    purified = [(i.name, i.seed) for i in TABLE.items(6) if TABLE.purified(i)]
    assert {ROWS[n].kind for n, _ in purified} == {PATCH} and max(s for _, s in purified) == 2


def test_every_row_can_be_named_in_a_list_parted_by_commas():
    assert not [name for name in ROWS if "," in name]


def test_cells_are_summed_by_model_and_the_truth_is_what_a_model_does(tmp_path):
    store, table = Store(tmp_path), TABLE.narrowed(["clean", "badnet", "sig"], [])
    put(store, table, "clean", 0, answer="not poisoned", score=2.0, first="key")
    put(store, table, "clean", 1, answer="poisoned", score=5.0, first="key")
    put(store, table, "badnet", 0, **{"purified asr": 1.5, "ca lost": 0.5, "target recall lost": 2.0})
    put(store, table, "badnet", 1, score=7.0, first="key")
    put(store, table, "sig", 0, asr=12.0, answer="cannot tell", score=3.0)
    frame = table.measured(store, CPU, 2)
    assert frame["state"].tolist() == ["done"] * 5 + ["to do"]
    assert frame["is"].tolist()[:5] == ["not poisoned", "poisoned", "", "not poisoned", "poisoned"]
    heads, lines = table.lines(frame)
    by_name = {line[0]: dict(zip(heads, line, strict=True)) for line in lines}
    assert list(by_name) == ["clean", "badnet", "sig", "all"]
    assert by_name["badnet"]["AUROC"].startswith("1.000") and by_name["sig"]["AUROC"] == "-"
    assert by_name["badnet"]["target named right"] == "1 of 2 [9, 91]"
    assert by_name["clean"]["poisoned"].startswith("1 of 2")
    assert by_name["badnet"]["purified: ASR over natural"] == "0.50"
    assert by_name["badnet"]["seeds"] == "2" and by_name["sig"]["seeds"] == "1 (1 to do)"
    each = table.cells(store, CPU, 2)
    assert len(each) == 5 and set(cells.COLUMNS) <= set(each)
    file = tmp_path / "cells.csv"
    file.write_text(each.to_csv(index=False))
    elsewhere = table.knowing(cells.read(file))
    assert [(case.attack.name, stage) for case, stage in elsewhere.missing(CPU, 2)] == [("sig", s) for s in EVALUATED]
    again = elsewhere.measured(Store(tmp_path / "elsewhere"), CPU, 2)
    pd.testing.assert_frame_equal(again[again["state"] == "done"], frame[frame["state"] == "done"], check_dtype=False)
    assert table.lines(again)[1][:2] == lines[:2]


def test_a_cell_of_other_models_or_scans_is_another(monkeypatch):
    one = TABLE.identity(item(TABLE, "badnet", 0), CPU)
    others = {
        TABLE.identity(item(TABLE, *of), CPU)
        for of in (("badnet", 1), ("badnet stripes", 0), ("clean of other training", 0))
    }
    assert len(others | {one}) == 4
    monkeypatch.setattr(scan_table.scans, "VERSION", 99)
    assert TABLE.identity(item(TABLE, "badnet", 0), CPU) != one


def test_what_fails_is_said_and_what_was_made_is_kept(tmp_path, monkeypatch):
    table, cache = TABLE.narrowed(["clean", "badnet"], []), tmp_path / "cache"
    for name in ("clean", "badnet"):
        case = ROWS[name].case(0)
        for stage in EVALUATED:
            put_results(Store(cache), case, stage, {stage: {"measures": {"asr": 50.0}}})

    def measured(store, of, where, progress):
        if of.case.attack.rate:
            raise UbtError("no features")
        return CELL | {"answer": "not poisoned", "reference asr": None}

    monkeypatch.setattr(scan_table, "measure", measured)
    assert Store(cache).names() == [], "their results are there, of other cases, but nobody ran these cases"
    command = ["table", "scan", "--seeds", "1", "--attacks", "clean,badnet", "--cache", str(cache)]
    said = CliRunner().invoke(app, [*command, "--device", "cpu", "--precision", "fp32", "--out", str(tmp_path / "out")])
    assert "1 of 2 cells failed" in str(said.exception) and "no features" in str(said.exception)
    assert len(Store(cache).names()) == 2
    kept = cells.read(tmp_path / "out" / "cells-scan.csv")
    assert kept["model"].tolist() == ["clean"] and kept["cell"].tolist() == [
        table.identity(item(table, "clean", 0), CPU)
    ]
    assert [name for name, _ in table.tasks(Store(cache), CPU, 1)] == ["badnet, seed 0"]
    with pytest.raises(BadInput, match="--attacks: this table has no 'nosuch'"):
        table.narrowed(["nosuch"], [])
