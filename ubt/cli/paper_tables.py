"""The commands that reproduce the papers' results: `python -m ubt table | figure | sweep`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, changes, long_work, run_missing
from ubt.cli.console import say
from ubt.cli.paper import at_scale
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.run import Compute, compute
from ubt.reports.paper import FIGURES, SWEEPS, TABLES, cells
from ubt.reports.paper.table import Sheet, write
from ubt.workflows.ingest import check_targets

SEEDS = "Seeds 0 to N - 1; those from 100 on are for tuning."


def table(
    number: Annotated[str, Argument(help=f"Which table of the UBT paper, or one of our own: {', '.join(TABLES)}.")],
    seeds: Annotated[int, Option(help=SEEDS, min=1, max=100)] = 3,
    attacks: Annotated[str, Option(help="Only these attacks, separated by commas.")] = "",
    defenses: Annotated[
        str, Option(help="Only these defences (or detectors, or strategies), separated by commas.")
    ] = "",
    preset: Annotated[
        str, Option(help="demo, or paper: tables 1 to 10 at the paper's own scale, with --set own.pairs and others.")
    ] = "demo",
    change: Annotated[
        list[str] | None,
        Option("--set", help="A setting of every case in it, as group.name=value (see ubt/docs/reference.md)."),
    ] = None,
    known: Annotated[
        Path | None,
        Option("--cells", help="Cells measured before, wherever (CSV); those of the same cases are not run again."),
    ] = None,
    folder: Annotated[
        Path | None, Option("--out", help="Also write it, and its cells, as Markdown and CSV into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """A table of the paper: reported figures beside measured ones. Cases that are there already are not run again."""
    changed = changes(change)
    found = _named("table", number, at_scale(TABLES, number, preset, changed))
    found = found.narrowed(_names(attacks), _names(defenses))
    found = found.varied(changed) if changed else found
    found = found.knowing(cells.read(known)) if known is not None else found
    store, where = Store(cache), compute(device, precision)
    _reproduce(found.prepared(store, where, seeds), seeds, folder, f"table-{number}", store, where)


def figure(
    number: Annotated[str, Argument(help=f"Which figure of the UBT paper: {', '.join(FIGURES)}.")],
    seed: Annotated[int, Option(help="The seed of its cases; those from 100 on are for tuning.", min=0, max=99)] = 0,
    folder: Annotated[
        Path | None, Option("--out", help="Also write it as PNG, SVG, HTML and CSV into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """A figure of the paper: how clean and poisoned pairs separate, or what carries a poison. Computes what is not
    there yet, and only as far as the figure needs.
    """
    found = _named("figure", number, FIGURES)
    _reproduce(found, seed, folder, f"figure-{number}", Store(cache), compute(device, precision))


def sweep(
    name: Annotated[str, Argument(help=f"Which sweep: {', '.join(SWEEPS)}.")],
    seeds: Annotated[int, Option(help=SEEDS, min=1, max=100)] = 1,
    attacks: Annotated[
        str, Option(help="These attacks of Table I, separated by commas, instead of the sweep's own.")
    ] = "",
    folder: Annotated[
        Path | None, Option("--out", help="Also write it as Markdown, CSV and HTML into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """What settings do: a case for every combination of their values. Computes what is not there yet, and only as far
    as it is measured.
    """
    found = _named("sweep", name, SWEEPS).narrowed(_names(attacks))
    _reproduce(found, seeds, folder, f"sweep-{name}", Store(cache), compute(device, precision))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise BadInput(f"unknown {kind} {name!r}; expected one of: {', '.join(known)}")
    return known[name]


def _reproduce(result: Any, seeds: int, folder: Path | None, file: str, store: Store, where: Compute) -> None:
    """Run what is missing of a table, a figure or a sweep, then print it and write it to `folder`, in files called
    `file`; `seeds`: how many, or for a figure which one.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise BadInput(f"--out: expected a folder, got {folder}")
    sheet = result if isinstance(result, Sheet) else None
    work = sheet.missing(where, seeds) if sheet else result.work(seeds)
    for case in {case for case, _ in work if isinstance(case, CaseSettings)}:
        check_targets(store, case)
    errors, ran = run_missing(store, where, work)
    kept = []
    try:
        for name, task in sheet.tasks(store, where, seeds) if sheet else ():
            ran += 1
            try:
                long_work(name, task)
            except Cancelled:
                raise
            except UbtError as e:
                errors[name] = str(e)
    finally:
        if sheet and folder is not None and (each := sheet.cells(store, where, seeds)) is not None:
            kept = write(folder, cells.beside(file), {"csv": each.to_csv(index=False)})
    frame = result.measured(store, where, seeds)
    print(result.markdown(frame))
    if folder is not None:
        written = ", ".join(map(str, [*result.write(frame, folder, file), *kept]))
        say(f"written to {written}")
    if errors:
        raise UbtError(
            f"{len(errors)} of {ran} cells failed and give no figure: "
            + "; ".join(f"{name}: {e}" for name, e in errors.items())
        )
