"""The part of the command line for the paper's own scale: the size of D, its tables, the dry run."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from ubt.cases.presets import CC3M, POISONS
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.console import err, say
from ubt.core.errors import BadInput, Cancelled
from ubt.core.run import Compute

OWN = ("own.pairs", "own.test", "own.reference")
ROOM = 8
"""Gigabytes that a dry run writes, and deletes again."""


def sized(preset: str, pairs: int, store: Store, sources: Mapping[str, Any]) -> int:
    """The size of D that a preset's steps are counted for, 0 for its own: as asked for; of pairs of one's own the
    paper's, or all there are; of scenes the default.
    """
    if preset != "paper" or pairs:
        return pairs if preset == "paper" else 0
    return (
        min(CC3M + POISONS, store.imported(sources["own.pairs"])["about"]["kept"])
        if sources
        else CaseSettings().data.pairs
    )


def at_scale(tables: Mapping[str, Any], number: str, preset: str, changes: Mapping[str, str]) -> Mapping[str, Any]:
    """The tables, the one that is asked for with cases of a preset.

    Raises:
        BadInput: there is no such preset, the table's cases are fixed, or it is not said on whose pairs.
    """
    if preset not in ("demo", "paper"):
        raise BadInput(f"--preset: expected demo or paper, got {preset!r}")
    if preset == "demo" or number not in tables:
        return tables
    if lacking := [name for name in OWN if name not in changes]:
        raise BadInput(
            "--preset paper: expected pairs, labelled images and a clean model of your own, got no --set"
            f" {lacking[0]}=...; see the README"
        )
    return {**tables, number: tables[number].at_papers_scale()}


def dry_run(
    preset: str, layout: str, given: Mapping[str, str], where: Compute, cache: Path, cancelled: Callable[[], bool]
) -> None:
    """Say every step of a dry run as it is done, and then what a real run needs.

    Raises:
        BadInput: the preset has none, or the disk has no room for it.
    """
    from ubt.workflows.paper_dry_run import dry_run as run
    from ubt.workflows.paper_dry_run import needs

    if preset != "paper":
        raise BadInput(
            f"--dry-run: expected --preset paper, whose steps it tries, got {preset}; the preset demo runs in minutes"
        )
    store = Store(cache)
    root = store.root / "work" / "dry-run"
    with store.lock("dry-run", wait=0):
        if (free := shutil.disk_usage(cache).free / 1e9) < ROOM:
            raise BadInput(f"--dry-run: expected {ROOM} GB of room in {cache}, got {free:.1f}; choose another --cache")
        try:
            proved = run(
                root, layout, where, lambda line: say(line, soft_wrap=True), changes=given, cancelled=cancelled
            )
        except (Cancelled, KeyboardInterrupt):
            err.print("cancelled; a dry run starts over", markup=False)
            raise typer.Exit(130) from None
    say(
        f"{len(proved)} stages of {len(dict.fromkeys(p.step for p in proved))} steps passed on {layout} pairs. A real"
        " run needs:"
    )
    for line in needs():
        say(f"- {line}", soft_wrap=True)
