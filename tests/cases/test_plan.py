"""What a case is made of: every input is of an earlier stage, nothing is left out but what is known to be absent."""

import inspect
from dataclasses import replace

import pytest

from ubt.cases.catalog import every
from ubt.cases.plan import IMPORTED, composed, possible
from ubt.core.errors import BadInput, UbtError
from ubt.core.stage import Stage
from ubt.data.user_roles import OwnSettings

KEY = "0123456789abcdef"
PAIRS = {"pairs": f"pairs-{KEY}", "reference": f"model-{KEY}"}
LAB = OwnSettings(**PAIRS, test=f"labelled-{KEY}")
AUDIT = OwnSettings(**PAIRS, suspect=f"model-{KEY}")
KINDS = {
    "scenes": OwnSettings(),
    "scenes, a reference of the defender's own": OwnSettings(reference=f"model-{KEY}"),
    "scenes, another start and another clean model": OwnSettings(start=f"model-{KEY}", other=f"model-{KEY}"),
    "lab": LAB,
    "lab, another start and another clean model": OwnSettings(
        **PAIRS, test=f"labelled-{KEY}", start=f"model-{KEY}", other=f"model-{KEY}"
    ),
    "audit": AUDIT,
    "audit with labels": OwnSettings(**PAIRS, test=f"labelled-{KEY}", suspect=f"model-{KEY}"),
    "audit without a reference": OwnSettings(pairs=f"pairs-{KEY}", suspect=f"model-{KEY}"),
}


@pytest.mark.parametrize("own", KINDS.values(), ids=KINDS)
def test_every_input_is_an_entry_of_an_earlier_stage_and_an_argument_of_the_function(own):
    before: dict[str, Stage] = {}
    for stage in composed(own).every:
        takes = inspect.signature(stage.load()).parameters
        required = {n for n, p in takes.items() if p.default is p.empty}
        assert {*stage.inputs, *stage.settings} <= set(takes), stage.name
        assert required <= {*stage.inputs, *stage.settings, "run"}, stage.name
        for source in stage.inputs.values():
            owner, entry = source.split(".")
            assert owner in {*IMPORTED, "reference"} or entry in before[owner].entries, (stage.name, source)
        before[stage.name] = stage


@pytest.mark.parametrize("own", KINDS.values(), ids=KINDS)
def test_no_defender_takes_the_truth_or_the_judges_images(own):
    """Neither as an input nor as one that is there in some cases only; the verdict's health checks are among them."""
    stages = {s.name: s for s in composed(own).every}
    assert stages["verdict"].role == "defender"
    for stage in stages.values():
        if stage.role == "defender":
            owners = stage.sources() | {source.split(".")[0] for source in stage.optional.values()}
            assert "attack" not in owners, stage.name
            assert not {o for o in owners if o in stages and stages[o].role == "judge"}, stage.name
            assert not {"test", "attack"} & owners, stage.name


def test_the_verdict_asks_labelled_images_where_an_analyst_imported_some():
    stages = {name: {s.name: s for s in composed(own).case} for name, own in KINDS.items()}
    asked = [name for name, found in stages.items() if "accuracy" in found["verdict"].inputs]
    assert asked == [name for name, found in stages.items() if "reference_accuracy" in found]
    assert asked == ["lab", "lab, another start and another clean model", "audit with labels"]


@pytest.mark.parametrize("own", [OwnSettings(), LAB], ids=["scenes", "lab"])
def test_another_start_is_that_of_all_that_is_trained_in_place_of_the_reference_and_of_nothing_else(own):
    before, after = ({s.name: s for s in composed(o).every} for o in (own, own.with_values({"start": f"model-{KEY}"})))
    moved = {name for name, stage in after.items() if stage.inputs != before[name].inputs}
    assert moved == {
        name for name, s in before.items() if "reference.model" in s.inputs.values() and "history" in s.gives
    }
    assert {"poison", "retrain", "roclip"} <= moved
    assert not moved & {"score", "evaluate_clean", "take", "attack"}
    other = {s.name: s for s in composed(own.with_values({"other": f"model-{KEY}"})).every}
    assert set(other) - set(before) == {"natural_other"}
    assert other["natural_other"].inputs["model"] == "own_other.model"


def test_a_start_is_of_a_lab_case_alone():
    with pytest.raises(BadInput, match="start and other in a lab case alone"):
        AUDIT.with_values({"start": f"model-{KEY}"})


def test_what_an_audit_leaves_out_has_no_truth_or_no_images_to_be_measured_on():
    """Nothing else than what needs the truth, clean data of the defender's own or the judge is left out of an audit."""
    left_out = {s.name for s in every()} - {s.name for s in composed(AUDIT).every}
    absent = {s.name for s in every() if s.role != "defender"} | {"clean", "labelled"}
    follows = {s.name for s in every() if s.sources() & (absent | {"cleanclip", "par", "supervised", "tbar"})}
    assert left_out <= absent | follows | {"retrain"}
    assert {"unlearn", "unlearn_published", "mask", "verdict", "flag", "estimate"} <= {
        s.name for s in composed(AUDIT).case
    }


@pytest.mark.parametrize("wrong", ["selekt.topk", "select.topkk", "unlearn.model", "own_tset.images"])
def test_a_typo_in_an_input_is_an_error_and_removes_no_stage(wrong):
    stages = composed(LAB).every
    at = next(i for i, s in enumerate(stages) if s.name == "retain")
    typo = replace(stages[at], inputs=stages[at].inputs | {"topk": wrong})
    there = {"reference", *IMPORTED} - {"own_suspect"}
    assert possible(stages, there, {"own_suspect"}) == stages
    with pytest.raises(UbtError, match=r"stage retain: expected"):
        possible((*stages[:at], typo, *stages[at + 1 :]), there, {"own_suspect"})


def test_what_is_known_to_be_absent_leaves_out_what_needs_it_and_what_needs_that():
    a = Stage("a", "", "m:f", {"x": "gone.y"}, gives=("z",))
    b = Stage("b", "", "m:f", {"x": "a.z"}, gives=("z",))
    c = Stage("c", "", "m:f", {"x": "here.y"}, gives=("z",))
    assert possible([a, b, c], ["here"], ["gone"]) == (c,)
    with pytest.raises(UbtError, match="stage a: expected inputs from stages before it"):
        possible([a, b, c], ["here"], [])


def test_a_functions_id_is_its_own_for_ever():
    """One function one id, one id one function, whatever stages share it."""
    functions = {(s.function, s.identity) for own in KINDS.values() for s in composed(own).every}
    assert (
        len({function for function, _ in functions}) == len({identity for _, identity in functions}) == len(functions)
    )
    for own in KINDS.values():
        by_id: dict[str, set] = {}
        for s in composed(own).every:
            by_id.setdefault(s.identity, set()).add((s.version, s.gives))
        assert all(len(declared) == 1 for declared in by_id.values())
