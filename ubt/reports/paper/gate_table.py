"""Detectors of one image, a table of our own: how well each tells triggered images from clean ones, by attack, and what
is left of that once the model is purified.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ubt.cases.store import Store
from ubt.core.run import Compute, Progress
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.evaluation.backdoor import interval
from ubt.reports.paper import cells as kept
from ubt.reports.paper.cell_table import CLEAN, PATCH, WHOLE, CellTable, Item, Row
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import check, lacking, of_values, seeds_of
from ubt.workflows import gate as gates
from ubt.workflows.measure_gate import IMAGES, measure

ROWS: dict[str, Row] = {
    "nothing poisoned": Row(CLEAN, changes={"attack.rate": 0.0}, seeds=1),
    "badnet": Row(PATCH, seeds=3),
    "badencoder": Row(PATCH, "badencoder", seeds=3),
    "badclip": Row(PATCH, "badclip", seeds=3),
    "badnet stripes": Row(PATCH, profile="stripes", seeds=3),
    "trojvqa": Row(PATCH, "trojvqa", seeds=3),
    "blended": Row(WHOLE, "blended", seeds=1),
    "sig": Row(WHOLE, "sig", seeds=1),
    "wanet": Row(WHOLE, "wanet", seeds=1),
    "ssba": Row(WHOLE, "ssba", seeds=1),
}
"""By what the table calls them."""
MEASURES = {
    "poisoned auroc": "AUROC",
    "poisoned found 1 %": "found at 1 %, %",
    "poisoned found 5 %": "found at 5 %, %",
    "poisoned false 1 %": "false at 1 %, %",
    "works": "triggers that work, %",
    "working auroc": "AUROC of these",
    "working found 1 %": "found of these at 1 %, %",
    "purified auroc": "AUROC, purified",
    "repeats": "SD over draws",
    "ms": "ms an image",
}
UNPURIFIED = ("nothing poisoned", "badencoder")
"""Rows whose model UBT leaves as it is: it finds nothing in their D."""


@dataclass(frozen=True)
class Gates(CellTable):
    """The table: a row an attack and detector, a cell of a seed."""

    detectors: tuple[str, ...] = tuple(IMAGE_DETECTORS)

    @property
    def parts(self) -> tuple[str, ...]:
        return self.detectors

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Gates":
        """Some of the rows, and of the detectors; nothing named takes all.

        Raises:
            BadInput: it has no such row or detector.
        """
        check("--defenses", methods, IMAGE_DETECTORS)
        return replace(super().narrowed(attacks, ()), detectors=tuple(methods or self.detectors))

    def columns(self) -> list[str]:
        others = [f"{of} {what}" for of in ("poisoned", "purified") for what in ("false 5 %", "found 5 %")]
        measures = dict.fromkeys([*MEASURES, *others, "purified found 1 %", "purified false 1 %"])
        return ["model", "part", "seed", "state", "kind", *kept.COLUMNS, *measures]

    def stages(self, item: Item) -> tuple[str, ...]:
        purified = item.name not in UNPURIFIED and item.part == next(iter(IMAGE_DETECTORS))
        return ("unlearn",) if purified else ("poison",)

    def made_of(self, item: Item) -> list[str]:
        settings = IMAGE_DETECTORS[item.part].settings().to_dict()
        return [
            str(gates.VERSION),
            str(IMAGES),
            str(gates.GateSettings(seed=item.seed).to_dict()),
            item.part,
            str(settings),
        ]

    def measure(self, store: Store, item: Item, where: Compute, progress: Progress) -> dict[str, Any]:
        poisoned = item.opened(store, where, self.stages(item), progress)
        models = {"poisoned": poisoned}
        if "unlearn" in self.stages(item):
            models["purified"] = f"{poisoned.rpartition('/')[0]}/unlearn"
        return measure(store, item.case, models, item.part, where, progress)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a row an attack and detector."""
        rows = [_line(*of, part) for of, part in frame.groupby(["model", "part"], sort=False)]
        return ["attack", "detector", *MEASURES.values(), "seeds"], rows


def _line(name: str, detector: str, part: pd.DataFrame) -> list[str]:
    done, texts = part[part["state"] == "done"], []
    for key in MEASURES:
        values = done[key].dropna().astype(float)
        texts.append(of_values(values, _digits(key)))
        if "found" in key and len(values) == 1 and key.startswith("poisoned"):
            hits = pd.Series(range(IMAGES)) < round(IMAGES * values.iloc[0] / 100)
            low, high = interval(hits.to_numpy())
            texts[-1] += f" [{low:.1f}, {high:.1f}]"
    return [name, detector, *texts, seeds_of({"seeds": len(done), "state": lacking(part["state"].tolist())})]


def _digits(key: str) -> int:
    return 3 if key.endswith(("auroc", "repeats")) else 1


TABLE = Gates(*headed("table", "gate"), ROWS)
