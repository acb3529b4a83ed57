"""The steps of a case. A stage is a function `stage(inputs..., settings, run) -> result`: no globals, seeded,
deterministic on one device and precision. It knows no folder; `ubt.pipeline` reads its inputs and writes its result.

Arrays that stages are handed, by the names of their arguments: `images`, `clean_images`, `test_images`, uint8 RGB (n, H, W, 3), perhaps an
`ubt.data.images.Images` that reads rows when they are asked for; `tokens`, `masked_tokens`, token ids (n, context); `prompts`, token ids (classes,
templates, context); `labels`, class indices (n,); `image_features`, `text_features`, `features`, `reference_images`, `reference_texts`, `restored`,
unit vectors (n, embedding); `maps`, `published_maps`, relevance in [0, 1] (n, rows, columns); `patches`, uint8 RGB (n, side, side, 3); `kept`, rows
of D (m,). Similarities are cosines in [-1, 1]; CA, ASR, RA and recall are in percent.

Stage modules import torch inside their functions: settings and finished results can then be read without it.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One step as data.

    Args:
        name: also its artefact's name. about: what it does, in a line. function: `module:function`.
        inputs: argument name to `stage.entry` of an earlier stage, or `reference.model`.
        settings: groups of the case's settings handed over; one group as itself, several, or `attacks`, as a dictionary.
        role: who acts. Only the attacker and the judge may read `attack.truth` or the test set.
        observed: in a lab case, CA and ASR are looked at while its model trains; kept as the artefact's entry `observed`.
        version: raised when the function's result changes, so that old artefacts are not taken for new ones.
    """

    name: str
    about: str
    function: str
    inputs: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    role: str = "defender"
    observed: bool = False
    version: int = 1

    def load(self) -> Callable[..., dict]:
        """Its function, imported when it is needed."""
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


D = {"images": "data.images", "tokens": "data.tokens"}


def score_stage(name: str, model: str, whose: str) -> Stage:
    """Score D under a model."""
    return Stage(name, f"similarity of every pair under {whose}", "ubt.stages.score:score", {"model": model, **D, "pairs": "data.pairs"})


_TEST = {k: f"test.{k}" for k in ("images", "labels", "prompts", "classes")}


def divergence_name(judged: str) -> str:
    """The stage that measures how far a model is from the oracle, by the stage that measures the model.

    >>> divergence_name("evaluate_purified")
    'kl_purified'
    """
    return f"kl_{judged.removeprefix('evaluate_')}"


def divergence_stage(judged: Stage) -> Stage:
    """How far the model that another stage measures is from the oracle."""
    about = f"KL divergence of the oracle from {_whose(judged)}"
    inputs = {"model": judged.inputs["model"], "retrained": "retrain.model", **_TEST}
    return Stage(divergence_name(judged.name), about, "ubt.stages.evaluate:divergence", inputs, (), "judge")


def evaluate_stage(name: str, model: str, whose: str) -> Stage:
    """Measure a model on the test set."""
    about = f"CA, ASR, RA and target recall of {whose}"
    return Stage(name, about, "ubt.stages.evaluate:evaluate", {"model": model, **_TEST}, ("attacks",), "judge", version=2)


def _whose(judged: Stage) -> str:
    return judged.about.partition(" of ")[2]


AFTERWARDS = Stage("later", "clean pairs that somebody trains on later, in no other role", "ubt.stages.again:later", {}, ("again",), "judge")
AGAIN = {
    "clean": ("clean pairs", {"images": f"{AFTERWARDS.name}.images", "tokens": f"{AFTERWARDS.name}.tokens"}),
    "left": ("D_normal, with the poisons the split left there", {**D, "split": "split.split"}),
}
"""What models are trained on again to see whether their backdoor returns: said, and as inputs."""


def again_name(kind: str, judged: str) -> str:
    """The stage that measures a model after training on again, by one of `AGAIN` and the stage that measures the model before.

    >>> again_name("left", "evaluate_purified")
    'evaluate_again_left_purified'
    """
    return f"evaluate_again_{kind}_{judged.removeprefix('evaluate_')}"


def again_stages(judged: Stage) -> tuple[Stage, ...]:
    """The model that another stage measures, trained on again in each way, and measured."""
    found: list[Stage] = []
    for kind, (on, pairs) in AGAIN.items():
        measured = again_name(kind, judged.name)
        name, whose = measured.removeprefix("evaluate_"), f"{_whose(judged)}, trained on again on {on}"
        inputs = {"model": judged.inputs["model"], **pairs}
        found.append(Stage(name, whose, "ubt.stages.again:again", inputs, ("again",), "judge", observed=True))
        found.append(evaluate_stage(measured, f"{name}.model", whose))
    return tuple(found)


ELSEWHERE = (
    Stage("downstream", "other labelled images than the test set's", "ubt.stages.downstream:labelled", {"model": "reference.model"}, ("downstream",), "judge"),
    Stage("captions", "images with several captions each, in no other role", "ubt.stages.downstream:captions", {"model": "reference.model"},
          ("downstream",), "judge"),
)  # fmt: skip
"""What models are measured on downstream: zero-shot on the first, retrieval on the second."""


def elsewhere_name(kind: str, judged: str) -> str:
    """The stage that measures a model downstream, by `zeroshot` or `retrieval` and the stage that measures it on the test set.

    >>> elsewhere_name("retrieval", "evaluate_purified")
    'retrieval_purified'
    """
    return f"{kind}_{judged.removeprefix('evaluate_')}"


def elsewhere_stages(judged: Stage) -> tuple[Stage, ...]:
    """What the model that another stage measures does downstream."""
    inputs = {
        "zeroshot": {k: f"{ELSEWHERE[0].name}.{k}" for k in ("images", "labels", "prompts", "classes")},
        "retrieval": {k: f"{ELSEWHERE[1].name}.{k}" for k in ("images", "captions", "tokens")},
    }
    about = {"zeroshot": "CA, ASR, RA and target recall, on other labelled images, of", "retrieval": "recall in retrieval, and ASR, of"}
    return tuple(
        Stage(elsewhere_name(kind, judged.name), f"{about[kind]} {_whose(judged)}", f"ubt.stages.downstream:{kind}",
              {"model": judged.inputs["model"], **of}, ("downstream", "attacks"), "judge")
        for kind, of in inputs.items()
    )  # fmt: skip


LAB: tuple[Stage, ...] = (
    Stage("attack", "which pairs are poisoned (the ground truth)", "ubt.stages.data:plan", {}, ("data", "attacks"), "attacker", version=2),
    Stage(
        "data", "D as a defender finds it: ids, captions, images", "ubt.stages.data:build", {"truth": "attack.truth"}, ("data", "attacks"),
        "attacker",
    ),
    score_stage("score", "reference.model", "the clean reference"),
    Stage(
        "poison", "M_bd: the reference fine-tuned on D (Eqs. 1, 2)", "ubt.stages.poison:poison", {"model": "reference.model", **D}, ("poison",), "attacker",
        observed=True, version=2,
    ),
    score_stage("score_poisoned", "poison.model", "M_bd"),
    Stage("test", "the labelled images that measure, and nothing else", "ubt.stages.data:test", {}, ("test",), "judge"),
    evaluate_stage("evaluate_clean", "reference.model", "the clean reference"),
    evaluate_stage("evaluate_poisoned", "poison.model", "M_bd"),
    Stage(
        "diagnose", "what the attack needed to take, and what it lacked if it did not",
        "ubt.stages.evaluate:diagnose", {"measures": "evaluate_poisoned.measures", "images": "test.images", "truth": "attack.truth"},
        ("data", "attacks", "poison"), "judge", version=3,
    ),
)  # fmt: skip
"""What every lab case begins with: choose the poisons, draw D, score it with the clean reference, train M_bd, score D with
it, measure it."""
