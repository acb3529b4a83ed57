"""Which stages a case is made of, by what an analyst imported for it: nothing (the embedded scenes), pairs to poison (a
lab case on own data), or pairs and a model (an audit, which has no truth).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ubt.cases import imported
from ubt.cases.catalog import CASE, every
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.core.errors import UbtError
from ubt.core.stage import Stage
from ubt.data.user_roles import KINDS, OwnSettings
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS

IMPORTED = {f"own_{name}": name for name in KINDS}
"""The owners that inputs of stages name for what was imported (`own_pairs.images`), each to the setting of `own` that
says which it is.
"""


@dataclass(frozen=True)
class Composition:
    """The stages of a case, and every stage that can be run on it, each after what it needs."""

    case: tuple[Stage, ...]
    every: tuple[Stage, ...]

    def names(self) -> set[str]:
        """The names of the case's own stages."""
        return {s.name for s in self.case}


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
        if more := {a: source for a, source in stage.optional.items() if source.split(".")[0] in found}:
            stage = replace(stage, inputs={**stage.inputs, **more})
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
        there = {owner for owner, name in IMPORTED.items() if getattr(own, name)}
        ours = (imported.by_lineage(stage, bool(own.reference), bool(own.start)) for stage in stages)
        found = possible(ours, {"reference"} | there, {*IMPORTED} - there)
        return Composition(tuple(s for s in found if s.name in {c.name for c in CASE}), found)
    there = {owner for owner, name in IMPORTED.items() if getattr(own, name)}
    there |= {"reference"} if own.reference or not own.audits else set()
    absent = {*IMPORTED, "reference"} - there
    if own.audits:
        order = _audit(own)
        # nobody knows the truth of an audit, and its clean pairs and labelled images are not divided among roles
        absent |= {s.name for s in stages} - {s.name for s in order}
    else:
        order = [imported.by_lineage(stage, False, bool(own.start)) for stage in _lab(stages)]
    found = possible(order, there, absent)
    names = {s.name for s in (*CASE, imported.ACCURACY, imported.HELD_OUT)} | {"take", imported.SUSPECT, "estimate"}
    names |= {"test"} if own.test else set()
    return Composition(tuple(s for s in found if s.name in names), found)


def _lab(stages: Iterable[Stage]) -> list[Stage]:
    """The stages of a lab case on imported pairs: the attacker's and the clean sets are of these."""
    reference = "reference.model"
    attack, data = imported.attacker(reference)
    first = [imported.take(reference), attack, data, imported.test(reference), imported.ACCURACY]
    sets = {s.name: s for s in imported.clean_sets(reference)}
    return first + [sets.get(s.name, s) for s in stages if s.name not in {f.name for f in first}]


def _audit(own: OwnSettings) -> list[Stage]:
    """The stages of an audit: the pairs and the model as they were imported, then what a defender does."""
    suspect = "own_suspect.model"
    first = [imported.take(suspect), imported.as_found(suspect), imported.test(suspect), imported.TAKE_SUSPECT]
    first += [imported.ACCURACY] if own.reference else [imported.FOLDS, imported.HELD_OUT]
    others = {s.name for s in first} | {"clean", "labelled", imported.POISONED}
    defender = [imported.of_suspect(s) for s in every() if s.name not in others and s.role == "defender"]
    return [*first, *defender, imported.estimate(bool(own.test))]


class Recorded:
    """What the record of a case says of it."""

    record: CaseRecord

    @functools.cached_property
    def settings(self) -> CaseSettings:
        """Its settings."""
        return CaseSettings.from_dict(self.record.settings)

    @property
    def audits(self) -> bool:
        """Whether its model was imported, so that there is no truth."""
        return self.settings.own.audits

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages it is made of."""
        return composed(self.settings.own).case
