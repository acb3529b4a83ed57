"""The part of the command line that looks after the cache: `python -m ubt cases list | show | check | export | delete |
cancel | prune | migrate`.
"""

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from typer import Argument, Option

from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, present_name, stop_on_signal
from ubt.cli.console import Show, cell, out, progress_of, say
from ubt.cli.results import print_assumed, print_audit, print_metrics
from ubt.core.errors import UbtError
from ubt.defenses.token_unlearning.verdict import answer, judged_poisoned

cases_app = typer.Typer(
    help="List, show, check, export, delete and prune cases.", no_args_is_help=True, add_completion=False
)


@cases_app.command("list")
def list_cases(cache: CacheOption = CACHE) -> None:
    """All cases, newest first."""
    table = Table()
    for column in ("case", "state", "poisons", "CA before → ours", "ASR before → ours", "size, MB"):
        table.add_column(column)
    store = Store(cache)
    for name, record in store.cases().items():
        m, size = record.metrics or {}, f"{store.size(record) / 1e6:.0f}"
        if "estimates" in m:
            table.add_row(cell(name), record.state, f"verdict: {answer(m['verdict'])}", "", "", size)
            continue
        change = [f"{m['poisoned'][f]:.2f} → {m['purified'][f]:.2f}" for f in ("ca", "asr")] if m else ["", ""]
        table.add_row(cell(name), record.state, f"{_poisons(record):,}", *change, size)
    out.print(table)


def _poisons(record: CaseRecord) -> int:
    if not record.readable:
        return 0
    try:
        settings = CaseSettings.from_dict(record.settings)
    except UbtError:
        return 0
    if settings.own.audits:
        return 0
    return sum(p.poisons(settings.data.pairs) for p in settings.attacks)


@cases_app.command("show")
def show_case(name: str, cache: CacheOption = CACHE) -> None:
    """A case's figures and artefacts."""
    store = Store(cache)
    name = present_name(store, name)
    record = store.case(name)
    if "estimates" in (record.metrics or {}):
        from ubt.workflows.audit import flagged

        print_audit(record.metrics, len(flagged(store, record.artefacts)))
    elif record.metrics:
        print_metrics(record.metrics)
        _print_label_free(store, record)
    else:
        say(f"{name}: {record.state} {record.error}")
    with contextlib.suppress(UbtError):
        print_assumed(store, CaseSettings.from_dict(record.settings).own)
    for stage, key in record.artefacts.items():
        found = store.find(key)
        say(f"{stage:<20} {'missing' if found is None else f'{found.bytes / 1e6:8.1f} MB'}  {key}")


def _print_label_free(store: Store, record: CaseRecord) -> None:
    from ubt.evaluation.detection import label_free

    if not judged_poisoned(record.metrics["verdict"]):
        say("threshold without labels: none, for the model is not judged poisoned")
        return
    found = [
        (store.find(record.artefacts[s]), e)
        for s, e in (("score_overfit", "similarity"), ("split", "split"), ("attack", "truth"))
    ]
    if any(artefact is None for artefact, _ in found):
        return
    scores, split, truth = (artefact[entry] for artefact, entry in found)
    found = label_free(scores["similarity"].to_numpy(), split["suspicious"].to_numpy(), truth["poisoned"].to_numpy())
    if found is None or found["estimated"] is None:
        say("threshold without labels: none found")
        return
    estimated, precision, recall = (f"{100 * (found[k] or 0):.1f} %" for k in ("estimated", "precision", "recall"))
    say(
        f"threshold without labels: {found['threshold']:.2f} flags {found['flagged']} pairs, precision estimated"
        f" {estimated}, true {precision}; {recall} of the poisons of D_susp"
    )


@cases_app.command("check")
def check_cases(
    name: Annotated[str, Argument(help="A case; everything in the cache if none is named.")] = "",
    mend: Annotated[bool, Option("--mend", help="Set aside what is damaged, and make it again.")] = False,
    cache: CacheOption = CACHE,
) -> None:
    """Read every byte of what cases are made of and say what is damaged; leaves with 1 if something is and stays so."""
    from ubt.workflows import check

    store = Store(cache)
    name = present_name(store, name) if name else ""
    with progress_of("check") as progress:
        found, read = check.look(store, name, progress)
    for damage in found:
        cases = ", ".join(dict.fromkeys(case for case, _ in damage.cases))
        say(f"damaged: {damage.why}; {f'of {cases}' if cases else 'of no case on record'}", soft_wrap=True)
    say(f"{read / 1e6:,.0f} MB read, {len(found)} damaged")
    if not found:
        return
    if not mend:
        say(f"python -m ubt cases check {name} --mend sets these aside and makes them again".replace("  ", " "))
        raise typer.Exit(1)
    show = Show(len(found), cached=False)
    with show.bars:
        left = check.mend(store, found, show, stop_on_signal())
    for what, why in left.items():
        say(f"not made again: {what}; {why}", soft_wrap=True)
    if left:
        raise typer.Exit(1)
    say("all of it is set aside and made again")


@cases_app.command("export")
def export_pairs(
    name: str,
    file: Annotated[
        Path,
        Option(
            "--out",
            help="A file ending in .csv, .jsonl or .parquet; or a folder, which Hugging Face datasets opens, images"
            " included.",
        ),
    ],
    select: Annotated[str, Option(help="A query, as in the app; all pairs without one.")] = "",
    truth: Annotated[bool, Option("--truth", help="With the column poisoned, which a lab case knows.")] = False,
    cache: CacheOption = CACHE,
) -> None:
    """Write a case's pairs with every column: similarities, flags, labels, and where each image comes from."""
    from ubt.workflows.open_case import open_case

    say(f"{open_case(name, cache).export(file, select, truth):,} pairs written to {file}")


@cases_app.command("delete")
def delete_case(name: str, cache: CacheOption = CACHE) -> None:
    """Delete a case and the artefacts that no other case uses."""
    say(f"freed {Store(cache).delete(name) / 1e6:.0f} MB")


@cases_app.command("cancel")
def cancel_case(name: str, cache: CacheOption = CACHE) -> None:
    """Ask whoever runs a case, a job of the app or another terminal, to stop; what is finished is kept."""
    from ubt.workflows.jobs import cancel

    store = Store(cache)
    name = present_name(store, name)
    store.case(name)
    say(f"{name} {'stops at its next step' if cancel(store, name) else 'is not being run'}")


@cases_app.command("prune")
def prune_cases(cache: CacheOption = CACHE) -> None:
    """Delete artefacts that no case uses and what ended processes left."""
    say(f"freed {Store(cache).prune() / 1e6:.1f} MB")


@cases_app.command("migrate")
def migrate_cases(
    cache: CacheOption = CACHE,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be carried over, and write nothing.")] = False,
) -> None:
    """Carry labels, notes and views of the cases that the version before made over to this version."""
    from ubt.workflows.migrate import imported, migrate

    store = Store(cache)
    moved = migrate(store, dry_run)
    if moved:
        table = Table()
        for column in ("case before", "case now", "labels", "notes", "views", "skipped, because"):
            table.add_column(column, overflow="fold")
        for m in moved:
            table.add_row(cell(m.old), m.new, str(m.labels), str(m.notes), str(m.views), cell(m.skipped))
        out.print(table)
    skipped = [m.old for m in moved if m.skipped]
    say(
        f"{len(moved) - len(skipped)} cases {'would be ' if dry_run else ''}carried over, {len(skipped)} skipped;"
        f" {imported(store)} imports (pairs, labelled images, models) stay as they are.",
        soft_wrap=True,
    )
    if len(moved) > len(skipped) and not dry_run:
        say(
            "Their results are computed again when you run them (Run in the app). python -m ubt cases prune frees the"
            " space that the results of the version before take.",
            soft_wrap=True,
        )
    if skipped:
        raise typer.Exit(1)
