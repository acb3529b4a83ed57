"""The stages that measure a model: on the test set, against the oracle, after further training, on other data."""

from collections.abc import Callable, Mapping
from typing import Any

from ubt.clip.cost import measured
from ubt.core.stage import TRAINED, Stage, takes

_TEST = takes("test.images", "test.labels", "test.prompts", "test.classes")


def trained_stages(
    name: str,
    whose: str,
    about: str,
    function: str,
    inputs: Mapping[str, str],
    settings: Mapping[str, str],
    cost: Callable[[Any], float],
    role: str = "defender",
    id: str = "",
) -> tuple[Stage, Stage]:
    """A stage that trains a model while a lab case looks on, and the one that measures the model; `whose`: what the
    model is called, the others as of a stage.
    """
    training = Stage(
        name, about, function, inputs, settings, role, observed=True, version=2, gives=TRAINED, id=id, cost=cost
    )
    return training, evaluate_stage(f"evaluate_{name}", f"{name}.model", whose)


def divergence_name(judged: str) -> str:
    """The stage that measures how far a model is from the oracle, by the stage that measures the model.

    >>> divergence_name("evaluate_purified")
    'kl_purified'
    """
    return f"kl_{judged.removeprefix('evaluate_')}"


def divergence_stage(judged: Stage) -> Stage:
    """How far the model that another stage measures is from the oracle."""
    about = f"KL divergence of the oracle from {model_title(judged)}"
    inputs = {"model": judged.inputs["model"], "retrained": "retrain.model", **_TEST}
    return Stage(
        divergence_name(judged.name),
        about,
        "ubt.evaluation.judge:divergence",
        inputs,
        role="judge",
        version=2,
        gives=("measures",),
        id="divergence",
        cost=measured,
    )


def evaluate_stage(name: str, model: str, whose: str) -> Stage:
    """Measure a model on the test set."""
    about = f"CA, ASR, RA and target recall of {whose}"
    return Stage(
        name,
        about,
        "ubt.evaluation.judge:evaluate",
        {"model": model, **_TEST},
        {"attacks": "attacks"},
        "judge",
        version=3,
        gives=("measures", "predictions"),
        id="evaluate",
        cost=measured,
    )


def along_stage(name: str, tuned: str, alphas: str, cost: Callable[[Any], float]) -> Stage:
    """Measure M_bd minus each of several shares of what another model has beyond it."""
    inputs = takes("poison.model", tuned=tuned, alphas=alphas, **_TEST)
    about = "CA, ASR, RA and target recall of M_bd minus the task vector, by alpha"
    function = "ubt.evaluation.judge:along"
    return Stage(
        name, about, function, inputs, {"attacks": "attacks"}, "judge", gives=("along",), id="along", cost=cost
    )


def model_title(judged: Stage) -> str:
    """What the model is called that a stage of `evaluate_stage` measures.

    >>> model_title(evaluate_stage("evaluate_poisoned", "poison.model", "M_bd"))
    'M_bd'
    """
    return judged.about.partition(" of ")[2]


def durability_name(kind: str, judged: str) -> str:
    """The stage that measures a model after further training, by what it trains on (`ubt.cases.catalog.AGAIN`) and the
    stage that measures the model before.

    >>> durability_name("left", "evaluate_purified")
    'evaluate_again_left_purified'
    """
    return f"evaluate_again_{kind}_{judged.removeprefix('evaluate_')}"


def downstream_name(kind: str, judged: str) -> str:
    """The stage that measures a model downstream, by `zeroshot` or `retrieval` and the stage that measures it on the
    test set.

    >>> downstream_name("retrieval", "evaluate_purified")
    'retrieval_purified'
    """
    return f"{kind}_{judged.removeprefix('evaluate_')}"
