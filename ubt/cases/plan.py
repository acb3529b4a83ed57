"""Which stages a case is made of, by what an analyst brought to it: nothing (the embedded scenes), pairs to poison (a
lab case on own data), or pairs and a model (an audit, which has no truth).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ubt.cases.catalog import CASE, EVERY
from ubt.cases.settings import CaseSettings
from ubt.core.stage import D, Stage
from ubt.data.user_roles import KINDS, OwnSettings

GIVEN = {f"own_{name}": name for name in KINDS}
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
            "the pairs of D among those that were brought, each image decoded once",
            "ubt.data.user_roles:take",
            _PAIRS | sized,
            ("data", "own"),
            "given",
        ),
        Stage(
            "data",
            "D as a defender finds it: ids, captions, images",
            "ubt.data.user_roles:as_found",
            taken,
            ("data", "own"),
            "given",
        ),
        Stage(
            "test",
            "labelled images that measure, and nothing else",
            "ubt.data.user_roles:test",
            _LABELLED | sized,
            ("test", "own"),
            "judge",
        ),
    ]
    if truth:
        stages[1:2] = [
            Stage(
                "attack",
                "which pairs are poisoned (the ground truth)",
                "ubt.attacks.user_dataset:plan",
                {"pairs": "take.pairs", "classes": "own_test.classes", **sized},
                ("attacks",),
                "attacker",
            ),
            Stage(
                "data",
                "D as a defender finds it: ids, captions, images",
                "ubt.attacks.user_dataset:build",
                taken | {"truth": "attack.truth"},
                ("own", "attacks"),
                "attacker",
            ),
            Stage(
                "clean",
                "clean pairs of the defender's own, beyond D",
                "ubt.data.user_roles:clean",
                rest,
                ("clean", "own"),
            ),
            Stage(
                "labelled",
                "labelled images of the defender's own",
                "ubt.data.user_roles:labelled_clean",
                _LABELLED | sized,
                ("test", "clean", "own"),
            ),
            Stage(
                "later",
                "clean pairs that somebody trains on later, in no other role",
                "ubt.data.user_roles:later",
                rest,
                ("clean", "again", "own"),
                "judge",
            ),
        ]
    return {s.name: s for s in stages}


_FOLDS = Stage(
    "score",
    "similarity of every pair under models trained here on other pairs, for want of a clean reference",
    "ubt.defenses.token_unlearning.cross_fit:score",
    {"model": "own_suspect.model", **D, "pairs": "data.pairs"},
    ("folds",),
)
_BROUGHT = Stage(
    "poison",
    "the model to audit, as it was brought",
    "ubt.data.user_roles:brought",
    {"model": "own_suspect.model"},
    (),
    "given",
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
        (),
        "judge",
    )


def _possible(stages: Iterable[Stage], given: set[str]) -> tuple[Stage, ...]:
    """Those whose inputs are there: given, or made by one of them before."""
    there, found = set(given), []
    for stage in stages:
        if all(source.split(".")[0] in there for source in stage.inputs.values()):
            found.append(stage)
            there.add(stage.name)
    return tuple(found)


@functools.lru_cache(maxsize=64)
def composed(own: OwnSettings) -> Composition:
    """The composition of a case by what was brought to it."""
    if not own.pairs:
        return Composition(CASE, EVERY)
    given = {
        *(("reference",) if own.reference or not own.audits else ()),
        *(owner for owner, name in GIVEN.items() if getattr(own, name)),
    }
    if own.audits:
        replaced = _own("own_suspect.model", truth=False) | {"poison": _BROUGHT}
        replaced |= {} if own.reference else {"score": _FOLDS}
        others = [
            s for s in EVERY if s.name not in replaced and s.role == "defender" and s.name not in ("clean", "labelled")
        ]
        order = [
            replaced["take"],
            replaced["data"],
            replaced["test"],
            replaced["poison"],
            *([] if own.reference else [_FOLDS]),
            *others,
            _estimate(bool(own.test)),
        ]
    else:
        replaced = _own("reference.model", truth=True)
        first = [replaced[name] for name in ("take", "attack", "data", "test")]
        order = first + [replaced.get(s.name, s) for s in EVERY if s.name not in {f.name for f in first}]
    every = _possible(order, given)
    names = {s.name for s in CASE} | {"take", "estimate"} | ({"test"} if own.test else set())
    return Composition(tuple(s for s in every if s.name in names), every)


class Recorded:
    """What the record of a case says of it."""

    record: dict[str, Any]

    @functools.cached_property
    def settings(self) -> CaseSettings:
        """Its settings."""
        return CaseSettings.from_dict(self.record["settings"])

    @property
    def audits(self) -> bool:
        """Whether its model was brought, so that there is no truth."""
        return self.settings.own.audits

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages it is made of."""
        return composed(self.settings.own).case
