"""A table as data: its rows with what the paper reports, and which case and model measure them here; and what all
sheets of figures share.
"""

import inspect
import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ubt.cases.catalog import CASE
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, standing, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.core.run import Compute, Progress
from ubt.defenses import DEFENSES
from ubt.evaluation.stages import divergence_name, downstream_name
from ubt.evaluation.transfer import unfit

MEASURES = {"ca": "CA", "asr": "ASR", "ra": "RA", "target_recall": "target recall"}
"""What is measured, in percent, and how it is headed."""
LONG = 60
"""Characters from which on a state is not said again in the row below."""
KL, SECONDS = {"kl": "KL"}, {"training": "training, s", "defence": "defence, s", "total": "total, s"}
DIGITS = dict.fromkeys(KL.values(), 3) | dict.fromkeys(SECONDS.values(), 1)
"""After the point, by head, where they are not two."""
VALUES = " values"
"""What the column of a mean's values is called after it."""
INTERVAL_FROM = 5
"""Seeds from which on a mean has an interval."""
ELSEWHERE = ("zeroshot", "retrieval")
JUDGED = {d.judged: name for name, d in DEFENSES.items()} | {
    downstream_name(kind, d.judged): name for name, d in DEFENSES.items() for kind in ELSEWHERE
}


@dataclass(frozen=True)
class Row:
    """A row: its labels, one a head of the table; what the paper reports, by measure, in percent; its case, by seed;
    the stage that measures its model, by column group; and what its case changes at the paper's own scale, None: it is
    no row there.
    """

    labels: tuple[str, ...]
    reported: dict[str, float]
    case: Callable[[int], CaseSettings]
    models: dict[str, str]
    paper: dict[str, Any] | None = field(default_factory=dict)

    @property
    def lacks(self) -> str:
        """Why it has no case here: a data set is absent or lacks the target, or settings do not go together; empty if
        it has one.
        """
        try:
            settings = self.case(0)
            kinds, targets = (
                {stage.partition("_")[0] for stage in self.models.values()},
                [p.attack.target for p in settings.attacks],
            )
            return next(
                (said for kind in ELSEWHERE if kind in kinds and (said := unfit(settings.downstream, kind, targets))),
                "",
            )
        except BadInput as e:
            return str(e)


@dataclass(frozen=True)
class Sheet(ABC):
    """What a table or a figure does with the frame it has measured: say it, write it."""

    title: str
    source: str

    @abstractmethod
    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text."""

    @abstractmethod
    def work(self, seeds: int) -> list[Work]:
        """What its figures need: cases, each up to a stage."""

    def varied(self, changes: Mapping[str, str]) -> "Sheet":
        """The same of cases with other settings, by dotted name.

        Raises:
            BadInput: it has no cases that could be changed.
        """
        if changes:
            raise BadInput("--set: expected a table of models' CA and ASR; this one's cases are fixed")
        return self

    def at_papers_scale(self) -> "Sheet":
        """The same of cases of the preset `paper`.

        Raises:
            BadInput: it has no cases that could be.
        """
        raise BadInput("--preset: expected one of the paper's tables 1 to 10; this one's cases are fixed")

    def prepared(self, store: Store, where: Compute, seeds: int) -> "Sheet":
        """The same once what its cases name is in the store."""
        return self

    def knowing(self, cells: pd.DataFrame) -> "Sheet":
        """The same with cells that were measured before.

        Raises:
            BadInput: it does not keep its cells one by one.
        """
        raise BadInput("--cells: expected a table that keeps its cells one by one (attacks, scan); this one does not")

    def cells(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame | None:
        """Its cells one by one (`ubt.reports.paper.cells`); None where it does not keep them."""
        return None

    def missing(self, where: Compute, seeds: int) -> list[Work]:
        """`work` without what is known."""
        return self.work(seeds)

    def tasks(self, store: Store, where: Compute, seeds: int) -> list[tuple[str, Callable[[Progress], dict[str, Any]]]]:
        """What is still to be done beside its cases, after them: what it is called, and what does it."""
        return []

    def files(self, frame: pd.DataFrame) -> dict[str, str]:
        """Ending and text of each file it is written as."""
        return {"md": self.markdown(frame) + "\n", "csv": frame.to_csv(index=False)}

    def markdown(self, frame: pd.DataFrame) -> str:
        """A Markdown table under title and source."""
        return as_markdown(f"{self.title}. {self.source}", *self.lines(frame))

    def write(self, frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
        """Write its files, NAME.ENDING, into a folder, each in one step."""
        return write(folder, name, self.files(frame))


@dataclass(frozen=True)
class Table(Sheet):
    """A table of a paper. `counts`: what is said of a row's case itself, by head."""

    heads: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[Row, ...]
    measures: Mapping[str, str] = field(default_factory=lambda: MEASURES)
    counts: Mapping[str, Callable[[Store, CaseSettings, Compute], float]] = field(default_factory=dict)

    @property
    def attacks(self) -> tuple[str, ...]:
        """What its rows are of, where they say so."""
        return tuple(dict.fromkeys(row.labels[0] for row in self.rows)) if self.heads[0] == "attack" else ()

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Table":
        """The rows of some attacks, and of some defences and what has none; nothing named takes all.

        Raises:
            BadInput: it has no such rows.
        """
        known = {JUDGED[stage] for row in self.rows for stage in row.models.values() if stage in JUDGED}
        check("--attacks", attacks, self.attacks)
        check("--defenses", methods, known)
        own = [{JUDGED[stage] for stage in row.models.values() if stage in JUDGED} for row in self.rows]
        rows = [
            row
            for row, defenses in zip(self.rows, own, strict=True)
            if (not attacks or row.labels[0] in attacks)
            and (not methods or not defenses or defenses.intersection(methods))
        ]
        return replace(self, rows=tuple(rows))

    def varied(self, changes: Mapping[str, str]) -> "Table":
        """The rows of cases with other settings, also where a row sets them itself; the title and the paper's figures
        stay.

        Raises:
            BadInput: there is no such setting, or it is the seed.
        """
        if unknown := [name for name in changes if name not in CaseSettings().described() or name == "seed"]:
            raise BadInput(
                f"--set: expected a setting (python -m ubt settings) other than seed (--seeds), got {unknown[0]!r}"
            )
        return (
            replace(self, rows=tuple(replace(row, case=_varied(row.case, changes)) for row in self.rows))
            if changes
            else self
        )

    def at_papers_scale(self) -> "Table":
        """The rows of the same cases in the preset `paper`, with the paper's own numbers of pairs and poisons.

        Raises:
            BadInput: its cases are fixed.
        """
        rows = [row for row in self.rows if row.paper is not None]
        if not all(_takes_changes(row.case) for row in rows):
            return super().at_papers_scale()
        said = self.source.replace("the embedded default", "preset paper").replace(
            "Measured: scenes", "Measured: preset paper"
        )
        return replace(
            self,
            source=said,
            rows=tuple(replace(row, case=partial(row.case, preset="paper", **row.paper)) for row in rows),
        )

    def work(self, seeds: int) -> list[Work]:
        """What its cells need, seeds 0 to `seeds` - 1, each once: whole cases, and beyond them a defence's stages. Rows
        that lack something need nothing.
        """
        own, rows = {stage.name for stage in CASE}, [row for row in self.rows if not row.lacks]
        wanted = (
            (row.case(seed), None if stage in own else stage)
            for seed in range(seeds)
            for row in rows
            for stage in self._stages(row)
        )
        return list(dict.fromkeys(w for case, until in wanted for w in ((case, None), (case, until))))

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """One row a row, in percent: its labels; `reported MEASURE`; of each column group `GROUP MEASURE` (mean over
        the seeds measured) and `GROUP MEASURE spread` (standard deviation; missing below two seeds); its counts, as
        means; `seeds` measured; `state` of what is not. A case that failed, was cancelled, or was made by an earlier
        version of a stage gives no figure.
        """
        table = []
        for row in self.rows:
            lacks = row.lacks
            cases = [] if lacks else [row.case(seed) for seed in range(seeds)]
            states = [self._state(store, case, where, row) for case in cases]
            done = [case for case, state in zip(cases, states, strict=True) if state == "done"]
            line = dict(zip(self.heads, row.labels, strict=True)) | {
                f"reported {self.measures[k]}": v for k, v in row.reported.items()
            }
            for head, count in self.counts.items():
                line |= over_seeds(head, [count(store, case, where) for case in done])
            for group, stage in row.models.items():
                found = [measures(store, case, where, stage) for case in done]
                for key, label in self.measures.items():
                    line |= over_seeds(f"{group} {label}", [m[key] for m in found if key in m])
            table.append(line | {"seeds": len(done), "state": lacks or lacking(states)})
        first = [*self.heads, *(f"reported {label}" for label in self.measures.values())]
        frame = pd.DataFrame(table)
        return frame[[*(c for c in first if c in frame), *(c for c in frame if c not in first)]]

    def _stages(self, row: Row) -> list[str]:
        """The stages that a row needs, each once."""
        judged = list(dict.fromkeys(row.models.values()))
        return judged + (diverged(judged) if "kl" in self.measures else [])

    def _state(self, store: Store, case: CaseSettings, where: Compute, row: Row) -> str:
        return state_of(store, case, where, self._stages(row))

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text (`cell`), a dash for what is not reported or not measured."""
        groups = [g for g in ("reported", *self.groups) if any(c.startswith(f"{g} ") for c in frame)]
        columns = [(g, m) for g in groups for m in self.measures.values() if f"{g} {m}" in frame]
        heads = [*self.heads, *self.counts, *(f"{g}: {m}" for g, m in columns), "seeds"]
        cells, above = [], ""
        for _, row in frame.iterrows():
            values = [of_column(row, f"{g} {m}", DIGITS.get(m, 2)) for g, m in columns]
            counts = [cell(row[head], digits=1) for head in self.counts]
            again = {"state": "as above"} if row["state"] == above and len(above) > LONG else {}
            cells.append([*(str(row[h]) for h in self.heads), *counts, *values, seeds_of(dict(row) | again)])
            above = row["state"]
        return heads, cells


@dataclass(frozen=True)
class _Varied:
    """A row's case with settings changed."""

    case: Callable[[int], CaseSettings]
    changes: dict[str, str]

    def __call__(self, seed: int) -> CaseSettings:
        return self.case(seed).with_values(self.changes)


def _takes_changes(case: Callable[[int], CaseSettings]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(case).parameters.values())


def _varied(case: Callable[[int], CaseSettings], changes: Mapping[str, str]) -> Callable[[int], CaseSettings]:
    """A case made with other settings: with its own at once where it takes changes, for some go together with others
    alone.
    """
    if _takes_changes(case):
        return partial(case, **{name.replace(".", "__"): value for name, value in changes.items()})
    return _Varied(case, dict(changes))


def check(option: str, asked: Collection[str], known: Collection[str]) -> None:
    """Refuse names that a table does not have.

    Raises:
        BadInput: there is such a name.
    """
    if unknown := [name for name in asked if name not in known]:
        raise BadInput(
            f"{option}: this table has no {', '.join(map(repr, unknown))}; expected some of:"
            f" {', '.join(known) or 'none, it has one'}"
        )


def state_of(store: Store, case: CaseSettings, where: Compute, stages: Sequence[str]) -> str:
    """How a case stands that is wanted up to several stages: `done`, or as the first that is not."""
    found = (standing(store, case, where, until=stage)[0] for stage in stages)
    return next((state for state in found if state != "done"), "done")


def over_seeds(column: str, values: Sequence[float]) -> dict[str, float | str | None]:
    """The cells of a column, of its spread, and of what both are of: mean and standard deviation, missing where there
    is no value, or one; and the values in the seeds' order, where there are several.

    >>> over_seeds("CA", [1.0, 3.0])
    {'CA': 2.0, 'CA spread': 1.4142135623730951, 'CA values': '1.0 3.0'}
    >>> over_seeds("CA", [1.0]), over_seeds("CA", [])["CA"]
    ({'CA': 1.0, 'CA spread': None}, None)
    """
    return {
        column: statistics.fmean(values) if values else None,
        f"{column} spread": statistics.stdev(values) if len(values) > 1 else None,
    } | ({column + VALUES: " ".join(f"{float(v)!r}" for v in values)} if len(values) > 1 else {})


def measures(store: Store, case: CaseSettings, where: Compute, judged: str) -> dict[str, float]:
    """`measured` of a case's own stage."""
    return measured(store, every_key(case, where), judged)


def measured(store: Store, names: Mapping[str, str], judged: str) -> dict[str, float]:
    """What a stage that is done has measured of a model: CA, ASR, RA, target recall; KL to the oracle, if it is there;
    the seconds of training, of the defence, and both, if the steps that took them are.

    Args:
        names: of artefacts, by stage.

    Raises:
        DamagedArtefact: the result on disk is not what was written.
    """
    found = dict(store.open(names[judged])["measures"])
    if kl := store.find(names.get(divergence_name(judged), "")):
        found |= kl["measures"]
    if took := seconds(store, names, judged):
        spent = {part: sum(s for _, p, s in took if p == part) for part in ("training", "defence")}
        found |= spent | {"total": sum(spent.values())}
    return found


def seconds(store: Store, names: Mapping[str, str], judged: str) -> list[tuple[str, str, float]]:
    """Of every stage that a model took beyond D, its name, its part (`training` of M_bd or in its place, or `defence`,
    which includes M_bd where it is needed beside a model in its place) and its seconds; empty if one of them is not
    there.

    Raises:
        DamagedArtefact: a result on disk is not what was written.
    """
    defense = DEFENSES.get(JUDGED.get(judged, ""))
    trained = defense.model if defense and defense.trains else "poison"
    steps = [s.name for s in upto(judged) if s.name in (trained, "poison") or (defense and s.role == "defender")]
    made = [store.open(names[step]) if step in names else None for step in steps]
    if None in made:
        return []
    return [
        (step, "training" if step == trained else "defence", a.manifest["seconds"])
        for step, a in zip(steps, made, strict=True)
    ]


def diverged(judged: Iterable[str]) -> list[str]:
    """The stages that hold against the oracle what these measure; neither the reference nor the oracle itself is."""
    return [divergence_name(s) for s in judged if s not in ("evaluate_clean", "evaluate_retrain")]


def lacking(states: Sequence[str]) -> str:
    """How many cases are not done, and why.

    >>> lacking(["to do", "done", "failed", "to do"])
    '2 to do, 1 failed'
    """
    waiting = [state for state in states if state != "done"]
    return ", ".join(f"{waiting.count(s)} {s}" for s in dict.fromkeys(waiting))


def seeds_of(row: Mapping) -> str:
    """The cell that says how many `seeds` were measured, and the `state` of the others.

    >>> seeds_of({"seeds": 2, "state": "1 failed"})
    '2 (1 failed)'
    """
    return f"{row['seeds']}" + (f" ({row['state']})" if row["state"] else "")


def cell(mean: float | None, spread: float | None = None, digits: int = 2, values: Any = "") -> str:
    """A mean over seeds and what it is worth: of two seeds both `values`, from five on the 95 % t interval of the mean,
    else, or where the values were not kept, mean ± standard deviation, the `spread`.

    >>> cell(1.5), cell(0.98765, digits=3), cell(None), cell(1.5, 0.25)
    ('1.50', '0.988', '-', '1.50 ± 0.25')
    >>> cell(2.0, 2**0.5, values="3.0 1.0"), cell(10.0, 1.0, 1, values="9 10 11 9 11")
    ('3.00 / 1.00', '10.0 [8.8, 11.2]')
    """
    if mean is None or pd.isna(mean):
        return "-"
    if spread is None or pd.isna(spread):
        return f"{mean:.{digits}f}"
    each = values.split() if isinstance(values, str) else []
    if len(each) == 2:
        return " / ".join(f"{float(value):.{digits}f}" for value in each)
    if len(each) < INTERVAL_FROM:
        return f"{mean:.{digits}f} ± {spread:.{digits}f}"
    from scipy.stats import t

    half = float(t.ppf(0.975, len(each) - 1)) * spread / math.sqrt(len(each))
    return f"{mean:.{digits}f} [{mean - half:.{digits}f}, {mean + half:.{digits}f}]"


def of_column(row: Mapping[str, Any], column: str, digits: int) -> str:
    """The `cell` of a column that `over_seeds` made."""
    return cell(row[column], row.get(f"{column} spread"), digits, row.get(column + VALUES))


def of_values(values: pd.Series, digits: int) -> str:
    """The `cell` of the values of some seeds, (n,)."""
    return of_column(over_seeds("", values.tolist()), "", digits)


def as_markdown(said: str, heads: list[str], cells: list[list[str]]) -> str:
    """A Markdown table under a paragraph."""
    rows = [
        f"| {' | '.join(text.replace('|', '&#124;') for text in line)} |"
        for line in (heads, ["---"] * len(heads), *cells)
    ]
    return "\n".join([said, "", *rows])


def write(folder: Path, name: str, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write a file NAME.ENDING for each ending and its content into a folder, each in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        whole = content.encode() if isinstance(content, str) else content
        replace_file(path, lambda temporary, whole=whole: temporary.write_bytes(whole))
    return paths
