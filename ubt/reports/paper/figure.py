"""A paper's figure as data: its panels, each a case and the stage whose result it shows; what they measure, and the
files it leaves.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, standing
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.log import log
from ubt.core.run import Compute
from ubt.pairs.export import as_csv
from ubt.reports.paper.table import Sheet, write

KINDS = {"PNG": "image/png", "SVG": "image/svg+xml", "HTML": "text/html", "CSV": "text/csv"}
"""The files of a figure."""


@dataclass(frozen=True)
class Panel:
    """A panel: its label, its case, by seed, the row it stands in, and the stage whose result it shows."""

    label: str
    case: Callable[[int], CaseSettings]
    row: str = "UBT"
    stage: str = "score_overfit"


@dataclass(frozen=True)
class Figure(Sheet):
    """A figure of a paper. `chart`: plotly draws it, so that it can be explored on a page, and its PNG and SVG need a
    browser.
    """

    chart: ClassVar[bool] = False
    panels: tuple[Panel, ...]

    def work(self, seed: int) -> list[Work]:
        """The cases that its panels need, each once and only as far as it is shown."""
        return list(dict.fromkeys((panel.case(seed), panel.stage) for panel in self.panels))

    def measured(self, store: Store, where: Compute, seed: int) -> pd.DataFrame:
        """One row a panel: `row`, `panel`, the `case`, its `pairs`, what `values` gives, and `state`, empty where it is
        measured. What is not measured is missing.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for panel in self.panels:
            case = panel.case(seed)
            state = standing(store, case, where, until=panel.stage)[0]
            names, opened = every_key(case, where), functools.cache(store.open)

            def read(source: str, names=names, opened=opened) -> Any:
                owner, entry = source.split(".")
                return opened(names[owner])[entry]

            line = {"row": panel.row, "panel": panel.label, "case": case.name(where), "pairs": case.data.pairs}
            table.append(
                line | (self.values(read, case, panel.stage) | {"state": ""} if state == "done" else {"state": state})
            )
        return pd.DataFrame(table).reindex(
            columns=["row", "panel", "case", "pairs", *self.columns_of_values(), "state"]
        )

    @abstractmethod
    def columns_of_values(self) -> Sequence[str]:
        """The names of what `values` gives."""

    @abstractmethod
    def values(self, read: Callable[[str], Any], case: CaseSettings, stage: str) -> dict[str, Any]:
        """What a panel shows and measures, by name.

        Args:
            read: gives an entry of the case's results by its source, `stage.entry`.
        """

    @abstractmethod
    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a dash for what is not measured."""

    @abstractmethod
    def numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The numbers, as a table to save."""

    @abstractmethod
    def drawn(self, frame: pd.DataFrame) -> Any:
        """The figure: plotly's or matplotlib's."""

    @abstractmethod
    def pictured(self, frame: pd.DataFrame, kinds: Sequence[str]) -> dict[str, bytes]:
        """The figure as PNG, SVG or HTML, by kind.

        Raises:
            UbtError: it cannot be drawn on this machine.
        """

    def saved(self, frame: pd.DataFrame, kinds: Sequence[str]) -> dict[str, bytes]:
        """Its files, by kind (`KINDS`).

        Raises:
            UbtError: it cannot be drawn on this machine.
        """
        made = self.pictured(frame, [kind for kind in kinds if kind != "CSV"])
        return {kind: made[kind] if kind in made else as_csv(self.numbers(frame)) for kind in kinds}

    def write(self, frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
        """Write NAME.html, a page that needs nothing beside it, NAME.csv, NAME.png and NAME.svg into a folder, each in
        one step. PNG and SVG that this machine cannot draw are left out, with a warning that says what they need.
        """
        made = self.saved(frame, ("HTML", "CSV"))
        try:
            made |= self.saved(frame, ("PNG", "SVG"))
        except UbtError as e:
            log.warning("%s: no PNG and no SVG is written, for they need a browser: %s", name, e)
        return write(folder, name, {kind.lower(): content for kind, content in made.items()})
