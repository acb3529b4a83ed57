"""What `measured.md` shows: which commands made each of its tables, on what, and whether a table that was made again is
the same.

`ubt/docs/measured/manifest.json` lists them in the order in which `python -m ubt reproduce` makes them again.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ubt.core.errors import BadInput
from ubt.core.files import file_digest, read_json, replace_file
from ubt.reports import documents
from ubt.reports.paper import cells
from ubt.reports.paper.table import VALUES

LEVEL, UNLIKELY, FLOOR, IMAGE, FAR = 0.95, 0.01, 0.002, 0.03, 5.0
"""Of the interval around a difference of two means; how unlikely it has to be that so many figures lie outside of
theirs, or one so far outside, for the tables to count as different; the least spread, as a share of the figure, and of
percent about one test image; and by how many points a percent of one seed may differ (of other figures by a tenth).
"""
PERCENT = re.compile(r"\b(CA|ASR|RA|recall|precision|AUROC|%)")
SPREAD = " spread"
TIMED = re.compile(r"\bseconds\b|, s\b")
"""Columns of seconds: they are of one machine and of what else it did."""


@dataclass(frozen=True)
class Made:
    """A table: its `name` (that of its CSV), the `commands` that make it, one after another, and what those `need`
    that is not everywhere; of the CSV in the documents, if there is one, its SHA-256 and when, with which version and
    on which machine it was made.
    """

    name: str
    commands: tuple[str, ...]
    needs: str = ""
    sha256: str = ""
    made: str = ""
    version: str = ""
    machine: str = ""

    @property
    def seeds(self) -> int:
        """How many seeds the first command has."""
        found = re.search(r"--seeds[ =](\d+)", self.commands[0])
        return int(found[1]) if found else 1

    @property
    def origin(self) -> str:
        """Where its figures come from, as a sentence of Markdown."""
        commands = ", ".join(f"`python -m ubt {c}`" for c in self.commands)
        on = [part for part in (f"version {self.version}" if self.version else "", self.machine, self.made) if part]
        return f"{commands}: {'; '.join(on)}."


def folder() -> Path:
    """Where the CSVs and the manifest lie."""
    return documents.FOLDER / "measured"


def entries() -> list[Made]:
    """Every table, in the order in which they are made again.

    Raises:
        BadInput: the manifest is damaged.
    """
    path = folder() / "manifest.json"
    try:
        if not isinstance(found := read_json(path), list):
            raise TypeError(type(found).__name__)
        return [Made(**entry | {"commands": tuple(entry["commands"])}) for entry in found]
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise BadInput(f"{path}: expected a list of tables, got something else ({e})") from None


def documented(name: str, like: pd.DataFrame, labels: Iterable[str]) -> tuple[pd.DataFrame, str] | None:
    """The rows of `like`, of which nothing is measured, with the figures that the table `name` has in the documents for
    rows of the same `labels` (columns of both), and where those come from; None if it has none.
    """
    entry, of = next((e for e in entries() if e.name == name and e.sha256), None), list(labels)
    if entry is None:
        return None
    kept = pd.read_csv(folder() / f"{name}.csv", dtype=dict.fromkeys(of, str))
    columns = list(dict.fromkeys([*like.columns, *(c for c in kept if c.endswith(VALUES))]))
    kept = kept.reindex(columns=columns)
    found = like[of].merge(kept.astype({"state": object}).fillna({"state": ""}), how="left", on=of)
    there = found["seeds"].notna()
    found = found.combine_first(like)[columns].astype({"seeds": int})
    return (found, entry.origin) if there.any() else None


def accept(entry: Made, csv: Path, made: str, version: str, machine: str) -> None:
    """Put a table that was made again, and its cells, into the documents in place of those that are there; a table with
    cells is of the machines that they were measured on.
    """
    replace_file(folder() / f"{entry.name}.csv", lambda path: path.write_bytes(csv.read_bytes()))
    if (each := csv.with_name(f"{cells.beside(entry.name)}.csv")).exists():
        replace_file(folder() / each.name, lambda path: path.write_bytes(each.read_bytes()))
        where = machine.partition(",")[2]
        machine = f"{' or '.join(dict.fromkeys(cells.read(each)[cells.MACHINE]))},{where}"
    new = replace(entry, sha256=file_digest(csv), made=made, version=version, machine=machine)
    rest = [new if e.name == entry.name else e for e in entries()]
    text = json.dumps([{k: v for k, v in asdict(e).items() if v} for e in rest], indent=1, ensure_ascii=False) + "\n"
    replace_file(folder() / "manifest.json", lambda path: path.write_text(text, encoding="utf-8"))


@dataclass(frozen=True)
class Compared:
    """A table made again beside the one in the documents. `same`: to the digit, seconds left aside; `figures`: how many
    have an interval; `outside`: those that lie outside of it, in words; `least`: how likely the one that is furthest
    out is by chance; `untold`: those of one seed, and so without an interval, that differ, in words; `changed`: what
    else differs, or is of one seed and far off.
    """

    same: bool
    figures: int = 0
    outside: tuple[str, ...] = ()
    least: float = 1.0
    untold: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether the tables say the same: nothing but figures differs, no more of them lie outside of their 95 %
        interval than chance would have it, and none further than it would have one of so many. Rows that share a model
        count as if they did not, so that the chance is somewhat larger than `UNLIKELY`.
        """
        likely = stats.binom.sf(len(self.outside) - 1, self.figures, 1 - LEVEL) if self.outside else 1.0
        return self.same or (not self.changed and min(likely, self.least * max(1, self.figures)) >= UNLIKELY)


def compare(before: Path, after: Path) -> Compared:
    """Compare two CSVs of one table. A figure with a spread lies inside where its two means differ by less than the
    95 % t interval of their difference, with the spread of both, allows. Columns of seconds are left aside, and those
    of the values that a mean is of.
    """
    left_aside = lambda column: TIMED.search(column) or column.endswith(VALUES)  # noqa: E731
    old, new = (_means(table[[c for c in table if not left_aside(c)]]) for table in map(pd.read_csv, (before, after)))
    if list(old.columns) != list(new.columns):
        return Compared(False, changed=(f"columns: {', '.join(set(old.columns) ^ set(new.columns)) or 'their order'}",))
    if _equal(old, new):
        return Compared(same=True)
    measured = [c for c in old.columns if c + SPREAD in old.columns]
    of = measured + [c + SPREAD for c in measured]
    figures = [c for c in old.columns if c not in of and old[c].dtype.kind == new[c].dtype.kind == "f"]
    names = [c for c in old.columns if c not in of and c not in figures]
    if len(old) != len(new) or not _equal(old[names], new[names]):
        return Compared(False, changed=tuple(_rows_changed(old[names], new[names])))
    said = lambda c, i: f"{_row(old[names], i)}: {c} {old[c][i]:g}, now {new[c][i]:g}"  # noqa: E731
    changed = [said(c, i) for c in figures for i in _apart(old[c], new[c])]
    chances, outside, untold = [1.0], [], []
    for c in measured:
        likely, apart = _likely(old, new, c), (old[c] - new[c]).abs()
        chances += likely.dropna().tolist()
        outside += [said(c, i) for i in np.flatnonzero(likely < 1 - LEVEL)]
        untold += [said(c, i) for i in np.flatnonzero(likely.isna() & (apart > 0))]
        most = FAR if PERCENT.search(c) else 0.1 * old[c].abs()
        changed += [said(c, i) for i in np.flatnonzero(likely.isna() & (apart > most))]
        changed += [said(c, i) for i in np.flatnonzero(old[c].isna() != new[c].isna())]
    return Compared(False, len(chances) - 1, tuple(outside), min(chances), tuple(untold), tuple(changed))


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """A table of a row a seed as one of means, spreads and numbers of seeds; any other as it is."""
    if "seed" not in table:
        return table
    of = list(table.columns[: table.columns.get_loc("seed")])
    figures = [c for c in table.columns if table[c].dtype.kind in "fb"]
    groups = table.astype(dict.fromkeys(figures, float)).groupby(of, sort=False)
    spread = groups[figures].std().add_suffix(SPREAD)
    return pd.concat([groups[figures].mean(), spread, groups.size().rename("seeds")], axis=1).reset_index()


def _likely(old: pd.DataFrame, new: pd.DataFrame, column: str) -> pd.Series:
    """How likely two means of as many seeds differ by as much and more, by a t test; NaN where there is no spread."""
    seeds = old["seeds"].clip(lower=2) if "seeds" in old else pd.Series(2, old.index)
    least = np.maximum(
        FLOOR * np.maximum(old[column].abs(), new[column].abs()), IMAGE if PERCENT.search(column) else 0.0
    )
    of = [np.maximum(table[column + SPREAD], least).where(table[column + SPREAD].notna()) for table in (old, new)]
    apart = (old[column] - new[column]).abs()
    t = (apart / np.sqrt((of[0] ** 2 + of[1] ** 2) / seeds)).mask((apart == 0) & (of[0] + of[1]).notna(), 0.0)
    return pd.Series(2 * stats.t.sf(t, 2 * seeds - 2), old.index)


def _equal(old: pd.DataFrame, new: pd.DataFrame) -> bool:
    return old.astype(str).equals(new.astype(str))


def _apart(old: pd.Series, new: pd.Series) -> Iterable[int]:
    return np.flatnonzero(~np.isclose(old, new, rtol=0, atol=1e-9, equal_nan=True))


def _row(names: pd.DataFrame, i: int) -> str:
    return ", ".join(str(v) for v in names.iloc[i] if isinstance(v, str) and v)


def _rows_changed(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    was, now = ({_row(frame, i) for i in range(len(frame))} for frame in (old, new))
    gone, come = was - now, now - was
    return [f"no longer: {r}" for r in sorted(gone)] + [f"new: {r}" for r in sorted(come)] or ["what its rows are of"]
