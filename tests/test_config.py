import pytest
from tiny import tiny

from ubt.cases import CaseSettings
from ubt.config import PRESETS, BadInput, compute, derive_seed, digest


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
        ("badnet.pattern", "stripes", "checkerboard, noise"),
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
    assert (s.poison.lr, s.poison.epochs, s.poison.batch, s.split.fraction) == (1e-6, 3, 128, 0.01)
    assert (s.overfit.lr, s.overfit.batch, s.published.lr, s.published.batch) == (1e-6, 64, 1e-5, 64)
    assert s.published.retention == s.published.hold == s.published.every == 0


def test_case_names_tell_cases_apart_and_ignore_order():
    cpu = compute("cpu", "fp32")
    assert tiny().name(cpu) == tiny().name(cpu) != tiny(select__k=5).name(cpu)
    assert tiny(attack__rate=0).name(cpu).startswith("clean-")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert derive_seed(0, "a") != derive_seed(0, "b") != derive_seed(1, "b")
