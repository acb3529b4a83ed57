"""A case on record, finished or partly, read where it lies."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.artifact import Artefact
from ubt.cases.litter import UPLOADS
from ubt.cases.plan import Recorded
from ubt.cases.record import CaseRecord
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.data.scenes import ROLES
from ubt.pairs.annotations import Review
from ubt.pairs.table import PairTable


@dataclass(frozen=True)
class Finished(Recorded):
    """What a case's finished stages made.

    Raises:
        BadInput: there is no such case. UbtError: its record, or what one of its stages made, is damaged.
    """

    store: Store
    name: str

    @cached_property
    def record(self) -> CaseRecord:
        """Its record."""
        record = self.store.case(self.name)
        if not record.readable:
            raise UbtError(record.error)
        return record

    @cached_property
    def artefacts(self) -> dict[str, Artefact]:
        """What is finished, by stage."""
        found = {stage: self.store.find(key) for stage, key in self.record.artefacts.items() if key}
        return {stage: artefact for stage, artefact in found.items() if artefact is not None}

    def has(self, *stages: str) -> bool:
        """Whether these stages are finished."""
        return all(s in self.artefacts for s in stages)

    def holds(self, stage: str, entry: str) -> bool:
        """Whether a stage is finished and gave this entry."""
        return self.has(stage) and entry in self.artefacts[stage].manifest["entries"]

    def read(self, stage: str, entry: str) -> Any:
        """An entry of a finished stage.

        Raises:
            DamagedArtefact: its bytes are not those that were written.
        """
        return self.artefacts[stage][entry]

    @property
    def labels(self) -> pd.DataFrame:
        """What analysts decided, see `ubt.pairs.annotations.Review.labels`."""
        return Review(self.store.root / "cases" / self.name / "review.sqlite").labels()

    @cached_property
    def pairs(self) -> PairTable | None:
        """Every column of its pairs; None where D is not there yet."""
        if not self.has("data"):
            return None
        return PairTable.from_stages(
            self.has, lambda stage, entry, *names: self.artefacts[stage].read(entry, columns=names)
        ).with_labels(self.labels)

    @property
    def poisoned(self) -> np.ndarray | None:
        """The ground truth (pairs,); None where nobody knows it."""
        return None if self.pairs is None else self.pairs.poisoned


def places(case: Any, store: Store) -> tuple[pd.Series, str]:
    """Where each image of D comes from, by the pairs' ids, as its source names it; and what these names are, in words.

    Args:
        case: a `Finished` case, or a page's view of one, whose D is there.
    """
    if not case.has("take"):
        ids = store.open(case.record.artefacts["data"]).read("pairs", columns=("id",))["id"]
        drawn = [f"scene:{case.settings.seed}:{index}" for index in ROLES["pairs"][: len(ids)]]
        return pd.Series(drawn, ids), "the scene its image is drawn from, scene:SEED:INDEX, see ubt.data.scenes"
    taken = store.open(case.record.artefacts["take"]).read("pairs", columns=("id", "image")).set_index("id")["image"]
    source = shown_path(store, store.imported(case.settings.own.pairs)["about"]["path"])
    planted = "" if case.audits else "; triggers that this case planted are not in it"
    return taken, f"where its image is: a path, or a member of the archive, in {source}{planted}"


def shown_path(store: Store, path: str) -> str:
    """Where something was imported from, for whoever uses the app: of a file that was dropped on a page its name alone,
    since the cache's folders are not theirs to know.
    """
    kept = Path(path).is_relative_to((store.root / UPLOADS).resolve())
    return Path(path).name if kept else path
