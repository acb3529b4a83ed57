"""A figure as data: small multiples of how clean and poisoned pairs separate, and which case and model measure each panel here."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ubt.cases import CaseSettings, Store
from ubt.config import Compute
from ubt.evaluation.detection import auroc
from ubt.pipeline import Work, every_key, standing
from ubt.tables.table import Sheet, cell

DRAWN = ["similarity", "poisoned"]
"""The columns that are drawn: arrays, a value a pair."""


@dataclass(frozen=True)
class Panel:
    """A panel: its label, its case, by seed, the row it stands in, and the stage whose similarities it shows."""

    label: str
    case: Callable[[int], CaseSettings]
    row: str = "UBT"
    stage: str = "score_overfit"


@dataclass(frozen=True)
class Figure(Sheet):
    """A figure of a paper: its panels, row by row, so many a row. `inside`: it shows the pairs of D_susp alone, not all of D. It is written as a
    page of HTML that needs nothing beside it, and as CSV."""

    panels: tuple[Panel, ...]
    columns: int
    inside: bool = False

    @property
    def among(self) -> str:
        """Whose pairs it shows."""
        return "D_susp" if self.inside else "D"

    def work(self, seed: int) -> list[Work]:
        """The cases that its panels need, each once and only as far as it is shown."""
        return list(dict.fromkeys((panel.case(seed), panel.stage) for panel in self.panels))

    def measured(self, store: Store, where: Compute, seed: int) -> pd.DataFrame:
        """One row a panel: `row`, `panel`, the `case`, its `pairs`, `poisons` and `poisons in D_susp`; `AUROC in D_susp` and `AUROC over D` of
        the similarity; `clean mean` and `poisoned mean` of the pairs shown; `state`, empty where it is measured; `similarity` and `poisoned`
        of the pairs shown, arrays (n,). What is not measured, or has one kind of pair only, is missing.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for panel in self.panels:
            case = panel.case(seed)
            state = standing(store, case, where, until=panel.stage)[0]
            line = {"row": panel.row, "panel": panel.label, "case": case.name(where), "pairs": case.data.pairs}
            table.append(line | (self._values(store, case, where, panel.stage) | {"state": ""} if state == "done" else {"state": state}))
        columns = ["poisons", "poisons in D_susp", "AUROC in D_susp", "AUROC over D", "clean mean", "poisoned mean", "state"]
        frame = pd.DataFrame(table).reindex(columns=["row", "panel", "case", "pairs", *columns, *DRAWN])
        return frame.astype({"poisons": "Int64", "poisons in D_susp": "Int64"})

    def _values(self, store: Store, case: CaseSettings, where: Compute, stage: str) -> dict:
        names = every_key(case, where)

        def column(owner: str, entry: str, of: str):
            return store.open(names[owner])[entry][of].to_numpy()

        similarity, poisoned = column(stage, "similarity", "similarity"), column("attack", "truth", "poisoned")
        suspicious = column("split", "split", "suspicious")
        shown = suspicious if self.inside else slice(None)
        s, p = similarity[shown], poisoned[shown]
        return {
            "poisons": poisoned.sum(), "poisons in D_susp": (poisoned & suspicious).sum(),
            "AUROC in D_susp": auroc(similarity[suspicious], poisoned[suspicious]), "AUROC over D": auroc(similarity, poisoned),
            "clean mean": s[~p].mean() if (~p).any() else None, "poisoned mean": s[p].mean() if p.any() else None, "similarity": s, "poisoned": p,
        }  # fmt: skip

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a dash for what is not measured."""
        means = [f"mean similarity of the {kind}, {self.among}" for kind in ("clean", "poisoned")]
        heads = ["panel", "pairs", "poisoned", "in D_susp", "AUROC in D_susp", "AUROC over D", *means]
        cells = []
        for _, line in frame.iterrows():
            whole = [cell(line[name], digits=0) for name in ("pairs", "poisons", "poisons in D_susp")]
            parts = [cell(line[name], digits=3) for name in ("AUROC in D_susp", "AUROC over D", "clean mean", "poisoned mean")]
            label = f"{line['row']}, {line['panel']}" + (f" ({line['state']})" if line["state"] else "")
            cells.append([label, *whole, *parts])
        return heads, cells

    def csv(self, frame: pd.DataFrame) -> str:
        """The numbers as CSV."""
        return frame.drop(columns=DRAWN).to_csv(index=False)

    def files(self, frame: pd.DataFrame) -> dict[str, str]:
        from ubt.figures.panels import page, panels

        return {"html": page(panels(frame, self.columns), self.title, self.source), "csv": self.csv(frame)}
