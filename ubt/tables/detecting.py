"""Detectors side by side, a table of our own: how each puts the poisons of D first."""

import statistics
from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from ubt.cases import CaseSettings, Store
from ubt.config import Compute
from ubt.detectors import DETECTORS
from ubt.evaluation.detection import ranking
from ubt.pipeline import Work, every_key, standing, upto
from ubt.stages.split import suspicious_count
from ubt.tables.defending import ATTACKS, case
from ubt.tables.table import Sheet, cell, check, lacking, seeds_of

MEASURES = {
    "auroc": "AUROC", "ap": "average precision", "fpr": "FPR at 100 % TPR", "precision": "precision at k", "recall": "recall at |D_susp|", "seconds": "seconds"
}  # fmt: skip


@dataclass(frozen=True)
class Detection(Sheet):
    """The detectors' table: attacks by detectors."""

    attacks: tuple[str, ...]
    detectors: tuple[str, ...]

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Detection":
        """The rows of some attacks and detectors; nothing named takes all.

        Raises:
            BadInput: it has no such rows.
        """
        check("--attacks", attacks, self.attacks)
        check("--defenses", methods, self.detectors)
        return replace(self, attacks=tuple(attacks) or self.attacks, detectors=tuple(methods) or self.detectors)

    def work(self, seeds: int) -> list[Work]:
        """The cases that its cells need, each as far as a detector needs it."""
        return [(case(s, a), f"detect_{d}") for s in range(seeds) for a in self.attacks for d in self.detectors]

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row an attack and detector: each measure, in percent, as the mean over the seeds measured, and its spread; `seconds`: what the
        detector takes beyond D, M_bd and their similarities; `seeds` measured; `state` of what is not.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for attack in self.attacks:
            for name in self.detectors:
                states = [(s, standing(store, case(s, attack), where, until=f"detect_{name}")[0]) for s in range(seeds)]
                found = [self._values(store, case(s, attack), where, name) for s, state in states if state == "done"]
                line = {"attack": attack, "detector": name, "about": DETECTORS[name].about}
                for key, label in MEASURES.items():
                    values = [v[key] for v in found if key in v]
                    line[label] = statistics.fmean(values) if values else None
                    line[f"{label} spread"] = statistics.stdev(values) if len(values) > 1 else None
                table.append(line | {"seeds": len(found), "state": lacking([state for _, state in states])})
        return pd.DataFrame(table)

    def _values(self, store: Store, settings: CaseSettings, where: Compute, name: str) -> dict[str, float]:
        names = every_key(settings, where)
        scores, truth = store.open(names[f"detect_{name}"])["scores"], store.open(names["attack"])["truth"]
        size = suspicious_count(settings.data.pairs, settings.split.fraction)
        given = {"attack", "data", "score", "poison", "score_poisoned"}
        took = sum(store.open(names[s.name]).manifest["seconds"] for s in upto(f"detect_{name}") if s.name not in given)
        return ranking(scores["score"].to_numpy(), truth["poisoned"].to_numpy(), settings.k, size) | {"seconds": took}

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, mean ± spread, a dash for what is not measured."""
        cells = []
        for _, row in frame.iterrows():
            values = [cell(row[label], row[f"{label} spread"]) for label in MEASURES.values()]
            cells.append([row["attack"], row["about"], *values, seeds_of(row)])
        return ["attack", "detector", *MEASURES.values(), "seeds"], cells


TABLE = Detection(
    "Detectors", "Percent, over all pairs of D; k and |D_susp| are the case's. Measured: the embedded default, mean ± standard deviation over seeds.",
    ATTACKS, tuple(DETECTORS),
)  # fmt: skip
