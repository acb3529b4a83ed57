"""A table of our own as data: attacks by methods that need no model of their own, each measured on the attack's
cases.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from ubt.cases.pipeline import Work, standing
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.reports.paper.table import Sheet, check, lacking, of_column, over_seeds, seeds_of


@dataclass(frozen=True)
class Grid(Sheet):
    """A table: a row an attack and method.

    Args:
        head: what its methods are. methods: name to what the table calls it. measures: key to head.
        work: of a seed, an attack and a method, the case and the stage that it is measured on.
        values: measures, by key, of a case that is there that far; what it has nothing to say of is missing. digits:
            after the point, by key, where they are not two.
    """

    head: str
    attacks: tuple[str, ...]
    methods: Mapping[str, str]
    measures: Mapping[str, str]
    work_of: Callable[[int, str, str], Work]
    values: Callable[[Store, CaseSettings, Compute, str], dict[str, float]]
    digits: Mapping[str, int] = field(default_factory=dict)

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Grid":
        """The rows of some attacks and methods; nothing named takes all.

        Raises:
            BadInput: it has no such rows.
        """
        check("--attacks", attacks, self.attacks)
        check("--defenses", methods, self.methods)
        return replace(
            self, attacks=tuple(attacks) or self.attacks, methods={m: self.methods[m] for m in methods or self.methods}
        )

    def work(self, seeds: int) -> list[Work]:
        """The cases that its cells need, each as far as its method needs it."""
        return [self.work_of(s, a, m) for s in range(seeds) for a in self.attacks for m in self.methods]

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row an attack and method: each measure as the mean over the seeds measured, and its spread (standard
        deviation); `about`, what the table calls the method; `seeds` measured; `state` of what is not.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for attack in self.attacks:
            for name, about in self.methods.items():
                cases = [self.work_of(seed, attack, name) for seed in range(seeds)]
                states = [standing(store, case, where, until=until)[0] for case, until in cases]
                found = [
                    self.values(store, case, where, name)
                    for (case, _), state in zip(cases, states, strict=True)
                    if state == "done"
                ]
                line = {"attack": attack, self.head: name, "about": about}
                for key, label in self.measures.items():
                    line |= over_seeds(label, [v[key] for v in found if key in v])
                table.append(line | {"seeds": len(found), "state": lacking(states)})
        return pd.DataFrame(table)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text (`cell`), a dash for what is not measured."""
        cells = []
        for _, row in frame.iterrows():
            values = [of_column(row, label, self.digits.get(key, 2)) for key, label in self.measures.items()]
            cells.append([row["attack"], row["about"], *values, seeds_of(row)])
        return ["attack", self.head, *self.measures.values(), "seeds"], cells
