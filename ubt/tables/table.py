"""A table as data: its rows with what the paper reports, and which case and model measure them here."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from ubt.cases import CaseSettings, Store
from ubt.config import Compute, replace_file
from ubt.pipeline import standing

MEASURES = {"ca": "CA", "asr": "ASR", "target_recall": "target recall"}


@dataclass(frozen=True)
class Row:
    """A row: its labels, one a head of the table; what the paper reports, by measure, in percent; its case, by seed; and which of the
    case's models it measures, by column group."""

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
    until: ClassVar[None] = None
    """The stage that its cases are run up to: all of them."""

    def cases(self, seeds: int) -> list[CaseSettings]:
        """The cases that its cells need, seeds 0 to `seeds` - 1, each once, those of one seed together."""
        found: list[CaseSettings] = []
        for seed in range(seeds):
            for row in self.rows:
                if (case := row.case(seed)) not in found:
                    found.append(case)
        return found

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """One row a row, in percent: its labels; `reported MEASURE`; of each column group `GROUP MEASURE` (mean over the seeds measured)
        and `GROUP MEASURE spread` (standard deviation; missing below two seeds); `seeds` measured; `state` of what is not.
        A case that failed, was cancelled, or was made by an earlier version of a stage gives no figure.
        """
        known = {case: standing(store, case, where) for case in self.cases(seeds)}
        table = []
        for row in self.rows:
            mine = [known[row.case(seed)] for seed in range(seeds)]
            done = [record["metrics"] for state, record in mine if state == "done"]
            line = dict(zip(self.heads, row.labels, strict=True)) | {f"reported {MEASURES[k]}": v for k, v in row.reported.items()}
            for group, model in row.models.items():
                for key, label in MEASURES.items():
                    values = [m[model][key] for m in done]
                    line[f"{group} {label}"] = statistics.fmean(values) if values else None
                    line[f"{group} {label} spread"] = statistics.stdev(values) if len(values) > 1 else None
            waiting = [state for state, _ in mine if state != "done"]
            states = ", ".join(f"{waiting.count(s)} {s}" for s in dict.fromkeys(waiting))
            table.append(line | {"seeds": len(done), "state": states})
        first = [*self.heads, *(f"reported {MEASURES[k]}" for k in ("ca", "asr"))]
        frame = pd.DataFrame(table)
        return frame[[*(c for c in first if c in frame), *(c for c in frame if c not in first)]]

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, mean ± spread, a dash for what is not reported or not measured."""
        groups = [g for g in ("reported", *self.groups) if any(c.startswith(f"{g} ") for c in frame)]
        columns = [(g, m) for g in groups for m in MEASURES.values() if f"{g} {m}" in frame]
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


def write(folder: Path, name: str, contents: dict[str, str]) -> list[Path]:
    """Write a file NAME.ENDING for each ending and its text into a folder, each in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        replace_file(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
    return paths
