"""The stages of a case on imported pairs: which of them it takes, D with or without planted poisons, labelled images,
and in an audit the imported model and what can be said without the truth.
"""

from dataclasses import replace

from ubt.clip.cost import DRAWN, classes, scored, trained
from ubt.clip.score import SCORES
from ubt.core.stage import TRAINED, D, Stage
from ubt.evaluation.model_roles import ROLES

_LABELLED = {"images": "own_test.images", "classes": "own_test.classes", "about": "own_test.about"}
_TEST = ("images", "labels", "prompts", "classes", "quarantine")
POISONED, SUSPECT = ROLES["poisoned"].stage(audit=False), ROLES["poisoned"].stage(audit=True)
"""The stage that gives M_bd: in a lab case it trains it, in an audit it takes the imported model."""


def take(model: str) -> Stage:
    """The pairs of D, with images of a model's size; `model`: the input that gives it."""
    return Stage(
        "take",
        "the pairs of D among those that were imported, each image decoded once",
        "ubt.data.user_roles:take",
        {"pairs": "own_pairs.pairs", "about": "own_pairs.about", "model": model},
        {"data": "data", "own": "own"},
        "import",
        gives=("pairs", "quarantine", "rest"),
        version=2,
        cost=lambda s: DRAWN * s.data.pairs,
    )


def test(model: str) -> Stage:
    """The judge's labelled images."""
    return Stage(
        "test",
        "labelled images that measure, and nothing else",
        "ubt.data.user_roles:test",
        _LABELLED | {"model": model},
        {"settings": "test", "own": "own"},
        "judge",
        gives=_TEST,
        version=2,
        id="own.test",
        cost=lambda s: DRAWN * s.test.per_class * classes(s),
    )


def _taken(model: str) -> dict[str, str]:
    return {"pairs": "take.pairs", "about": "own_pairs.about", "model": model}


def attacker(model: str) -> tuple[Stage, Stage]:
    """Of a lab case: which pairs are poisoned, and D with the poisons planted."""
    return (
        Stage(
            "attack",
            "which pairs are poisoned (the ground truth)",
            "ubt.attacks.user_dataset:plan",
            {"pairs": "take.pairs", "classes": "own_test.classes", "model": model},
            {"attacks": "attacks"},
            "attacker",
            gives=("truth", "manifest"),
            id="own.attack",
            cost=lambda s: 5e-5 * s.data.pairs,
        ),
        Stage(
            "data",
            "D as a defender finds it: ids, captions, images",
            "ubt.attacks.user_dataset:build",
            _taken(model) | {"truth": "attack.truth"},
            {"own": "own", "attacks": "attacks"},
            "attacker",
            gives=("pairs", "images", "tokens"),
            id="own.data",
            cost=lambda s: 6e-4 * s.data.pairs,
        ),
    )


def clean_sets(model: str) -> tuple[Stage, Stage, Stage]:
    """Of a lab case: pairs and labelled images in no other role, for defences that need some and for training later."""
    rest = {"rest": "take.rest", "about": "own_pairs.about", "model": model}
    return (
        Stage(
            "clean",
            "clean pairs of the defender's own, beyond D",
            "ubt.data.user_roles:clean",
            rest,
            {"settings": "clean", "own": "own"},
            gives=("pairs", "images"),
            id="own.clean",
            cost=lambda s: DRAWN * s.clean.pairs,
        ),
        Stage(
            "labelled",
            "labelled images of the defender's own",
            "ubt.data.user_roles:labelled_clean",
            _LABELLED | {"model": model},
            {"settings": "clean", "test": "test", "own": "own"},
            gives=_TEST,
            version=2,
            id="own.labelled",
            cost=lambda s: DRAWN * s.clean.per_class * classes(s),
        ),
        Stage(
            "later",
            "clean pairs that somebody trains on later, in no other role",
            "ubt.evaluation.durability:later_imported",
            rest,
            {"settings": "again", "clean": "clean", "own": "own"},
            "judge",
            gives=("pairs", "images", "tokens"),
            id="own.later",
            cost=lambda s: DRAWN * s.again.pairs,
        ),
    )


ACCURACY = Stage(
    "reference_accuracy",
    "how well the reference names labelled images beyond those of the test set",
    "ubt.defenses.token_unlearning.health:accuracy",
    _LABELLED | {"model": "reference.model"},
    {"test": "test", "settings": "clean", "own": "own"},
    gives=("accuracy",),
    version=2,
    cost=lambda s: DRAWN * s.clean.per_class * classes(s),
)


def as_found(model: str) -> Stage:
    """Of an audit: D as it was imported."""
    return Stage(
        "data",
        "D as a defender finds it: ids, captions, images",
        "ubt.data.user_roles:as_found",
        _taken(model),
        {"own": "own"},
        "import",
        gives=("pairs", "images", "tokens"),
        id="audit.data",
        cost=lambda s: 6e-4 * s.data.pairs,
    )


FOLDS = Stage(
    "score",
    "similarity of every pair under models trained here on other pairs, for want of a clean reference",
    "ubt.defenses.token_unlearning.cross_fit:score",
    {"model": "own_suspect.model", **D, "pairs": "data.pairs"},
    {"settings": "folds"},
    gives=(*SCORES, "history"),
    version=2,
    id="score.folds",
    cost=lambda s: scored(s) + trained(s.folds.epochs * (s.folds.folds - 1), s.data.pairs),
)
HELD_OUT = Stage(
    "held_out",
    "which of these models was not trained on each pair",
    "ubt.defenses.token_unlearning.cross_fit:held_out",
    {"pairs": "data.pairs"},
    {"settings": "folds"},
    gives=("fold",),
)
TAKE_SUSPECT = Stage(
    SUSPECT,
    "the model to audit, as it was imported",
    "ubt.data.user_roles:suspect",
    {"model": "own_suspect.model"},
    role="import",
    gives=("model",),
)


def of_suspect(stage: Stage) -> Stage:
    """A stage of a lab case that takes M_bd, taking the imported model in its place."""
    taken = {POISONED: SUSPECT}
    owners = {argument: source.split(".") for argument, source in stage.inputs.items()}
    return replace(stage, inputs={a: f"{taken.get(owner, owner)}.{entry}" for a, (owner, entry) in owners.items()})


def by_lineage(stage: Stage, reference: bool, start: bool) -> Stage:
    """A stage of a lab case whose defender has another reference than the model that is poisoned (`reference`, on
    scenes), or whose M_bd, and what is trained in its place, does not start from the reference (`start`).
    """
    if reference and stage.name == "score":
        return replace(stage, inputs=stage.inputs | {"model": "own_reference.model"})
    if start and set(TRAINED) <= set(stage.gives) and stage.inputs.get("model") == "reference.model":
        return replace(stage, inputs=stage.inputs | {"model": "own_start.model"})
    return stage


def estimate(labelled: bool) -> Stage:
    """Of an audit: what can be said without the truth; `labelled`: there are labelled images."""
    inputs = {
        "model": f"{SUSPECT}.model",
        "purified": "unlearn.model",
        "published": "unlearn_published.model",
        **D,
        "split": "split.split",
        "topk": "select.topk",
        "flagged": "flag.flagged",
    }
    if labelled:
        inputs |= {"prompts": "test.prompts", "classes": "test.classes"}
        inputs |= {"test_images": "test.images", "labels": "test.labels"}
    return Stage(
        "estimate",
        "what can be said of the model before and after without the truth",
        "ubt.evaluation.estimates:estimate",
        inputs,
        role="judge",
        gives=("measures", "found"),
        cost=lambda s: 1e-3 * min(s.data.pairs, 2000),
    )
