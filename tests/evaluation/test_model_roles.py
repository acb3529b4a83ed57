"""The registry of a case's models agrees with the stages that make, score and measure them."""

import pytest

from ubt.cases.plan import composed
from ubt.data.user_roles import OwnSettings
from ubt.evaluation.model_roles import MEASURED, ROLES, SCORED, SUSPECT, labels


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_a_models_stages_read_that_very_model(role):
    known = {s.name: s for s in composed(OwnSettings()).every}
    assert not role.model or role.model in known
    for stage in filter(None, (role.scored, role.evaluated)):
        assert known[stage].inputs["model"] == f"{role.model or 'reference'}.model"


def test_nothing_else_scores_or_measures_a_model_of_the_case():
    scored = {role.scored for role in SCORED}
    measured = {role.evaluated for role in MEASURED.values()}
    assert scored | measured <= {s.name for s in composed(OwnSettings()).every}
    assert {s.name for s in composed(OwnSettings()).case if s.name.startswith("evaluate_")} == measured


def test_models_are_told_apart_by_name_colour_and_pattern():
    for of in ("colour", "pattern", "label"):
        assert len({getattr(role, of) for role in MEASURED.values()}) == len(MEASURED)
    assert labels(audit=True)["poisoned"] == SUSPECT
    assert "poisoned" not in SUSPECT
