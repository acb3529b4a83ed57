"""Every stage there is: those of a case, and those that are run on it when they are asked for."""

from collections.abc import Sequence
from typing import Any

from ubt.clip.cost import DRAWN, classes, trained
from ubt.clip.score import score_stage
from ubt.core.stage import D, Stage
from ubt.data.scenes import CLASSES
from ubt.defenses import DEFENSES, token_unlearning
from ubt.defenses.base import Defense
from ubt.detectors import DETECTORS
from ubt.detectors.base import Detector
from ubt.evaluation.stages import divergence_stage, downstream_name, durability_name, evaluate_stage, model_title

AFTERWARDS = Stage(
    "later",
    "clean pairs that somebody trains on later, in no other role",
    "ubt.evaluation.durability:later",
    {},
    {"settings": "again"},
    "judge",
    gives=("pairs", "images", "tokens"),
)
AGAIN = {
    "clean": ("clean pairs", {"images": f"{AFTERWARDS.name}.images", "tokens": f"{AFTERWARDS.name}.tokens"}),
    "left": ("D_normal, with the poisons the split left there", {**D, "split": "split.split"}),
}
"""What models are trained on again to see whether their backdoor returns: said, and as inputs."""


def again_stages(judged: Stage) -> tuple[Stage, ...]:
    """The model that another stage measures, trained on again in each way, and measured."""
    found: list[Stage] = []
    for kind, (on, pairs) in AGAIN.items():
        measured = durability_name(kind, judged.name)
        name, whose = measured.removeprefix("evaluate_"), f"{model_title(judged)}, trained on again on {on}"
        inputs = {"model": judged.inputs["model"], **pairs}
        found.append(
            Stage(
                name,
                whose,
                "ubt.evaluation.durability:again",
                inputs,
                {"settings": "again"},
                "judge",
                observed=True,
                gives=("model", "history"),
                id="again",
                cost=lambda s: trained(s.again.steps, s.again.batch),
            )
        )
        found.append(evaluate_stage(measured, f"{name}.model", whose))
    return tuple(found)


def _images(settings: Any) -> int:
    """Images of the labelled set downstream, as many as scenes have where nothing says how many."""
    return (settings.downstream.per_class or settings.test.per_class) * len(CLASSES)


ELSEWHERE = (
    Stage(
        "downstream",
        "other labelled images than the test set's",
        "ubt.evaluation.transfer:labelled",
        {"model": "reference.model"},
        {"settings": "downstream"},
        "judge",
        cost=lambda s: DRAWN * _images(s),
        gives=("images", "labels", "prompts", "classes", "quarantine"),
    ),
    Stage(
        "captions",
        "images with several captions each, in no other role",
        "ubt.evaluation.transfer:captions",
        {"model": "reference.model"},
        {"settings": "downstream"},
        "judge",
        cost=lambda s: 6e-4 * (s.downstream.images or 1000),
        gives=("images", "captions", "tokens", "quarantine"),
    ),
)
"""What models are measured on downstream: zero-shot on the first, retrieval on the second."""


def elsewhere_stages(judged: Stage) -> tuple[Stage, ...]:
    """What the model that another stage measures does downstream."""
    inputs = {
        "zeroshot": {k: f"{ELSEWHERE[0].name}.{k}" for k in ("images", "labels", "prompts", "classes")},
        "retrieval": {k: f"{ELSEWHERE[1].name}.{k}" for k in ("images", "captions", "tokens")},
    }
    about = {
        "zeroshot": "CA, ASR, RA and target recall, on other labelled images, of",
        "retrieval": "recall in retrieval, and ASR, of",
    }
    gives = {"zeroshot": ("measures", "predictions"), "retrieval": ("measures",)}
    costs = {"zeroshot": lambda s: 1e-3 * _images(s), "retrieval": lambda s: 3e-3 * (s.downstream.images or 1000)}
    return tuple(
        Stage(
            downstream_name(kind, judged.name),
            f"{about[kind]} {model_title(judged)}",
            f"ubt.evaluation.transfer:{kind}",
            {"model": judged.inputs["model"], **of},
            {"downstream": "downstream", "attacks": "attacks"},
            "judge",
            gives=gives[kind],
            id=kind,
            cost=costs[kind],
        )
        for kind, of in inputs.items()
    )


LAB: tuple[Stage, ...] = (
    Stage(
        "attack",
        "which pairs are poisoned (the ground truth)",
        "ubt.attacks.lab_dataset:plan",
        {},
        {"data": "data", "attacks": "attacks"},
        "attacker",
        version=2,
        cost=lambda s: 5e-5 * s.data.pairs,
        gives=("truth", "manifest"),
    ),
    Stage(
        "data",
        "D as a defender finds it: ids, captions, images",
        "ubt.attacks.lab_dataset:build",
        {"truth": "attack.truth"},
        {"data": "data", "attacks": "attacks"},
        "attacker",
        cost=lambda s: 6e-4 * s.data.pairs,
        gives=("pairs", "images", "tokens"),
    ),
    score_stage("score", "reference.model", "the clean reference"),
    Stage(
        "poison",
        "M_bd: the reference fine-tuned on D (Eqs. 1, 2)",
        "ubt.attacks.train_backdoor:poison",
        {"model": "reference.model", **D},
        {"settings": "poison"},
        "attacker",
        observed=True,
        version=2,
        cost=lambda s: trained(s.poison.epochs, s.data.pairs),
        gives=("model", "history"),
    ),
    score_stage("score_poisoned", "poison.model", "M_bd"),
    Stage(
        "test",
        "the labelled images that measure, and nothing else",
        "ubt.data.roles:test",
        {},
        {"settings": "test"},
        "judge",
        cost=lambda s: DRAWN * s.test.per_class * classes(s),
        gives=("images", "labels", "prompts", "classes"),
    ),
    evaluate_stage("evaluate_clean", "reference.model", "the clean reference"),
    evaluate_stage("evaluate_poisoned", "poison.model", "M_bd"),
    Stage(
        "diagnose",
        "what the attack needed to take, and what it lacked if it did not",
        "ubt.evaluation.judge:diagnose",
        {"measures": "evaluate_poisoned.measures", "images": "test.images", "truth": "attack.truth"},
        {"data": "data", "attacks": "attacks", "poison": "poison"},
        "judge",
        version=3,
        gives=("checks", "findings"),
    ),
)
"""What every lab case begins with: choose the poisons, draw D, score it with the clean reference, train M_bd, score D
with it, measure it.
"""


CASE: tuple[Stage, ...] = LAB + token_unlearning.STAGES
"""The stages of a case."""


def every() -> tuple[Stage, ...]:
    """Every stage there is, each after what it needs: a case's own, and those of every defence and detector."""
    return _every(tuple(DEFENSES.items()), tuple(DETECTORS.items()))


def _every(defenses: Sequence[tuple[str, Defense]], detectors: Sequence[tuple[str, Detector]]) -> tuple[Stage, ...]:
    of_defenses = (stage for _, defense in defenses for stage in defense.stages)
    found = {s.name: s for s in (*CASE, *of_defenses, *(detector.stage(name) for name, detector in detectors))}
    judged = [s for s in found.values() if s.name.startswith("evaluate_")]
    apart = [divergence_stage(s) for s in judged if s.name not in ("evaluate_clean", "evaluate_retrain")]
    again = (more for s in judged for more in again_stages(s))
    return (
        *found.values(),
        *apart,
        AFTERWARDS,
        *again,
        *ELSEWHERE,
        *(there for s in judged for there in elsewhere_stages(s)),
    )
