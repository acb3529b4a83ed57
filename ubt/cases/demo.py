"""The built-in cases: finished on another machine, shipped small, read-only, so that every page has something to show
before anything is run.

They lie in `ubt/assets/demo` as in a cache, under names and keys that no run gives. `python -m ubt built-in` makes them
(`ubt.cli.make_demo`).
"""

from pathlib import Path

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.files import READY

MAIN = "ready-badnet"
"""The one that the app opens on where there is no other case."""
GRID = "whatif.parquet"
"""The file that *What if* shows, see `ubt.cli.make_demo.grid`."""


def names() -> list[str]:
    """The built-in cases that are there, the main one first."""
    found = sorted(path.parent.name for path in (READY / "cases").glob("*/case.json"))
    return sorted(found, key=lambda name: name != MAIN)


def artefact(store: Store, settings: CaseSettings, stage: str) -> str | None:
    """The name of what a stage of the built-in case of these settings gave; None where there is none."""
    records = (store.record(name) for name in names())
    return next((r.artefacts.get(stage) for r in records if CaseSettings.from_dict(r.settings) == settings), None)


def grid() -> Path | None:
    """Where the points of *What if* are, if they are there."""
    return READY / GRID if (READY / GRID).is_file() else None
