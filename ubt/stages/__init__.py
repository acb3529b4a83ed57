"""The steps of a case. A stage is a function `stage(inputs..., settings, run) -> result`: no globals, seeded,
deterministic on one device and precision. It knows no folder; `ubt.pipeline` reads its inputs and writes its result.

Stage modules import torch inside their functions: settings and finished results can then be read without it.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One step as data.

    Args:
        name: also its artefact's name. function: `module:function`.
        inputs: argument name to `stage.entry` of an earlier stage, or `reference.model`.
        settings: groups of the case's settings handed over; one group as itself, several as a dictionary.
        role: who acts. Only the attacker and the judge may read `attack.truth` or the test set.
        version: raised when the function's result changes, so that old artefacts are not taken for new ones.
    """

    name: str
    function: str
    inputs: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    role: str = "defender"
    version: int = 1

    def load(self) -> Callable[..., dict]:
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


D = {"images": "data.images", "tokens": "data.tokens"}


def score_stage(name: str, model: str) -> Stage:
    """Score D under a model."""
    return Stage(name, "ubt.stages.score:score", {"model": model, **D, "pairs": "data.pairs"})


def evaluate_stage(name: str, model: str) -> Stage:
    """Measure a model on the test set."""
    test = {k: f"test.{k}" for k in ("images", "labels", "prompts", "classes")}
    return Stage(name, "ubt.stages.evaluate:evaluate", {"model": model, **test}, ("attack", "trigger"), "judge")


LAB: tuple[Stage, ...] = (
    Stage("attack", "ubt.stages.data:plan", {}, ("data", "attack"), "attacker"),
    Stage("data", "ubt.stages.data:build", {"truth": "attack.truth"}, ("data", "attack", "trigger"), "attacker"),
    score_stage("score", "reference.model"),
    Stage("poison", "ubt.stages.poison:poison", {"model": "reference.model", **D}, ("poison",), "attacker"),
    Stage("test", "ubt.stages.data:test", {}, ("test",), "judge"),
    evaluate_stage("evaluate_clean", "reference.model"),
    evaluate_stage("evaluate_poisoned", "poison.model"),
    Stage(
        "diagnose", "ubt.stages.evaluate:diagnose", {"measures": "evaluate_poisoned.measures", "images": "test.images"},
        ("data", "attack", "trigger", "poison"), "judge",
    ),
)  # fmt: skip
"""What every lab case begins with: choose the poisons, draw D, score it with the clean reference, train M_bd, measure it."""
