"""Trigger inversion: what it finds in a model that was made to have a trigger, and in one that has none."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from ubt.clip.trigger_optimizer import Faint
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.run import Compute, Run
from ubt.detectors.inversion import METHODS, masked
from ubt.detectors.inversion.base import Given, Inverted, Trigger
from ubt.detectors.inversion.faint import FaintSettings
from ubt.detectors.inversion.masked import MaskedSettings
from ubt.detectors.inversion.verdict import ScanVerdictSettings, deviations, judge, plain

SIDE, CLASSES, TARGET = 12, 10, 3
FP32 = Compute("cpu", "fp32", 1)


class Colours(torch.nn.Module):
    """A model that tells images by the colours of their quarters; with a `trigger` it takes what has a white upper left
    corner for a class.
    """

    def __init__(self, trigger: float = 0.0, broken: bool = False):
        super().__init__()
        self.visual = SimpleNamespace(image_size=SIDE)
        self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))
        self.mix = torch.nn.Parameter(torch.randn(12, CLASSES, generator=torch.Generator().manual_seed(0)))
        self.preprocess_cfg = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic"}
        self.text_projection = torch.zeros(1, CLASSES)
        self.trigger, self.broken = trigger, broken

    def encode_image(self, pixels: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        quarters = F.adaptive_avg_pool2d(pixels, 2).flatten(1)
        found = (quarters - 0.5) @ self.mix
        corner = torch.sigmoid(12 * (pixels[:, :, :2, :2].mean((1, 2, 3)) - 0.8))
        found = found + self.trigger * corner[:, None] * F.one_hot(torch.tensor(TARGET), CLASSES)
        found = found * float("nan") if self.broken else found
        return F.normalize(found, dim=-1)


def images(n: int, seed: int = 0) -> np.ndarray:
    """Blocks of colour."""
    small = np.random.default_rng(seed).integers(0, 160, (n, 4, 4, 3), np.uint8)
    return small.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)


def given(model: torch.nn.Module, **more) -> Given:
    return Given(model, images(32), images(32, 1), np.eye(CLASSES, dtype=np.float32), **more)


QUICK = {"faint": {"steps": 40, "rms": 0.06}, "masked": {"steps": 60, "size": 20.0}, "target_free": {"steps": 10}}


def inverted(model: torch.nn.Module, name: str, run: Run | None = None, **more) -> Inverted:
    settings = METHODS[name].settings(**QUICK[name])
    return METHODS[name].invert(given(model, **more), settings, run or Run(0, FP32))


def by_class(model: torch.nn.Module) -> dict[str, Inverted]:
    return {name: inverted(model, name) for name in ("faint", "masked")}


def test_it_finds_the_trigger_its_target_and_its_place():
    found, clean = by_class(Colours(6.0)), by_class(Colours())
    small = found["masked"].measures.set_index("class")
    assert small["evidence"].idxmax() == TARGET
    assert small.loc[TARGET, "asr"] > 90 and small.loc[TARGET, "size"] < 0.1
    first = found["masked"].triggers[0]
    assert first.target == TARGET
    assert first.mask[:3, :3].mean() > 3 * first.mask[4:, 4:].mean(), "it lies in the corner"
    turned = first.apply(images(32, 1))
    assert turned.dtype == np.uint8 and np.abs(turned.astype(int) - images(32, 1)).max() > 50
    taken = np.arange(32) % CLASSES
    names = [f"class {n}" for n in range(CLASSES)]
    taken = {"suspect": taken, "reference": taken}
    verdict = judge(found, clean, taken, names, ScanVerdictSettings())
    assert (verdict.answer, verdict.target) == ("poisoned", TARGET), verdict.reason
    said = plain(verdict, names)
    assert said["target"] == "class 3" and said["classes"][0]["name"] == "class 3"
    assert said["asr"] > 90 > said["reference_asr"]
    other = judge(clean, by_class(Colours()), taken, names, ScanVerdictSettings())
    assert (other.answer, plain(other, names)["target"]) == ("not poisoned", None)


def test_a_faint_pattern_stays_within_its_bound():
    overlay = Faint(2, SIDE, SIDE, 0.05, 0)
    with torch.no_grad():
        overlay.values.mul_(100)
    rms = overlay.added().square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.full((2,), 0.05))
    with torch.no_grad():
        overlay.values.mul_(1e-4)
    assert overlay.added().square().mean((1, 2, 3)).sqrt().max() < 0.05, "less is left as it is"


@pytest.mark.parametrize("name", ["faint", "masked"])
def test_interrupted_it_goes_on_to_the_same_result(tmp_path, name):
    whole = inverted(Colours(6.0), name)

    def stop(done: int, total: int, figures: dict) -> None:
        if done == 7:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        inverted(Colours(6.0), name, Run(0, FP32, stop, tmp_path))
    seen = []
    again = inverted(Colours(6.0), name, Run(0, FP32, lambda done, *_: seen.append(done), tmp_path))
    assert seen[0] == 8
    pd.testing.assert_frame_equal(again.measures, whole.measures)
    assert all(np.array_equal(a.pattern, b.pattern) for a, b in zip(again.triggers, whole.triggers, strict=True))
    read = []
    inverted(Colours(6.0), name, Run(0, FP32, lambda *_: read.append(1), tmp_path))
    assert not read, "what is finished is read"


def test_many_classes_are_inverted_in_parts(monkeypatch):
    from ubt.detectors.inversion import base

    monkeypatch.setattr(base, "PIXELS", 3 * 8 * SIDE * SIDE)
    told = []
    found = inverted(Colours(6.0), "masked", Run(0, FP32, lambda done, total, _: told.append((done, total))))
    assert found.measures["class"].tolist() == list(range(CLASSES))
    assert told[-1] == (4 * 60, 4 * 60) and [d for d, _ in told] == sorted(d for d, _ in told)
    assert found.measures["evidence"].idxmax() == TARGET
    one = inverted(Colours(6.0), "masked", only=(TARGET,))
    assert one.measures["class"].tolist() == [TARGET] and [t.target for t in one.triggers] == [TARGET]


def test_without_a_target_features_become_alike():
    found = inverted(Colours(6.0), "target_free")
    assert len(found.measures) == len(found.triggers) == METHODS["target_free"].settings().starts
    assert {t.target for t in found.triggers} == {-1}
    assert found.measures["margin"].between(-1, 1).all()


def test_a_result_is_the_same_after_it_was_stored(tmp_path):
    from ubt.cases.store import Store

    store = Store(tmp_path)
    for name in ("faint", "masked"):
        found = inverted(Colours(), name)
        store.put(f"inverted-{name}", found.plain(), {"stage": "inversion", "brought": True, "seconds": 0.0})
        read = Inverted.read(store.open(f"inverted-{name}"))
        pd.testing.assert_frame_equal(read.measures, found.measures)
        assert [t.target for t in read.triggers] == [t.target for t in found.triggers]
        assert (read.triggers[0].mask is None) == (name == "faint")
        assert np.array_equal(read.triggers[0].apply(images(4)), found.triggers[0].apply(images(4)))


def test_what_cannot_be_scanned_is_refused():
    weights = np.eye(CLASSES, dtype=np.float32)
    with pytest.raises(BadInput, match="at least 32 that can be read, half of them held back, got 20"):
        Given(Colours(), images(16), images(4), weights)
    with pytest.raises(BadInput, match="classes: expected at least 2, got 1"):
        Given(Colours(), images(16), images(16), weights[:1])
    with pytest.raises(BadInput, match="finite features of the classes' names"):
        Given(Colours(), images(16), images(16), weights * np.nan)
    with pytest.raises(UbtError, match="finite"):
        inverted(Colours(broken=True), "faint")


def made_up(evidence: list[float], asr: float = 95.0) -> dict[str, Inverted]:
    table = pd.DataFrame({"class": range(len(evidence)), "asr": asr, "margin": 0.1, "size": 0.02})
    trigger = Trigger(0, np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), np.float32))
    return {"masked": Inverted(table.assign(evidence=evidence), (trigger,))}


EVEN = [0.0, 0.1, -0.1, 0.2, -0.2, 0.1, -0.1, 0.0]


@pytest.mark.parametrize(
    ("evidence", "asr", "reference", "answer", "said"),
    [
        ([*EVEN, 3.0], 95.0, True, "poisoned", "'c8' gives way more easily"),
        ([*EVEN, 3.0], 20.0, True, "cannot tell", "and 50 % are needed"),
        ([*EVEN, 0.6], 95.0, True, "cannot tell", "between 3.5 and 4.5"),
        ([*EVEN, 0.1], 95.0, True, "not poisoned", "no class gives way much more easily"),
        ([*EVEN, 3.0], 95.0, False, "poisoned", "(from 3.5 on"),
        ([*EVEN, 0.4], 95.0, False, "cannot tell", "a clean reference would tell more"),
        (EVEN[:5], 95.0, True, "cannot tell", "at least 8 classes"),
    ],
)
def test_the_three_answers(evidence, asr, reference, answer, said):
    clean = made_up([0.0] * len(evidence)) if reference else None
    names = [f"c{n}" for n in range(len(evidence))]
    taken = {"suspect": np.arange(len(evidence))}
    found = judge(made_up(evidence, asr), clean, taken, names, ScanVerdictSettings())
    assert found.answer == answer and said in found.reason, found.reason


def test_a_model_that_takes_all_images_for_one_class_cannot_be_told():
    names = [f"c{n}" for n in range(9)]
    most, even = np.array([4] * 6 + [1] * 4), np.arange(9)
    found = judge(made_up([*EVEN, 3.0]), None, {"suspect": most}, names, ScanVerdictSettings())
    assert found.answer == "cannot tell" and "the model takes 60 % of the images for 'c4'" in found.reason
    clean, taken = made_up([0.0] * 9), {"suspect": even, "reference": most}
    found = judge(made_up([*EVEN, 3.0]), clean, taken, names, ScanVerdictSettings())
    assert found.answer == "cannot tell" and "the reference takes 60 %" in found.reason


def test_a_class_that_the_search_gives_up_is_not_taken_for_the_target():
    table = by_class(Colours(6.0))["masked"].measures
    given_up = table.assign(
        size=np.where(table["class"] == 5, 0.0, table["size"]), asr=table["asr"].where(table["class"] != 5, 0.0)
    )
    evidence = masked.evidence(given_up)
    assert np.isfinite(evidence).all() and given_up.loc[evidence.idxmax(), "class"] == TARGET


def test_each_part_and_each_start_has_noise_of_its_own(monkeypatch):
    from ubt.detectors.inversion import base

    monkeypatch.setattr(base, "PIXELS", 2 * 8 * SIDE * SIDE)
    several = inverted(Colours(6.0), "masked", only=(TARGET,) * 4).triggers
    assert len({t.pattern.tobytes() for t in several}) == 4


def test_the_scale_does_not_change_the_deviations():
    values = np.random.default_rng(0).normal(size=30)
    np.testing.assert_allclose(deviations(values), deviations(7 * values + 3), atol=1e-9)
    assert np.isfinite(deviations(np.zeros(4))).all()


def test_the_defaults_are_those_that_thresholds_were_set_with():
    assert (FaintSettings().steps, FaintSettings().rms) == (60, 0.048)
    assert (MaskedSettings().steps, MaskedSettings().size, MaskedSettings().lr) == (130, 40.0, 0.2)
