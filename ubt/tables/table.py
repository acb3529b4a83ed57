"""A table as data: its rows with what the paper reports, and which case and model measure them here."""

import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ubt.cases import CaseSettings, Store
from ubt.config import BadInput, Compute, replace_file
from ubt.defenses import CASE, DEFENSES
from ubt.pipeline import Work, every_key, standing, upto

MEASURES = {"ca": "CA", "asr": "ASR", "ra": "RA", "target_recall": "target recall"}
"""What is measured, in percent, and how it is headed."""
KL, SECONDS = {"kl": "KL"}, {"training": "training, s", "defence": "defence, s", "total": "total, s"}
JUDGED = {d.judged: name for name, d in DEFENSES.items()}


@dataclass(frozen=True)
class Row:
    """A row: its labels, one a head of the table; what the paper reports, by measure, in percent; its case, by seed; and the stage that
    measures its model, by column group."""

    labels: tuple[str, ...]
    reported: dict[str, float]
    case: Callable[[int], CaseSettings]
    models: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table of a paper."""

    title: str
    source: str
    heads: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[Row, ...]
    measures: Mapping[str, str] = field(default_factory=lambda: MEASURES)

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Table":
        """The rows of some attacks, and of some defences and what has none; nothing named takes all.

        Raises:
            BadInput: it has no such rows.
        """
        known = {JUDGED[stage] for row in self.rows for stage in row.models.values() if stage in JUDGED}
        taken = {row.labels[0] for row in self.rows} if self.heads[0] == "attack" else set()
        check("--attacks", attacks, taken)
        check("--defenses", methods, known)
        rows = [
            row for row in self.rows
            if (not attacks or row.labels[0] in attacks)
            and (not methods or not {JUDGED.get(s) for s in row.models.values()}.isdisjoint({None, *methods}))
        ]  # fmt: skip
        return replace(self, rows=tuple(rows))

    def work(self, seeds: int) -> list[Work]:
        """What its cells need, seeds 0 to `seeds` - 1, each once: whole cases, and beyond them a defence's stages."""
        own = {stage.name for stage in CASE}
        wanted = ((row.case(seed), None if stage in own else stage) for seed in range(seeds) for row in self.rows for stage in self._stages(row))
        return list(dict.fromkeys(w for case, until in wanted for w in ((case, None), (case, until))))

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """One row a row, in percent: its labels; `reported MEASURE`; of each column group `GROUP MEASURE` (mean over the seeds measured)
        and `GROUP MEASURE spread` (standard deviation; missing below two seeds); `seeds` measured; `state` of what is not.
        A case that failed, was cancelled, or was made by an earlier version of a stage gives no figure.
        """
        table = []
        for row in self.rows:
            cases = [row.case(seed) for seed in range(seeds)]
            states = [self._state(store, case, where, row) for case in cases]
            done = [case for case, state in zip(cases, states, strict=True) if state == "done"]
            line = dict(zip(self.heads, row.labels, strict=True)) | {f"reported {self.measures[k]}": v for k, v in row.reported.items()}
            for group, stage in row.models.items():
                found = [measures(store, case, where, stage) for case in done]
                for key, label in self.measures.items():
                    values = [m[key] for m in found if key in m]
                    line[f"{group} {label}"] = statistics.fmean(values) if values else None
                    line[f"{group} {label} spread"] = statistics.stdev(values) if len(values) > 1 else None
            waiting = [state for state in states if state != "done"]
            table.append(line | {"seeds": len(done), "state": ", ".join(f"{waiting.count(s)} {s}" for s in dict.fromkeys(waiting))})
        first = [*self.heads, *(f"reported {label}" for label in self.measures.values())]
        frame = pd.DataFrame(table)
        return frame[[*(c for c in first if c in frame), *(c for c in frame if c not in first)]]

    def _stages(self, row: Row) -> list[str]:
        """The stages that a row needs, each once."""
        judged = list(dict.fromkeys(row.models.values()))
        return judged + [s.replace("evaluate_", "kl_") for s in judged if "kl" in self.measures and s not in ("evaluate_clean", "evaluate_retrain")]

    def _state(self, store: Store, case: CaseSettings, where: Compute, row: Row) -> str:
        found = [standing(store, case, where, until=stage)[0] for stage in self._stages(row)]
        return next((state for state in found if state != "done"), "done")

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, mean ± spread, a dash for what is not reported or not measured."""
        groups = [g for g in ("reported", *self.groups) if any(c.startswith(f"{g} ") for c in frame)]
        columns = [(g, m) for g in groups for m in self.measures.values() if f"{g} {m}" in frame]
        heads = [*self.heads, *(f"{g}: {m}" for g, m in columns), "seeds"]
        cells = []
        for _, row in frame.iterrows():
            values = [cell(row[f"{g} {m}"], row.get(f"{g} {m} spread")) for g, m in columns]
            cells.append([*(str(row[h]) for h in self.heads), *values, f"{row['seeds']}" + (f" ({row['state']})" if row["state"] else "")])
        return heads, cells

    def markdown(self, frame: pd.DataFrame) -> str:
        """The table as Markdown, with its title and source."""
        return as_markdown(f"{self.title}. {self.source}", *self.lines(frame))

    def write(self, frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
        """Write NAME.md and NAME.csv into a folder, each in one step."""
        return write(folder, name, {"md": self.markdown(frame) + "\n", "csv": frame.to_csv(index=False)})


def check(option: str, asked: Collection[str], known: Collection[str]) -> None:
    """Refuse names that a table does not have.

    Raises:
        BadInput: there is such a name.
    """
    if unknown := [name for name in asked if name not in known]:
        raise BadInput(f"{option}: this table has no {', '.join(map(repr, unknown))}; expected some of: {', '.join(known) or 'none, it has one'}")


def measures(store: Store, case: CaseSettings, where: Compute, judged: str) -> dict[str, float]:
    """What a stage that is done has measured of a model: CA, ASR, RA, target recall; KL to the oracle, if it is there; the seconds of
    training, of the defence, and both.

    Raises:
        DamagedArtefact: the result on disk is not what was written.
    """
    names = every_key(case, where)
    found = dict(store.open(names[judged])["measures"])
    if kl := store.find(names.get(judged.replace("evaluate_", "kl_"), "")):
        found |= kl["measures"]
    defense = DEFENSES.get(JUDGED.get(judged, ""))
    trained = defense.model if defense and defense.trains else "poison"
    took = {s.name: store.open(names[s.name]).manifest["seconds"] for s in upto(judged) if s.role == "defender" or s.name == trained}
    training = took.pop(trained, 0.0)
    spent = sum(took.values()) if defense else 0.0
    return found | {"training": training, "defence": spent, "total": training + spent}


def cell(mean: float | None, spread: float | None = None, digits: int = 2) -> str:
    """
    >>> cell(1.5), cell(1.5, 0.25), cell(0.98765, digits=3), cell(None)
    ('1.50', '1.50 ± 0.25', '0.988', '-')
    """
    if mean is None or pd.isna(mean):
        return "-"
    return f"{mean:.{digits}f}" if spread is None or pd.isna(spread) else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def as_markdown(said: str, heads: list[str], cells: list[list[str]]) -> str:
    """A Markdown table under a paragraph."""
    rows = [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *cells)]
    return "\n".join([said, "", *rows])


def write(folder: Path, name: str, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write a file NAME.ENDING for each ending and its content into a folder, each in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        whole = content.encode() if isinstance(content, str) else content
        replace_file(path, lambda temporary, whole=whole: temporary.write_bytes(whole))
    return paths
