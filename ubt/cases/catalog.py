"""Every stage there is: those of a case, and those that are run on it when they are asked for."""

from collections.abc import Callable, Sequence
from typing import Any

from ubt.clip.cost import DRAWN, classes, trained
from ubt.clip.score import score_stage
from ubt.core.stage import TRAINED, D, Stage, takes
from ubt.data.scenes import CLASSES
from ubt.defenses import DEFENSES, token_unlearning
from ubt.defenses.base import Defense
from ubt.detectors import DETECTORS
from ubt.detectors.base import Detector
from ubt.evaluation.stages import (
    divergence_stage,
    downstream_name,
    durability_name,
    evaluate_stage,
    model_title,
    trained_stages,
)

_AGAIN = {"settings": "again"}
AFTERWARDS = Stage(
    "later",
    "clean pairs that somebody trains on later, in no other role",
    "ubt.evaluation.durability:later",
    settings=_AGAIN,
    role="judge",
    gives=("pairs", "images", "tokens"),
)
AGAIN = {
    "clean": ("clean pairs", takes("later.images", "later.tokens")),
    "left": ("D_normal, with the poisons the split left there", takes("split.split", **D)),
}
"""What models are trained on again to see whether their backdoor returns: said, and as inputs."""


def again_stages(judged: Stage) -> tuple[Stage, ...]:
    """The model that another stage measures, trained on again in each way, and measured."""
    found: list[Stage] = []
    for kind, (on, pairs) in AGAIN.items():
        measured = durability_name(kind, judged.name)
        name, whose = measured.removeprefix("evaluate_"), f"{model_title(judged)}, trained on again on {on}"
        inputs, function = takes(judged.inputs["model"], **pairs), "ubt.evaluation.durability:again"
        found += trained_stages(name, whose, whose, function, inputs, _AGAIN, _training_again, "judge", id="again")
    return tuple(found)


def _training_again(settings: Any) -> float:
    return trained(settings.again.steps, settings.again.batch)


def _images(settings: Any) -> int:
    """Images of the labelled set downstream, as many as scenes have where nothing says how many."""
    return (settings.downstream.per_class or settings.test.per_class) * len(CLASSES)


_ELSEWHERE = (takes("reference.model"), {"settings": "downstream"}, "judge")
ELSEWHERE = (
    Stage(
        "downstream",
        "other labelled images than the test set's",
        "ubt.evaluation.transfer:labelled",
        *_ELSEWHERE,
        cost=lambda s: DRAWN * _images(s),
        gives=("images", "labels", "prompts", "classes", "quarantine"),
        version=2,
    ),
    Stage(
        "captions",
        "images with several captions each, in no other role",
        "ubt.evaluation.transfer:captions",
        *_ELSEWHERE,
        cost=lambda s: 6e-4 * (s.downstream.images or 1000),
        gives=("images", "captions", "tokens", "quarantine"),
        version=2,
    ),
)
"""What models are measured on downstream: zero-shot on the first, retrieval on the second."""


def elsewhere_stages(judged: Stage) -> tuple[Stage, ...]:
    """What the model that another stage measures does downstream."""

    def measures(kind: str, about: str, of: dict[str, str], cost: Callable[[Any], float], *gives: str) -> Stage:
        inputs = takes(judged.inputs["model"], **of)
        return Stage(
            downstream_name(kind, judged.name),
            f"{about} {model_title(judged)}",
            f"ubt.evaluation.transfer:{kind}",
            inputs,
            {"downstream": "downstream", "attacks": "attacks"},
            "judge",
            version=2,
            gives=("measures", *gives),
            id=kind,
            cost=cost,
        )

    labelled = takes(*(f"downstream.{entry}" for entry in ("images", "labels", "prompts", "classes")))
    captions = takes("captions.images", "captions.captions", "captions.tokens")
    about = "CA, ASR, RA and target recall, on other labelled images, of"
    return (
        measures("zeroshot", about, labelled, lambda s: 1e-3 * _images(s), "predictions"),
        measures(
            "retrieval", "recall in retrieval, and ASR, of", captions, lambda s: 3e-3 * (s.downstream.images or 1000)
        ),
    )


def _attacked(settings: Any) -> float:
    """Seconds that making M_bd takes: training on D, or what an attack on the model does, which reads two images for
    each of its batch.
    """
    if attacks := settings.model_attacks:
        first = attacks[0].trigger
        return trained(first.steps, 2 * first.batch)
    return (1.3 if settings.poison.hold else 1) * trained(settings.poison.epochs, settings.data.pairs)


LAB: tuple[Stage, ...] = (
    Stage("attack", "which pairs are poisoned (the ground truth)", "ubt.attacks.lab_dataset:plan", {},
          {"data": "data", "attacks": "attacks"}, "attacker", version=2, gives=("truth", "manifest"),
          cost=lambda s: 5e-5 * s.data.pairs),
    Stage("data", "D as a defender finds it: ids, captions, images", "ubt.attacks.lab_dataset:build",
          takes("attack.truth"), {"data": "data", "attacks": "attacks"}, "attacker",
          gives=("pairs", "images", "tokens"), cost=lambda s: 6e-4 * s.data.pairs),
    score_stage("score", "reference.model", "the clean reference"),
    Stage("poison", "M_bd: the reference fine-tuned on D (Eqs. 1, 2)", "ubt.attacks.train_backdoor:poison",
          takes("reference.model", **D), {"settings": "poison", "attacks": "model_attacks"}, "attacker",
          observed=True, version=3, gives=TRAINED,
          cost=_attacked),
    score_stage("score_poisoned", "poison.model", "M_bd"),
    Stage("test", "the labelled images that measure, and nothing else", "ubt.data.roles:test", {},
          {"settings": "test"}, "judge", gives=("images", "labels", "prompts", "classes"),
          cost=lambda s: DRAWN * s.test.per_class * classes(s)),
    evaluate_stage("evaluate_clean", "reference.model", "the clean reference"),
    evaluate_stage("evaluate_poisoned", "poison.model", "M_bd"),
    Stage("diagnose", "what the attack needed to take, and what it lacked if it did not",
          "ubt.evaluation.judge:diagnose", takes("evaluate_poisoned.measures", "test.images", "attack.truth"),
          {"data": "data", "attacks": "attacks", "poison": "poison"}, "judge", version=3,
          gives=("checks", "findings")),
)  # fmt: skip
"""What every lab case begins with: choose the poisons, draw D, score it with the clean reference, train M_bd, score D
with it, measure it.
"""


NATURAL = evaluate_stage("natural_other", "own_other.model", "a clean model of other training")
"""What a clean model of other training makes of the trigger: a natural ASR beside the reference's and the oracle's."""


def _verdict_first(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Stages in the order in which their answers are waited for: what leads to the verdict, what else is done to D and
    the models, and the judge's.
    """
    leads = {"verdict"}
    for stage in reversed(stages):
        leads |= stage.sources() if stage.name in leads else set()
    return tuple(sorted(stages, key=lambda s: 0 if s.name in leads else 1 if s.role != "judge" else 2))


CASE: tuple[Stage, ...] = _verdict_first(LAB + token_unlearning.STAGES)
"""The stages of a case."""


def every() -> tuple[Stage, ...]:
    """Every stage there is, each after what it needs: a case's own, and those of every defence and detector."""
    return _every(tuple(DEFENSES.items()), tuple(DETECTORS.items()))


def _every(defenses: Sequence[tuple[str, Defense]], detectors: Sequence[tuple[str, Detector]]) -> tuple[Stage, ...]:
    of_defenses = (stage for _, defense in defenses for stage in defense.stages)
    scored = (detector.stage(name) for name, detector in detectors)
    found = {s.name: s for s in (*CASE, NATURAL, *of_defenses, *scored)}
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
