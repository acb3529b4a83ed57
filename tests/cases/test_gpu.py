"""Every stage on a GPU that is not there: a tensor that stays on the CPU is found without one."""

from collections.abc import Mapping
from typing import Any

import pretend
import pytest
import torch
import torch.nn.functional as F
from tiny import BRIEF, CPU, tiny

from ubt.cases.keys import stage_settings
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.clip import models
from ubt.core.files import REFERENCE
from ubt.core.run import Compute, Run
from ubt.core.stage import TRAINED, Stage

ONE_STEP = (
    {"poison__hold": 1.0}
    | {f"{of}__steps": 1 for of in "overfit unlearn published isolate abl control classify again tbar".split()}
    | {f"{of}__batch": 600 for of in ("poison", "roclip", "supervised", "cleanclip", "par")}
)
"""Of every training: no tensor has values, so that a second step shows nothing new."""


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_tensors_of_two_devices_do_not_mix(device):
    with pretend.gpu(device):
        here, there = torch.ones(2, 2), torch.ones(2, 2, device=device)
        assert (there @ there)[0].device.type == here.to(device).device.type == device
        assert there.cpu().numpy().shape == (2, 2)
        for mix in (lambda: here @ there, lambda: there + here, lambda: F.linear(there, here)):
            with pytest.raises(RuntimeError, match="device"):
                mix()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def test_every_stage_keeps_its_tensors_on_the_gpu(tiny_case):
    """Each function that takes a model, once, on what the stages before it gave; those that train or attribute also
    with their backward pass.
    """
    settings, made, seen = tiny(**BRIEF | ONE_STEP), dict(tiny_case.artefacts), dict[str, str]()
    stages = composed(settings.own).every
    for stage in stages:
        if stage.function in seen:
            made.setdefault(stage.name, made[seen[stage.function]])
        known = stage.name in made and not _takes_a_model(stage)
        if known or stage.function in seen or _sources(stage) - made.keys():
            continue
        if not _takes_a_model(stage):
            made[stage.name] = stage.load()(**_arguments(stage, settings, made), run=Run(compute=CPU))
            continue
        for device in ("meta", "cuda") if stage.gives == TRAINED or "maps" in stage.gives else ("cuda",):
            arguments = _arguments(stage, settings, made)
            with pretend.gpu(device) as autocasts:
                result = stage.load()(**arguments, run=Run(compute=Compute(device, "bf16")))
            assert (device, torch.bfloat16, True) in autocasts or stage.gives != TRAINED
        made[stage.name] = {n: pretend.real(v) if isinstance(v, torch.nn.Module) else v for n, v in result.items()}
        seen[stage.function] = stage.name
    assert seen.keys() == {stage.function for stage in stages if _takes_a_model(stage)}


def _arguments(stage: Stage, settings: CaseSettings, made: Mapping[str, Any]) -> dict[str, Any]:
    read = {argument: _read(source, made) for argument, source in stage.inputs.items()}
    return read | stage_settings(stage, settings)


def _takes_a_model(stage: Stage) -> bool:
    return any(source.endswith(".model") for source in stage.inputs.values())


def _sources(stage: Stage) -> set[str]:
    return {source.split(".")[0] for source in stage.inputs.values()} - {"reference"}


def _read(source: str, made: Mapping[str, Any]) -> Any:
    owner, entry = source.split(".")
    value = models.load(REFERENCE) if owner == "reference" else made[owner][entry]
    return pretend.real(value) if isinstance(value, torch.nn.Module) else value
