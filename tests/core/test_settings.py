import json

import pytest
from pydantic import Field, ValidationError
from tiny import CPU, tiny

from ubt.cases.catalog import CASE
from ubt.cases.keys import keys
from ubt.cases.pipeline import upto
from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, digest
from ubt.core.run import compute, derive_seed
from ubt.core.settings import Settings, setting


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_json(preset):
    settings = CaseSettings.preset(preset)
    assert CaseSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("attack.rate", 1.5, "between 0 and 1"),
        ("attack.rate", float("nan"), "between 0 and 1"),
        ("attack.name", "nosuch", "expected one of: badnet"),
        ("split.fraction", -0.1, "between 0 and 1"),
        ("select.k", 10_000, "at most 600"),
        ("select.k", 1, "at least 2"),
        ("poison.epochs", 0, "at least 1"),
        ("poison.epochs", "many", "type int"),
        ("poison.nosuch", 1, "unknown setting"),
        ("nosuch.lr", 1, "unknown setting"),
        ("split", 1, "group of settings"),
        ("overfit.regularise", "perhaps", "type bool"),
        ("unlearn.masked", "perhaps", "one of text, image, image and text, none"),
        ("badnet.pattern", "dots", "checkerboard, white, noise"),
    ],
)
def test_bad_settings_say_what_was_expected(name, value, says):
    with pytest.raises(BadInput, match=says):
        CaseSettings().with_values({name: value})


def test_text_is_read_as_the_fields_type():
    s = CaseSettings().with_values({"overfit.regularise": "false", "poison.lr": "1e-3", "select.k": "7"})
    assert (s.overfit.regularise, s.poison.lr, s.select.k) == (False, 1e-3, 7)


def test_unknown_preset_and_device():
    with pytest.raises(BadInput, match="demo, paper"):
        CaseSettings.preset("nosuch")
    with pytest.raises(BadInput, match="auto, cpu or cuda"):
        compute("tpu")
    with pytest.raises(BadInput, match="auto, fp32 or bf16"):
        compute("cpu", "fp8")


def test_paper_preset_is_the_papers():
    s = CaseSettings.preset("paper")
    assert (s.data.pairs, s.attack.poisons(s.data.pairs), s.k, s.test.per_class, s.own.templates) == (
        501_500,
        1500,
        70,
        50,
        "80",
    )
    assert (s.poison.lr, s.poison.epochs, s.poison.batch, s.split.fraction) == (1e-6, 3, 128, 0.01)
    assert (s.overfit.lr, s.overfit.batch, s.published.lr, s.published.batch) == (1e-6, 64, 1e-5, 64)
    assert (s.overfit.steps, s.published.steps) == (round(5 * 501_500 / 64), round(5 * 2 * 70 * 70 / 64))
    assert (s.abl.lr, s.abl.batch, s.abl.steps, s.isolate.fraction) == (1e-6, 64, round(10 * 5015 / 64), 0.01)
    assert (s.roclip.lr, s.roclip.batch, s.roclip.epochs) == (1e-6, 128, 24)
    assert (s.cleanclip.lr, s.cleanclip.batch, s.cleanclip.epochs, s.clean.pairs) == (1e-5, 64, 10, 100_300)
    assert round(s.cleanclip.warmup * s.cleanclip.epochs * (s.clean.pairs // s.cleanclip.batch)) == 50
    assert (s.supervised.lr, s.supervised.epochs, s.badnet.side, s.badnet.pattern) == (1e-4, 10, 16 / 224, "noise")


def test_the_papers_steps_are_counted_for_the_size_of_d():
    s = CaseSettings.preset("paper", pairs=10_000)
    assert (s.data.pairs, s.attack.poisons(10_000), s.overfit.steps, s.published.steps, s.k) == (
        10_000,
        30,
        781,
        16,
        10,
    )
    assert CaseSettings.preset("demo", pairs=10_000) == CaseSettings()


def test_case_names_tell_cases_apart_and_ignore_order():
    cpu = compute("cpu", "fp32")
    assert tiny().name(cpu) == tiny().name(cpu) != tiny(select__k=5).name(cpu)
    assert tiny(attack__rate=0).name(cpu).startswith("clean-")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert derive_seed(0, "a") != derive_seed(0, "b") != derive_seed(1, "b")


class Inner(Settings):
    k: int = setting(3, "an old one", low=0)
    new: str = setting("", "a later one")


class Outer(Settings):
    seed: int = 0
    inner: Inner = Field(default_factory=Inner)


def test_only_what_differs_from_the_defaults_tells_settings_apart():
    assert Outer().changes() == {}
    assert Outer().to_dict() == {"seed": 0, "inner": {"k": 3, "new": ""}}
    changed = Outer().with_values({"inner.new": "x"})
    assert changed.changes() == {"inner": {"new": "x"}}
    assert Outer.from_dict(changed.changes()) == changed != Outer()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"k": "3"}, "expected a value of type int, got '3'"),
        ({"k": True}, "expected a value of type int, got True"),
        ({"k": 3.0}, "expected a value of type int, got 3.0"),
        ({"k": -1}, "expected a value at least 0 .an old one., got -1"),
        ({"new": 1}, "expected a value of type str, got 1"),
        ({"older": 1}, "unknown setting 'older'; expected one of: k, new"),
    ],
)
def test_settings_are_strict(values, says):
    with pytest.raises(BadInput, match=says):
        Inner(**values)


def test_settings_are_frozen_and_finite():
    with pytest.raises(ValidationError):
        Inner().k = 4
    for number in (float("inf"), float("-inf"), float("nan")):
        with pytest.raises(BadInput, match="expected"):
            CaseSettings().with_values({"verdict.displaced": number})


def test_a_group_given_as_a_value_is_refused():
    for values in ({"split": 1}, {"badnet": 1}, {"badnet": CaseSettings().sig}):
        with pytest.raises(BadInput, match="expected a group of settings"):
            CaseSettings(**values)


def test_json_is_read_back_strictly():
    settings = tiny(attack__also="sig target=cat rate=0.01")
    assert CaseSettings.from_json(json.dumps(settings.to_dict())) == settings
    with pytest.raises(BadInput, match="expected a value of type int"):
        CaseSettings.from_json('{"split": {"fraction": 0.1}, "poison": {"epochs": "3"}}')
    for damaged in ("", "[]", "{", "null"):
        with pytest.raises(BadInput, match="expected settings as a JSON object"):
            CaseSettings.from_json(damaged)


def test_a_setting_away_from_its_default_reaches_its_stage_and_those_after_it():
    before, after = (keys(settings, CPU, CASE, REFERENCE) for settings in (tiny(), tiny(select__confirmed="a b")))
    reached = {s.name for s in CASE if "score_inside" in {t.name for t in upto(s.name)}}
    assert {name for name in before if before[name] != after[name]} == reached
    assert {"select", "verdict", "unlearn"} <= reached
    assert "overfit" not in reached
    assert tiny().name(CPU) != tiny(select__confirmed="a b").name(CPU)
    assert tiny(select__confirmed="a b").name(CPU) != tiny(select__confirmed="a c").name(CPU)
