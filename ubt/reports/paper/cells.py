"""Cells of a table, kept one by one: a table of many hours is made in parts, on whatever machines, and means, spreads
and paired differences are made of its cells.

A cell's identity is a digest of the names of all results that it was read from, and so of their settings, the stages'
versions, device, precision and threads.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute

IDENTITY, MACHINE, MADE = "cell", "machine", "made"
COLUMNS = (IDENTITY, MACHINE, MADE)
"""What every cell has beside its row, its seed and its measures: its identity, and where and when it was measured."""


def identity(results: Sequence[str]) -> str:
    """The identity of a cell that was read from these results."""
    return digest(list(results))


def stamped(cell: str, where: Compute) -> dict[str, str]:
    """The columns of a cell that is measured here and now."""
    return {IDENTITY: cell, MACHINE: where.processor, MADE: datetime.date.today().isoformat()}


def by_identity(cells: pd.DataFrame) -> dict[str, Mapping[str, Any]]:
    """Cells by their identity, each without the measures that it does not have."""
    return {row[IDENTITY]: {k: v for k, v in row.items() if pd.notna(v)} for row in cells.to_dict("records")}


def read(path: Path) -> pd.DataFrame:
    """Cells from a CSV.

    Raises:
        BadInput: it is none of cells.
    """
    try:
        found = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise BadInput(f"{path}: expected a CSV of cells, got none that can be read ({e})") from None
    if absent := [column for column in (*COLUMNS, "seed") if column not in found]:
        raise BadInput(f"{path}: expected a CSV of cells, got one without the column {absent[0]!r}")
    return found


def beside(table: str) -> str:
    """What the file of a table's cells is called, without its ending.

    >>> beside("table-attacks")
    'cells-attacks'
    """
    return f"cells-{table.removeprefix('table-')}"
