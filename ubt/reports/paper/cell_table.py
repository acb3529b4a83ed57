"""Tables whose cells are measured one by one, each of one model, and kept in the store and in a CSV
(`ubt.reports.paper.cells`), so that a table of many hours is made in parts.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pandas as pd

from ubt.cases.keys import every_key, reference_digest
from ubt.cases.pipeline import Work, create
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.files import REFERENCE
from ubt.core.run import Compute, Progress
from ubt.reports.paper import cells as kept
from ubt.reports.paper.table import Sheet, check, state_of
from ubt.workflows.clean_models import SEED, clean_model, stand_in
from ubt.workflows.sources import OF_CASE

KEPT = "cell-"
"""How the name of a cell in the store begins."""
CLEAN, PATCH, WHOLE = "clean", "patch", "whole image"
"""Kinds of models, by their trigger."""


@dataclass(frozen=True)
class Row:
    """Models of one kind.

    Args:
        kind: of `CLEAN`, `PATCH`, `WHOLE`. attack, profile, changes: of its cases. trained: the kind of clean model, of
            `ubt.workflows.clean_models`, that has no case. preset: of its cases. key: the measure of the true trigger's
            ASR. seeds: at most.
    """

    kind: str
    attack: str = "badnet"
    profile: str = "embedded"
    changes: Mapping[str, Any] = field(default_factory=dict)
    trained: str = ""
    preset: str = "demo"
    key: str = "asr"
    seeds: int = 6

    def case(self, seed: int) -> CaseSettings | None:
        """Its case of a seed; None where it has none."""
        if self.trained:
            return None
        return CaseSettings.preset(self.preset, self.attack, self.profile).with_values({"seed": seed, **self.changes})


@dataclass(frozen=True)
class Item:
    """What a cell is measured of: a row's model of a seed, with its case if it has one; `part`: which part of what is
    measured of it, where that has parts.
    """

    name: str
    row: Row
    seed: int
    case: CaseSettings | None
    part: str = ""

    def opened(self, store: Store, where: Compute, stages: Collection[str], progress: Progress) -> str:
        """Its model, as `ubt.workflows.sources.resolved` takes it; a clean model without a case is trained if it is not
        there.

        Raises:
            UbtError: its case is not as far as `stages`. Cancelled: `progress` asked to stop.
        """
        if self.case is None:
            return clean_model(store, self.row.trained, where, SEED + self.seed, progress)
        if (state := state_of(store, self.case, where, [*stages])) != "done":
            raise UbtError(
                f"{self.name}, seed {self.seed}: expected a model that is trained, got a case that is {state}"
            )
        create(store, self.case, where)  # its results may all be another case's, so that it was never run itself
        return f"{OF_CASE}{self.case.name(where)}/poison"


@dataclass(frozen=True)
class CellTable(Sheet):
    """A table with rows of models; cells that are `known` by their identity are not measured again.

    What a subclass says: the `parts` of what is measured, the `stages` that a case is needed up to, what else decides a
    cell (`made_of`), the `measure`, and the lines.
    """

    rows: Mapping[str, Row]
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def attacks(self) -> tuple[str, ...]:
        """What its rows are called."""
        return tuple(self.rows)

    @property
    def parts(self) -> tuple[str, ...]:
        """What is measured of a model, where that has parts."""
        return ("",)

    @abstractmethod
    def stages(self, item: Item) -> tuple[str, ...]:
        """The stages of a case that a cell is read from, beside its model."""

    @abstractmethod
    def made_of(self, item: Item) -> list[str]:
        """What decides a cell beside the model and the shipped reference."""

    @abstractmethod
    def measure(self, store: Store, item: Item, where: Compute, progress: Progress) -> dict[str, Any]:
        """What a cell says, as plain values.

        Raises:
            UbtError: it could not be measured. Cancelled: `progress` asked to stop.
        """

    @abstractmethod
    def columns(self) -> list[str]:
        """The columns of `measured`."""

    def further(self, item: Item, measures: Mapping[str, Any]) -> dict[str, Any]:
        """What a line has beside what was measured."""
        return {"kind": item.row.kind}

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> Self:
        """Some of the rows; nothing named takes all.

        Raises:
            BadInput: it has no such row, or methods are named: it has none.
        """
        check("--attacks", attacks, self.rows)
        check("--defenses", methods, ())
        return replace(self, rows={name: self.rows[name] for name in attacks or self.rows})

    def knowing(self, cells: pd.DataFrame) -> Self:
        """The same with cells that were measured before."""
        return replace(self, known=kept.by_identity(cells))

    def items(self, seeds: int) -> list[Item]:
        """What is measured, of every row the first seed first."""
        return [
            Item(name, row, seed, row.case(seed), part)
            for seed in range(seeds)
            for name, row in self.rows.items()
            if seed < row.seeds
            for part in self.parts
        ]

    def work(self, seeds: int) -> list[Work]:
        """The cases, as far as they are needed."""
        return _of_cases((item.case, stage) for item in self.items(seeds) for stage in self.stages(item))

    def missing(self, where: Compute, seeds: int) -> list[Work]:
        """`work` without what leads to known cells."""
        unknown = [item for item in self.items(seeds) if self.identity(item, where) not in self.known]
        return _of_cases((item.case, stage) for item in unknown for stage in self.stages(item))

    def identity(self, item: Item, where: Compute) -> str:
        """The identity of a cell: what its model is, what it is compared with, and how it is measured."""
        keys = [stand_in(item.row.trained, SEED + item.seed)] if item.case is None else []
        if item.case is not None:
            names = every_key(item.case, where)
            keys += [names[stage] for stage in ("poison", *self.stages(item))]
        return kept.identity([*keys, reference_digest(REFERENCE), *map(str, where.identity), *self.made_of(item)])

    def tasks(self, store: Store, where: Compute, seeds: int) -> list[tuple[str, Callable[[Progress], dict[str, Any]]]]:
        """The cells that are not there yet, each with what measures it."""
        found = []
        for item in self.items(seeds):
            identity = self.identity(item, where)
            if identity not in self.known and store.find(KEPT + identity) is None:
                said = f"{item.name}, seed {item.seed}" + (f", {item.part}" if item.part else "")
                found.append((said, self._task(store, where, item, identity)))
        return found

    def _task(self, store: Store, where: Compute, item: Item, identity: str) -> Callable[[Progress], dict[str, Any]]:
        def work(progress: Progress) -> dict[str, Any]:
            found = self.measure(store, item, where, progress)
            plain = {key: value for key, value in found.items() if value is not None}
            about = {"stage": "cell", "brought": True, "seconds": 0.0}
            store.put(KEPT + identity, {"cell": kept.stamped(identity, where) | plain}, about)
            return {"seconds": 0.0}

        return work

    def cells(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """The cells that are there, a row each.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        frame = self.measured(store, where, seeds)
        return frame[frame["state"] == "done"].drop(columns=["state"]).reset_index(drop=True)

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row a cell: model, seed, its `state`, and if that is done what was measured.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for item in self.items(seeds):
            identity = self.identity(item, where)
            line: dict[str, Any] = {"model": item.name, "seed": item.seed, "part": item.part}
            there = None if identity in self.known else store.find(KEPT + identity)
            measures = self.known.get(identity) or (there["cell"] if there is not None else {})
            if measures:
                line |= {"state": "done"} | dict(measures) | self.further(item, measures)
            else:
                stood = "done" if item.case is None else state_of(store, item.case, where, self.stages(item))
                line |= {"kind": item.row.kind, "state": "to do" if stood == "done" else stood}
            table.append(line)
        return pd.DataFrame(table).reindex(columns=self.columns())


def _of_cases(wanted: Iterable[tuple[CaseSettings | None, str]]) -> list[Work]:
    """Each once, without those of models that have no case."""
    return list(dict.fromkeys((case, stage) for case, stage in wanted if case is not None))
