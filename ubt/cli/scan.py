"""The command that scans a model alone: `python -m ubt scan`."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ubt.cases.artifact import Artefact
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, QuickGelu, changes, long_work
from ubt.cli.console import cell, err, figures_table, out, progress_of, say
from ubt.cli.results import UNTOLD
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.core.run import Compute, Progress, compute
from ubt.defenses.token_unlearning.health import CANNOT_TELL, POISONED

FIRST = 8
"""Classes that are printed."""


def scan(
    model: Annotated[str, Argument(help="A file, a folder, hf-hub:ORG/NAME, open_clip's NAME/TAG, or case:CASE.")],
    reference: Annotated[str, Option(help="A clean model to compare with, in the same ways; or shipped.")] = "",
    images: Annotated[
        str, Option(help="Clean images: a folder, or any source that `data labels` or `data pairs` reads. Else scenes.")
    ] = "",
    classes: Annotated[
        str, Option(help="Names of classes: a file with one a line, or separated by commas. Else the images' own.")
    ] = "",
    architecture: Annotated[
        str, Option(help="Open_clip's name of the model's architecture, for weights without a configuration.")
    ] = "",
    quick_gelu: QuickGelu = None,
    folder: Annotated[Path | None, Option("--out", help="Folder for scan.json, trigger.png and scan.html.")] = None,
    pairs: Annotated[
        Path | None,
        Option(help="Pairs to look for the trigger in: pairs.csv in --out, those drawn to the target most first."),
    ] = None,
    purified: Annotated[
        Path | None,
        Option(help="Folder for the model without its trigger, if it is judged poisoned; plain open_clip opens it."),
    ] = None,
    change: Annotated[
        list[str] | None, Option("--set", help="A setting of the scan, as name=value: images, masked.steps, …")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Scan a model alone: is there a trigger at all, and for which class? Clean images are enough; no training data is
    needed.
    """
    from ubt.workflows import scan as scans
    from ubt.workflows.audit import check_folders
    from ubt.workflows.ingest import import_pairs

    if pairs is not None and not (folder and reference):
        raise BadInput(
            "--pairs: expected a folder for pairs.csv (--out) and a clean model to compare with (--reference) too"
        )
    check_folders(folder, purified)
    store, where = Store(cache), compute(device, precision)
    settings = scans.ScanSettings().with_values(changes(change))
    wanted = scans.prepare(store, model, reference, images, classes, settings, architecture, quick_gelu)
    imported = "" if pairs is None else import_pairs(store, pairs)

    def work(progress: Progress) -> dict:
        key = scans.scan(store, wanted, where, progress)
        return {"key": key, "seconds": store.open(key)["about"]["seconds"]}

    found = store.open(long_work("scan", work)["key"])
    _print(found)
    if folder is not None:
        from ubt.reports.scan_report import write

        say(f"written to {', '.join(map(str, write(found, folder)))}", soft_wrap=True)
    if imported and folder is not None:
        _rank(store, found, imported, folder, where)
    if purified is not None:
        _purify(store, found, where, purified)
    if found["verdict"]["verdict"] == CANNOT_TELL:
        raise typer.Exit(UNTOLD)


def _rank(store: Store, found: Artefact, pairs: str, folder: Path, where: Compute) -> None:
    from ubt.pairs.export import as_csv
    from ubt.workflows.scanned_pairs import ranked

    if found["verdict"]["target"] is None:
        err.print("no class gives way, so there is no target to rank pairs by", highlight=False)
        return
    with progress_of("pairs") as progress:
        table, left_out = ranked(store, found, pairs, where, progress)
    at = folder / "pairs.csv"
    replace_file(at, lambda path: path.write_bytes(as_csv(table)))
    unread = f"; {left_out:,} whose image cannot be read are left out" if left_out else ""
    say(f"{len(table):,} pairs, those drawn to the target most first, written to {at}{unread}", soft_wrap=True)


def _purify(store: Store, found: Artefact, where: Compute, folder: Path) -> None:
    from ubt.workflows import purify_scanned
    from ubt.workflows.export_model import opening_line, write_model

    if (said := found["verdict"]["verdict"]) != POISONED:
        err.print(f"the verdict is {said!r}, so there is no purified model to write", highlight=False)
        return

    def work(progress: Progress) -> dict:
        key = purify_scanned.make(store, found.path.name, where, progress=progress)
        return {"key": key, "seconds": store.open(key)["card"]["without_its_data"]["seconds"]}

    made = store.open(long_work("purify", work)["key"])
    write_model(made["model"], made["card"], folder)
    done = made["card"]["without_its_data"]
    say(
        f"{len(done['rounds'])} rounds; of the clean images that it was surest of {done['agreement']:.1f} % keep their"
        f" class\n{opening_line(folder)}",
        soft_wrap=True,
    )


def _print(found: Artefact) -> None:
    verdict, method = found["verdict"], found["verdict"]["method"]
    compared = f"{method} reference asr" in found["classes"]
    columns = ("score", "ASR, %", *(("on the reference, %",) if compared else ()), "size, % of the image")
    table = figures_table("classes that give way most easily", *columns)
    for _, row in found["classes"].sort_values("score", ascending=False).head(FIRST).iterrows():
        size = row[f"{method} size"]
        table.add_row(
            cell(row["name"]),
            f"{row['score']:.1f}",
            f"{row[f'{method} asr']:.1f}",
            *((f"{row[f'{method} reference asr']:.1f}",) if compared else ()),
            f"{100 * size:.1f}" if size == size else "-",
        )
    out.print(table)
    say(f"verdict: {verdict['verdict']}: {verdict['reason']}", soft_wrap=True)
    say(found["about"]["limits"], soft_wrap=True)
