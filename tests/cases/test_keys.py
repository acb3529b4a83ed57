"""Names of cases and artefacts: what changes them, and what must not."""

import copy
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field
from tiny import CPU, tiny

from ubt.cases.catalog import CASE
from ubt.cases.keys import every_key, keys, made_with
from ubt.cases.pipeline import Pipeline, missing, standing, upto
from ubt.cases.settings import CaseSettings
from ubt.core.files import REFERENCE
from ubt.core.settings import setting
from ubt.defenses.token_unlearning.split import SplitSettings

_spec = importlib.util.spec_from_file_location("golden", Path(__file__).parent / "golden.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


class LaterSplit(SplitSettings):
    """D_susp with a setting that did not exist before."""

    margin: float = setting(0.0, "a setting added later", low=0, high=1)


class LaterCase(CaseSettings):
    """A case of a version that has it."""

    split: LaterSplit = Field(default_factory=LaterSplit)


def test_defaults_versions_and_names_are_those_that_were_agreed_upon():
    before, now = json.loads(golden.FILE.read_text()), json.loads(json.dumps(golden.of_today()))
    assert golden.unversioned(before, now) == []
    assert before["names"] == now["names"], "a case has another name: every case of every user would be made again"
    assert before["artefacts"] == now["artefacts"], (
        "results have other names: raise a version only where a result changed"
    )
    assert before == now, "run python tests/cases/golden.py, and look at what changed"


def test_a_default_that_changes_without_its_stages_version_is_noticed():
    before = json.loads(golden.FILE.read_text())
    now = copy.deepcopy(before)
    now["defaults"]["split.fraction"] = 0.2
    assert golden.unversioned(before, now) == ["split.fraction: 0.06 -> 0.2; raise the version of split"]
    now["versions"]["split"] += 1
    assert golden.unversioned(before, now) == []


def test_a_new_setting_at_its_default_renames_nothing_and_away_from_it_does():
    later = LaterCase.from_dict(tiny().to_dict())
    assert later.name(CPU) == tiny().name(CPU)
    assert keys(later, CPU, CASE, REFERENCE) == keys(tiny(), CPU, CASE, REFERENCE)
    changed = later.with_values({"split.margin": 0.1})
    assert changed.name(CPU) != tiny().name(CPU)
    assert keys(changed, CPU, CASE, REFERENCE)["split"] != keys(tiny(), CPU, CASE, REFERENCE)["split"]


def test_neither_a_functions_module_nor_its_name_is_part_of_a_results_name():
    moved = tuple(replace(s, function=f"ubt.elsewhere.{s.name}:other") for s in CASE)
    assert [s.identity for s in moved] == [s.identity for s in CASE]
    assert keys(tiny(), CPU, moved, REFERENCE) == keys(tiny(), CPU, CASE, REFERENCE)
    other = tuple(replace(s, id="split.other") if s.name == "split" else s for s in CASE)
    assert keys(tiny(), CPU, other, REFERENCE)["split"] != keys(tiny(), CPU, CASE, REFERENCE)["split"]


def test_a_result_keeps_the_settings_of_all_stages_that_lead_to_it():
    full = made_with(tiny(), CASE)
    assert set(full["test"]) == {"test"}
    assert {"split", "poison", "data", "attacks"} <= set(full["overfit"])
    assert "unlearn" not in full["overfit"]
    assert full["overfit"]["split"] == tiny().split.to_dict()
    assert full["attack"]["attacks"][0]["trigger"] == tiny().badnet.to_dict()


def test_a_result_from_before_a_setting_was_added_is_still_one(full):
    """Its manifest does not know the setting, in a group of its own or of an attack; the name is the same."""
    key = full.record(tiny().name(CPU)).artefacts["poison"]
    file = full.root / "artefacts" / key / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["settings"]["poison"]["start"]
    del manifest["settings"]["attacks"][0]["trigger"]["cell"]
    file.write_text(json.dumps(manifest))
    (full.root / "checked" / f"{key}.json").unlink(missing_ok=True)
    today = made_with(tiny(), CASE)["poison"]
    assert full.find(key, today, whole=True) is not None
    assert standing(full, tiny(), CPU, whole=True)[0] == "done"
    manifest["settings"]["poison"]["gone"] = 1
    file.write_text(json.dumps(manifest))
    assert full.find(key, today) is None, "a setting that is gone may have been away from its default"


@pytest.mark.parametrize(("stage", "changed"), [("split", "split.fraction"), ("overfit", "poison.epochs")])
def test_results_of_another_default_are_no_results_of_today(full, stage, changed, caplog):
    """As if a default, of the stage or of one before it, had changed and nobody had raised a version: the name is the
    same, the settings are not.
    """
    key = full.record(tiny().name(CPU)).artefacts[stage]
    file = full.root / "artefacts" / key / "manifest.json"
    manifest = json.loads(file.read_text())
    group, name = changed.split(".")
    manifest["settings"][group][name] += 1
    file.write_text(json.dumps(manifest))
    today = made_with(tiny(), CASE)
    assert full.find(key) is not None
    assert full.find(key, today[stage]) is None
    assert standing(full, tiny(), CPU, until=stage)[0] != "done"
    assert standing(full, tiny(), CPU, whole=True)[0] == "partial"
    assert missing(full, tiny(), every_key(tiny(), CPU), CASE, whole=True) == [stage]
    case = Pipeline(full, CPU).run(tiny(), upto(stage))
    assert "another version's" in caplog.text
    assert case.artefacts[stage].manifest["settings"] == today[stage]
