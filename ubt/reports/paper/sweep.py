"""A sweep as data: which settings take which values, and what is measured of the case that each of their combinations
makes.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.reports.paper.defense_tables import ATTACKS
from ubt.reports.paper.table import as_markdown, check, lacking, of_column, over_seeds, state_of, write

if TYPE_CHECKING:
    import plotly.graph_objects as go

MARKS = {"default": "the default", "paper": "the paper's choice"}
"""Which cells are marked, by the frame's column, and as what."""


@dataclass(frozen=True)
class Factor:
    """A setting that takes several values, the default and the paper's choice always among them. `label`: what its axis
    is called, with the unit; `shown`: the number that stands there for a value.
    """

    setting: str
    label: str
    given: tuple[float, ...]
    paper: float | None = None
    shown: Callable[[float], float] = float

    @property
    def default(self) -> float:
        """The setting's default."""
        return CaseSettings().described()[self.setting][1]

    @property
    def values(self) -> tuple[float, ...]:
        """Every value, as the setting's own type, in the order of the axis."""
        kind = type(self.default)
        known = {kind(v) for v in (*self.given, self.default, self.paper) if v is not None}
        return tuple(sorted(known, key=self.shown))


@dataclass(frozen=True)
class Measure:
    """What is measured: `what`, of `whom` if of a model, a number `key` in an entry of a stage's result, times `scale`
    in `unit`. `rising`: more is better.
    """

    what: str
    whom: str
    stage: str
    key: str
    rising: bool = True
    entry: str = "measures"
    scale: float = 1.0
    unit: str = "percent"

    @property
    def label(self) -> str:
        """What is measured, and of which model."""
        return f"{self.what}, {self.whom}" if self.whom else self.what

    @property
    def headed(self) -> str:
        """The same with its unit, for the head of a column."""
        return f"{self.label} ({'%' if self.unit == 'percent' else self.unit})"

    @property
    def digits(self) -> int:
        """Digits after the point that are shown."""
        return 2 if self.unit == "percent" else 3


@dataclass(frozen=True)
class Sweep:
    """A sweep over one setting or two: a cell is a case of one attack with one value of each."""

    title: str
    source: str
    factors: tuple[Factor, ...]
    measures: tuple[Measure, ...]
    attacks: tuple[str, ...] = ("badnet",)

    def narrowed(self, attacks: Collection[str]) -> "Sweep":
        """The sweep over some attacks; nothing named takes its own.

        Raises:
            BadInput: they are not of Table I.
        """
        check("--attacks", attacks, ATTACKS)
        return replace(self, attacks=tuple(attacks) or self.attacks)

    def case(self, seed: int, attack: str, values: tuple[float, ...]) -> CaseSettings:
        """The case of a cell: the embedded default of an attack with a value of each factor."""
        changes = dict(zip((f.setting for f in self.factors), values, strict=True))
        return CaseSettings.preset("demo", attack).with_values({"seed": seed} | changes)

    def cells(self) -> list[tuple[float, ...]]:
        """Every combination of values, in the order of the axes."""
        return list(itertools.product(*(f.values for f in self.factors)))

    def work(self, seeds: int) -> list[Work]:
        """What its cells need, seeds 0 to `seeds` - 1, one seed after another, and each case only as far as it is
        measured.
        """
        return [
            (self.case(seed, attack, values), stage)
            for seed in range(seeds)
            for attack in self.attacks
            for values in self.cells()
            for stage in self._stages
        ]

    @property
    def _stages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m.stage for m in self.measures))

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row a cell: `attack`, the number shown for each factor by its label; by each measure's label the mean over
        the seeds measured, in its unit, and its spread (standard deviation; missing below two seeds); `seeds` measured;
        `state` of what is not; whether the cell is the `default` and whether it is the `paper`'s. What failed, was
        cancelled or was made by an earlier version gives no number.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        default, paper, table = tuple(f.default for f in self.factors), tuple(f.paper for f in self.factors), []
        for attack, values in itertools.product(self.attacks, self.cells()):
            cases = [self.case(seed, attack, values) for seed in range(seeds)]
            states = [state_of(store, case, where, self._stages) for case in cases]
            found = [
                self._values(store, case, where) for case, state in zip(cases, states, strict=True) if state == "done"
            ]
            line = {"attack": attack} | {f.label: f.shown(v) for f, v in zip(self.factors, values, strict=True)}
            for m in self.measures:
                line |= over_seeds(m.label, [v[m.label] for v in found if m.label in v])
            table.append(
                line
                | {"seeds": len(found), "state": _state(states), "default": values == default, "paper": values == paper}
            )
        return pd.DataFrame(table)

    def _values(self, store: Store, case: CaseSettings, where: Compute) -> dict[str, float]:
        names = every_key(case, where)
        read = {(m.stage, m.entry): store.open(names[m.stage])[m.entry] for m in self.measures}
        values = {m.label: read[m.stage, m.entry][m.key] for m in self.measures}
        return {m.label: m.scale * values[m.label] for m in self.measures if values[m.label] is not None}

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a row a cell of the sweep (`cell`), a dash for what is not measured."""
        axes, cells = [f.label for f in self.factors], []
        for _, row in frame.iterrows():
            values = [of_column(row, m.label, m.digits) for m in self.measures]
            seeds = f"{row['seeds']}" + (f" ({row['state']})" if row["state"] else "")
            cells.append(
                [
                    row["attack"],
                    *(f"{row[a]:g}" for a in axes),
                    *values,
                    seeds,
                    ", ".join(said for mark, said in MARKS.items() if row[mark]),
                ]
            )
        return ["attack", *axes, *(m.label for m in self.measures), "seeds", "which is"], cells

    def markdown(self, frame: pd.DataFrame) -> str:
        """The sweep as Markdown: its title and source, and of two settings a grid a measure, of one a table an
        attack.
        """
        said = f"{self.title}. {self.source} **Bold**: {MARKS['default']}." + (
            f" †: {MARKS['paper']}." if frame["paper"].any() else ""
        )
        grids = [grid for _, part in frame.groupby("attack", sort=False) for grid in self._grids(part)]
        return "\n\n".join([said, *(as_markdown(*grid) for grid in grids)])

    def _grids(self, part: pd.DataFrame) -> list[tuple[str, list[str], list[list[str]]]]:
        attack, axes = part["attack"].iloc[0], [f.label for f in self.factors]
        if len(axes) == 1:
            rows = [
                [f"{row[axes[0]]:g}", *(marked(row, m.label, m.digits) for m in self.measures)]
                for _, row in part.iterrows()
            ]
            return [(f"{attack}:", [axes[0], *(m.headed for m in self.measures)], rows)]
        y, x = axes
        grids = []
        for m in self.measures:
            rows = [
                [f"{value:g}", *(marked(row, m.label, m.digits) for _, row in line.iterrows())]
                for value, line in part.groupby(y, sort=False)
            ]
            grids.append(
                (
                    f"{attack}: {m.headed}, by {y} (down) and {x} (across):",
                    [y, *(f"{v:g}" for v in part[x].unique())],
                    rows,
                )
            )
        return grids

    def figure(self, frame: pd.DataFrame) -> "go.Figure":
        """The sweep as a plotly figure: of two settings heat-maps, of one lines."""
        from ubt.figures import sweep

        axes = [f.label for f in self.factors]
        if len(axes) == 2:
            return sweep.heat(frame, *axes, {m.label: m.rising for m in self.measures}, MARKS)
        panels: dict[str, dict[str, str]] = {}
        for m in self.measures:
            panels.setdefault(m.what, {})[m.whom] = m.label
        return sweep.lines(frame, *axes, panels, {m.what: m.unit for m in self.measures}, MARKS)

    def page(self, frame: pd.DataFrame) -> str:
        """The figure as a page of HTML that needs nothing beside it."""
        from ubt.figures.export import chart_page

        return chart_page(self.figure(frame), self.title, self.source)

    def write(self, frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
        """Write NAME.md, NAME.csv and NAME.html into a folder, each in one step."""
        return write(
            folder,
            name,
            {"md": self.markdown(frame) + "\n", "csv": frame.to_csv(index=False), "html": self.page(frame)},
        )


def _state(states: list[str]) -> str:
    return lacking(states) if len(states) > 1 else states[0].removeprefix("done")


def marked(row: Mapping, label: str, digits: int = 2) -> str:
    """A cell of a grid: its number, what of it is missing, and whether it is the default or the paper's choice.

    >>> row = {"CA": 98.0, "CA spread": None, "seeds": 1, "state": "failed", "default": True, "paper": True}
    >>> marked(row, "CA"), marked(row | {"CA": None, "paper": False}, "CA")
    ('**98.00** (failed)†', 'failed')
    """
    number, state = of_column(row, label, digits), row["state"]
    dagger = "†" if row["paper"] else ""
    if number == "-":
        return (state or number) + dagger
    return (f"**{number}**" if row["default"] else number) + (f" ({state})" if state else "") + dagger
