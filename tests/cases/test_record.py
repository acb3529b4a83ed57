"""A case's record: what is on disk comes back as it was, and anything else is damaged and says why."""

import json
import math

import pytest
from pydantic import ValidationError
from tiny import CPU, tiny

from ubt.cases import demo
from ubt.cases.pipeline import create
from ubt.cases.record import SCHEMA, CaseRecord
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import READY


@pytest.fixture
def record(tmp_path) -> CaseRecord:
    store = Store(tmp_path)
    return store.record(create(store, tiny(), CPU))


@pytest.mark.parametrize("name", demo.names())
def test_a_record_is_written_as_it_was_read(name):
    text = (READY / "cases" / name / "case.json").read_text()
    assert json.loads(CaseRecord.from_json(text.encode()).to_json()) == json.loads(text)


def test_every_figure_comes_back_to_the_last_digit(record):
    figures = {"some": [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, 2**70], "score": math.inf}
    back = CaseRecord.from_json(record.changed(metrics=figures | {"none": math.nan}).to_json())
    assert math.isnan(back.metrics.pop("none"))
    assert back.metrics == figures
    assert back.compute == CPU


def test_what_nobody_can_read_as_text_is_kept_readable(record):
    failed = record.changed(state="failed", error="caf\udce9.png: gone")
    assert CaseRecord.from_json(failed.to_json()).error == "caf\\udce9.png: gone"


@pytest.mark.parametrize("wrong", [{"state": "finished"}, {"nosuch": 1}, {"artefacts": {"data": 3}}, {"metrics": []}])
def test_a_record_takes_no_other_values(record, wrong):
    with pytest.raises(ValidationError):
        record.changed(**wrong)
    with pytest.raises(ValidationError, match="frozen"):
        record.state = "done"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": SCHEMA + 1}, "made by another version"),
        ({"schema": None}, "made by another version"),
        ({"state": None}, "state: Input should be"),
        ({"compute": {"device": "cpu"}}, "compute.precision: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_record_says_why_and_costs_no_other_case_anything(tmp_path, change, why):
    store = Store(tmp_path)
    other, name = (create(store, tiny(seed=seed), CPU) for seed in (1, 2))
    path = tmp_path / "cases" / name / "case.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for found in (store.record(name), store.case(name), store.cases()[name]):
        assert found.state == "damaged"
        assert str(path) in found.error
        assert why in found.error
    assert store.cases()[other].state == "new"
    assert create(store, tiny(seed=2), CPU) == name
    assert store.record(name).state == "new"


def test_a_case_that_is_not_there(tmp_path):
    store = Store(tmp_path)
    assert store.record("nosuch").state == "absent"
    assert not store.record("nosuch").readable
    assert store.cases() == {}
    with pytest.raises(BadInput, match="unknown case 'nosuch'"):
        store.case("nosuch")
