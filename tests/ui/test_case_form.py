"""The inputs of settings, as their declarations ask for them."""

import pytest
from streamlit.testing.v1 import AppTest

from ubt.attacks import ATTACKS
from ubt.cases.settings import CaseSettings
from ubt.ui.case_form import MAIN, Setting, settings_of


def inputs() -> None:
    from ubt.ui.case_form import Setting, widget

    widget(Setting("g.kind", "b", str, "which", choices=("a", "b")), "Kind", "kind")
    widget(Setting("g.text", "as it is", str, "any text"), "Text", "text")
    widget(Setting("g.share", 0.25, float, "a share", 0, 1), "Share", "share", slide=True)
    widget(Setting("g.side", 7, int, "pixels", 1, 48), "Side", "side", slide=True)
    widget(Setting("g.seed", 3, int, "a seed", 0, 2**31), "Seed", "seed", slide=True)
    widget(Setting("g.rate", 0.5, float, "a rate", low=0), "Rate", "rate")


def test_an_input_follows_the_settings_type_range_and_choices():
    at = AppTest.from_function(inputs).run()
    assert not at.exception
    assert (at.selectbox(key="kind").options, at.selectbox(key="kind").value) == (["a", "b"], "b")
    assert at.text_input(key="text").value == "as it is"
    share, side, seed, rate = at.slider(key="share"), at.slider(key="side"), *at.number_input
    assert (share.min, share.max, share.step, share.value) == (0, 1, 0.005, 0.25)
    assert (side.min, side.max, side.step, side.value) == (1, 48, 1, 7)
    assert (seed.min, seed.max, seed.step, seed.value) == (0, 2**31, 1, 3)
    assert (rate.min, rate.max, rate.step, rate.value) == (0, None, 0.005, 0.5)
    assert share.help == "a share"


def test_every_setting_is_described_and_the_main_ones_exist():
    settings = settings_of(CaseSettings())
    assert set(MAIN) <= set(settings)
    assert all(s.help and isinstance(s.type, type) for s in settings.values())
    assert settings["attack.rate"].value == CaseSettings().attack.rate


@pytest.mark.parametrize("attack", ["badnet", "sig"])
def test_a_form_offers_the_settings_of_its_own_attack_and_a_new_one_is_no_exception(attack, monkeypatch):
    case = CaseSettings().with_values({"attack.name": attack})
    offered = {s.group for s in settings_of(case).values() if s.concerns(case)}
    assert offered & set(ATTACKS) == {attack}
    assert {"attack", "split", "unlearn"} <= offered and "own" not in offered
    monkeypatch.setitem(ATTACKS, "mine", ATTACKS["badnet"])
    assert not Setting("mine.side", 1, int, "pixels").concerns(case)
