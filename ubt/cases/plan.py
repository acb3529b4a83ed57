"""Which stages a case is made of, by what an analyst brought to it: nothing (the embedded scenes), pairs to poison (a
lab case on own data), or pairs and a model (an audit, which has no truth).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from ubt.cases.catalog import CASE, every
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.clip.cost import DRAWN, classes, scored, trained
from ubt.clip.score import SCORES
from ubt.core.errors import UbtError
from ubt.core.stage import D, Stage
from ubt.data.user_roles import KINDS, OwnSettings
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS

IMPORTED = {f"own_{name}": name for name in KINDS}
"""Who owns what was brought, among the inputs of stages, to its setting."""
_PAIRS = {"pairs": "own_pairs.pairs", "about": "own_pairs.about"}
_LABELLED = {"images": "own_test.images", "classes": "own_test.classes", "about": "own_test.about"}


@dataclass(frozen=True)
class Composition:
    """The stages of a case, and every stage that can be run on it, each after what it needs."""

    case: tuple[Stage, ...]
    every: tuple[Stage, ...]

    def names(self) -> set[str]:
        """The names of the case's own stages."""
        return {s.name for s in self.case}


def _own(model: str, truth: bool) -> dict[str, Stage]:
    """The stages that bring pairs of one's own into a case, sized for a model."""
    sized = {"model": model}
    taken = {"pairs": "take.pairs", "about": "own_pairs.about", **sized}
    rest = {"rest": "take.rest", "about": "own_pairs.about", **sized}
    stages = [
        Stage(
            "take",
            "the pairs of D among those that were imported, each image decoded once",
            "ubt.data.user_roles:take",
            _PAIRS | sized,
            {"data": "data", "own": "own"},
            "given",
            gives=("pairs", "quarantine", "rest"),
            cost=lambda s: DRAWN * s.data.pairs,
        ),
        Stage(
            "data",
            "D as a defender finds it: ids, captions, images",
            "ubt.data.user_roles:as_found",
            taken,
            {"own": "own"},
            "given",
            gives=("pairs", "images", "tokens"),
            id="audit.data",
            cost=lambda s: 6e-4 * s.data.pairs,
        ),
        Stage(
            "test",
            "labelled images that measure, and nothing else",
            "ubt.data.user_roles:test",
            _LABELLED | sized,
            {"settings": "test", "own": "own"},
            "judge",
            gives=("images", "labels", "prompts", "classes", "quarantine"),
            id="own.test",
            cost=lambda s: DRAWN * s.test.per_class * classes(s),
        ),
    ]
    if truth:
        stages[1:2] = [
            Stage(
                "attack",
                "which pairs are poisoned (the ground truth)",
                "ubt.attacks.user_dataset:plan",
                {"pairs": "take.pairs", "classes": "own_test.classes", **sized},
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
                taken | {"truth": "attack.truth"},
                {"own": "own", "attacks": "attacks"},
                "attacker",
                gives=("pairs", "images", "tokens"),
                id="own.data",
                cost=lambda s: 6e-4 * s.data.pairs,
            ),
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
                _LABELLED | sized,
                {"settings": "clean", "test": "test", "own": "own"},
                gives=("images", "labels", "prompts", "classes", "quarantine"),
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
        ]
    return {s.name: s for s in stages}


_FOLDS = Stage(
    "score",
    "similarity of every pair under models trained here on other pairs, for want of a clean reference",
    "ubt.defenses.token_unlearning.cross_fit:score",
    {"model": "own_suspect.model", **D, "pairs": "data.pairs"},
    {"settings": "folds"},
    gives=(*SCORES, "history"),
    id="score.folds",
    cost=lambda s: scored(s) + trained(s.folds.epochs * (s.folds.folds - 1), s.data.pairs),
)
_SUSPECT = Stage(
    "poison",
    "the model to audit, as it was imported",
    "ubt.data.user_roles:suspect",
    {"model": "own_suspect.model"},
    role="given",
    gives=("model",),
    id="audit.model",
)


def _estimate(labelled: bool) -> Stage:
    test = (
        {k: f"test.{k}" for k in ("prompts", "classes")} | {"test_images": "test.images", "labels": "test.labels"}
        if labelled
        else {}
    )
    inputs = {
        "model": "poison.model",
        "purified": "unlearn.model",
        "published": "unlearn_published.model",
        **D,
        "split": "split.split",
        "topk": "select.topk",
        "flagged": "flag.flagged",
        **test,
    }
    return Stage(
        "estimate",
        "what can be said of the model before and after without the truth",
        "ubt.evaluation.estimates:estimate",
        inputs,
        role="judge",
        gives=("measures", "found"),
        cost=lambda s: 1e-3 * min(s.data.pairs, 2000),
    )


def possible(stages: Iterable[Stage], there: Iterable[str], absent: Iterable[str]) -> tuple[Stage, ...]:
    """Those of the stages that a case can have: all but those that need what is known to be absent.

    Args:
        there: what is imported or built in, by the name that inputs give its owner. absent: what this kind of case does
            not have, stages and imports.

    Raises:
        UbtError: a stage's input names neither an entry of a stage before it, nor what is there, nor what is known to
            be absent: a mistake in its declaration.
    """
    there, absent, found = set(there), set(absent), dict[str, Stage]()
    for stage in stages:
        for argument, source in stage.inputs.items():
            owner, entry = source.split(".")
            if owner in found and entry not in found[owner].entries:
                offered = ", ".join(found[owner].entries)
                raise UbtError(
                    f"stage {stage.name}: expected its input {argument} to be one of {offered} of {owner}, got {source}"
                )
        missing = stage.sources() - there - found.keys()
        if not missing:
            found[stage.name] = stage
        elif missing <= absent:
            absent.add(stage.name)
        else:
            known, got = ", ".join([*there, *found]), ", ".join(missing - absent)
            raise UbtError(f"stage {stage.name}: expected inputs from stages before it ({known}), got {got}")
    return tuple(found.values())


def composed(own: OwnSettings) -> Composition:
    """The stages of a case by what was imported for it."""
    return _composed(own, tuple(DEFENSES), tuple(DETECTORS))


@functools.lru_cache(maxsize=64)
def _composed(own: OwnSettings, defenses: tuple[str, ...], detectors: tuple[str, ...]) -> Composition:
    stages = every()
    if not own.pairs:
        return Composition(CASE, possible(stages, ["reference"], []))
    there = {owner for owner, name in IMPORTED.items() if getattr(own, name)}
    there |= {"reference"} if own.reference or not own.audits else set()
    absent = {*IMPORTED, "reference"} - there
    if own.audits:
        order = _audit(own)
        # nobody knows the truth of an audit, and its clean pairs and labelled images are not divided among roles
        absent |= {s.name for s in stages} - {s.name for s in order}
    else:
        imported = _own("reference.model", truth=True)
        first = [imported[name] for name in ("take", "attack", "data", "test")]
        order = first + [imported.get(s.name, s) for s in stages if s.name not in {f.name for f in first}]
    found = possible(order, there, absent)
    names = {s.name for s in CASE} | {"take", "estimate"} | ({"test"} if own.test else set())
    return Composition(tuple(s for s in found if s.name in names), found)


def _audit(own: OwnSettings) -> list[Stage]:
    """The stages of an audit: the pairs and the model as they were imported, then what a defender does."""
    imported = _own("own_suspect.model", truth=False) | {"poison": _SUSPECT}
    imported |= {} if own.reference else {"score": _FOLDS}
    defender = [s for s in every() if s.name not in {*imported, "clean", "labelled"} and s.role == "defender"]
    first = [imported["take"], imported["data"], imported["test"], imported["poison"]]
    return [*first, *([] if own.reference else [_FOLDS]), *defender, _estimate(bool(own.test))]


class Recorded:
    """What the record of a case says of it."""

    record: CaseRecord

    @functools.cached_property
    def settings(self) -> CaseSettings:
        """Its settings."""
        return CaseSettings.from_dict(self.record.settings)

    @property
    def audits(self) -> bool:
        """Whether its model was brought, so that there is no truth."""
        return self.settings.own.audits

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages it is made of."""
        return composed(self.settings.own).case
