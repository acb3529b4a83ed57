"""Every stage there is: those of a case, and those that are run on it when they are asked for."""

from ubt.clip.score import score_stage
from ubt.core.stage import D, Stage
from ubt.defenses import DEFENSES, token_unlearning
from ubt.detectors import DETECTORS
from ubt.evaluation.stages import divergence_stage, downstream_name, durability_name, evaluate_stage, model_title

AFTERWARDS = Stage(
    "later",
    "clean pairs that somebody trains on later, in no other role",
    "ubt.evaluation.durability:later",
    {},
    ("again",),
    "judge",
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
        found.append(Stage(name, whose, "ubt.evaluation.durability:again", inputs, ("again",), "judge", observed=True))
        found.append(evaluate_stage(measured, f"{name}.model", whose))
    return tuple(found)


ELSEWHERE = (
    Stage(
        "downstream",
        "other labelled images than the test set's",
        "ubt.evaluation.transfer:labelled",
        {"model": "reference.model"},
        ("downstream",),
        "judge",
    ),
    Stage(
        "captions",
        "images with several captions each, in no other role",
        "ubt.evaluation.transfer:captions",
        {"model": "reference.model"},
        ("downstream",),
        "judge",
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
    return tuple(
        Stage(
            downstream_name(kind, judged.name),
            f"{about[kind]} {model_title(judged)}",
            f"ubt.evaluation.transfer:{kind}",
            {"model": judged.inputs["model"], **of},
            ("downstream", "attacks"),
            "judge",
        )
        for kind, of in inputs.items()
    )


LAB: tuple[Stage, ...] = (
    Stage(
        "attack",
        "which pairs are poisoned (the ground truth)",
        "ubt.attacks.lab_dataset:plan",
        {},
        ("data", "attacks"),
        "attacker",
        version=2,
    ),
    Stage(
        "data",
        "D as a defender finds it: ids, captions, images",
        "ubt.attacks.lab_dataset:build",
        {"truth": "attack.truth"},
        ("data", "attacks"),
        "attacker",
    ),
    score_stage("score", "reference.model", "the clean reference"),
    Stage(
        "poison",
        "M_bd: the reference fine-tuned on D (Eqs. 1, 2)",
        "ubt.attacks.train_backdoor:poison",
        {"model": "reference.model", **D},
        ("poison",),
        "attacker",
        observed=True,
        version=2,
    ),
    score_stage("score_poisoned", "poison.model", "M_bd"),
    Stage("test", "the labelled images that measure, and nothing else", "ubt.data.roles:test", {}, ("test",), "judge"),
    evaluate_stage("evaluate_clean", "reference.model", "the clean reference"),
    evaluate_stage("evaluate_poisoned", "poison.model", "M_bd"),
    Stage(
        "diagnose",
        "what the attack needed to take, and what it lacked if it did not",
        "ubt.evaluation.judge:diagnose",
        {"measures": "evaluate_poisoned.measures", "images": "test.images", "truth": "attack.truth"},
        ("data", "attacks", "poison"),
        "judge",
        version=3,
    ),
)
"""What every lab case begins with: choose the poisons, draw D, score it with the clean reference, train M_bd, score D
with it, measure it.
"""


CASE: tuple[Stage, ...] = LAB + token_unlearning.STAGES
"""The stages of a case."""


def _every() -> tuple[Stage, ...]:
    found = {s.name: s for s in (*CASE, *(s for d in DEFENSES.values() for s in d.stages), *DETECTORS.values())}
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


EVERY: tuple[Stage, ...] = _every()
"""Every stage there is, each after what it needs."""
