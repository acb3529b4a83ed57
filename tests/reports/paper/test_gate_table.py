"""Detectors of one image by attack: what a cell is of, and what is measured of a real case."""

import functools

import numpy as np
import pytest
from tiny import CPU, alone, tiny

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import silent
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.reports.paper import TABLES, cells
from ubt.reports.paper.cell_table import KEPT
from ubt.reports.paper.gate_table import MEASURES, ROWS
from ubt.workflows import measure_gate

TABLE = TABLES["gate"]


def test_a_cell_is_a_detector_on_a_model_of_a_seed(tmp_path):
    assert {(i.name, i.part) for i in TABLE.items(1)} == {(name, d) for name in ROWS for d in IMAGE_DETECTORS}
    assert sum(i.part == "displaced" for i in TABLE.items(3)) == 5 + 5 * 3
    some = TABLE.narrowed(["badnet", "badencoder"], ["displaced", "mixed"])
    assert [(i.name, i.part) for i in some.items(1)] == [
        (name, d) for name in ("badnet", "badencoder") for d in ("displaced", "mixed")
    ]
    assert {(case.attack.name, stage) for case, stage in some.work(1)} == {
        ("badnet", "unlearn"),  # the default detector looks at the purified model too
        ("badnet", "poison"),
        ("badencoder", "poison"),
    }
    names = [some.identity(i, CPU) for i in some.items(2)]
    assert len(set(names)) == len(names) == 8
    with pytest.raises(BadInput, match="--defenses: this table has no 'nosuch'"):
        TABLE.narrowed([], ["nosuch"])
    store = Store(tmp_path)
    for i in some.items(2)[:3]:
        cell = dict.fromkeys(MEASURES, 1.0) | {"poisoned found 1 %": 80.0, "purified auroc": None}
        cell = cells.stamped(some.identity(i, CPU), CPU) | {k: v for k, v in cell.items() if v is not None}
        store.put(f"{KEPT}{some.identity(i, CPU)}", {"cell": cell}, {"stage": "cell", "seconds": 0.0})
    frame = some.measured(store, CPU, 2)
    assert frame["state"].tolist() == ["done"] * 3 + ["to do"] * 5
    heads, lines = some.lines(frame)
    first = dict(zip(heads, lines[0], strict=True))
    assert first["found at 1 %, %"] == "80.0 [77.4, 82.4]" and first["AUROC, purified"] == "-"
    assert first["seeds"] == "1 (1 to do)"


def test_what_is_measured_of_a_case_is_of_images_that_no_stage_saw(tiny_store, tiny_case, tmp_path, monkeypatch):
    store = alone(tiny_store, tiny_case.name, tmp_path / "cache")
    small = functools.partial(measure_gate.gates.GateSettings, clean=40, held=99)
    monkeypatch.setattr(measure_gate.gates, "GateSettings", small)
    monkeypatch.setattr(measure_gate, "images_of", functools.partial(measure_gate.images_of, count=30))
    models = {
        name: f"case:{tiny_case.name}/{stage}" for name, stage in (("poisoned", "poison"), ("purified", "unlearn"))
    }
    found = measure_gate.measure(store, tiny(), models, "displaced", CPU, silent)
    assert {f"{m} {what}" for m in models for what in ("auroc", "found 1 %", "false 5 %")} <= set(found)
    assert 0 <= found["poisoned auroc"] <= 1 and 0 <= found["works"] <= 100 and found["ms"] > 0
    clean, triggered = measure_gate.images_of(CaseSettings.preset("demo", "badnet"), count=8)
    assert clean.shape == triggered.shape == (8, 48, 48, 3)
    again = measure_gate.images_of(CaseSettings.preset("demo", "sig"), count=8)
    assert np.array_equal(clean, again[0]), "the same clean images whatever the attack"
    assert not np.array_equal(clean, measure_gate.images_of(tiny(seed=1), count=8)[0])
