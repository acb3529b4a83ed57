"""The part of the command line for the analyst's own data and for audits: `python -m ubt data …`, `python -m ubt
audit`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer import Argument, Option

from ubt.cases.pipeline import Pipeline
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Changes, Device, Precision, QuickGelu, changes, long_work, stop_on_signal
from ubt.cli.console import Show, cell, err, out, progress_of, say
from ubt.cli.results import leave_with, print_assumed, print_audit
from ubt.core.errors import BadInput
from ubt.core.run import compute
from ubt.data.catalogue import SourceOptions
from ubt.data.formats import expected
from ubt.data.labelled import LabelledOptions
from ubt.defenses.token_unlearning.verdict import answer, judged_poisoned
from ubt.workflows import audit as audits
from ubt.workflows.ingest import check_targets, duplicates, import_labelled, import_pairs, lab_of, listed, write_pairs

data_app = typer.Typer(
    help="Import pairs and labelled images of your own; write a case's pairs for others to import.",
    no_args_is_help=True,
    add_completion=False,
)
Image = Annotated[str, Option(help="Column with the image's path or bytes; guessed if not named.")]
Caption = Annotated[str, Option(help="Column with the caption; guessed if not named.")]
Folder = Annotated[str, Option(help="Folder that the images' paths are relative to; the file's own if not named.")]


def _print_imported(store: Store, *keys: str) -> None:
    """What was read of each of what was imported, what was left out, and its name."""
    for key in filter(None, keys):
        about = store.imported(key)["about"]
        left_out = ", ".join(f"{n:,} {reason}" for reason, n in about["quarantined"].items())
        columns = ", ".join(f"{what}: {column}" for what, column in about["columns"].items() if column)
        beside = f" ({about['beside']:,} of them in no row)" if about.get("beside") else ""
        say(
            f"{about['kept']:,} of {about['read']:,} rows kept, from: {about['kind']} ({columns}); left out:"
            f" {left_out or 'none'}{beside}"
        )
        say(duplicates(about))
        say(key)


Decode = Annotated[
    bool, Option(help="Decode each image once now, to count broken and equal ones; else when a case takes it.")
]


@data_app.command("pairs")
def pairs(
    source: Annotated[Path, Argument(help=f"Where the pairs are: {expected()}.")],
    image: Image = "",
    caption: Caption = "",
    folder: Folder = "",
    limit: Annotated[int, Option(help="Rows to read; 0 reads all.", min=0)] = 0,
    decode: Decode = True,
    cache: CacheOption = CACHE,
) -> None:
    """Import pairs: broken rows are quarantined, images stay where they are."""
    store = Store(cache)
    with progress_of("pairs") as progress:
        options = SourceOptions(image=image, caption=caption, folder=folder, limit=limit, decode=decode)
        key = import_pairs(store, source, options, progress)
    _print_imported(store, key)


@data_app.command("labels")
def labels(
    source: Annotated[
        Path, Argument(help="The same kinds of sources, with labels; or a folder with a folder for each class.")
    ],
    image: Image = "",
    label: Annotated[str, Option(help="Column with the label; guessed if not named.")] = "",
    folder: Folder = "",
    decode: Decode = True,
    cache: CacheOption = CACHE,
) -> None:
    """Import labelled images, by which CA and ASR are measured."""
    store = Store(cache)
    with progress_of("labels") as progress:
        options = LabelledOptions(image=image, label=label, folder=folder, decode=decode)
        key = import_labelled(store, source, options, progress)
    _print_imported(store, key)


@data_app.command("list")
def show_list(cache: CacheOption = CACHE) -> None:
    """List what was imported: pairs, then labelled images, newest first."""
    table = Table("name", "from", "kind", "kept", "left out")
    for key, about in listed(Store(cache)).items():
        table.add_row(
            key, cell(about["path"]), about["kind"], f"{about['kept']:,}", f"{sum(about['quarantined'].values()):,}"
        )
    out.print(table)


@data_app.command("export")
def export(
    case: Annotated[str, Argument(help="A case whose D is made.")],
    file: Annotated[Path, Option("--out", help="The zip to write.")],
    cache: CacheOption = CACHE,
) -> None:
    """Write a case's D, triggers and all, as a zip of images and captions that says nothing of which pairs are
    poisoned.
    """
    store = Store(cache)
    with progress_of("export") as progress, store.explained():
        count = write_pairs(store, case, file, progress)
    say(f"{count:,} pairs written to {file}")


@data_app.command("reference")
def reference(
    source: Annotated[Path, Argument(help="Pairs, any source that `data pairs` reads.")],
    labels: Annotated[Path, Option(help="Labelled images to measure it on, any source that `data labels` reads.")],
    folder: Annotated[Path, Option("--out", help="Folder for the model and its card.")],
    change: Annotated[
        list[str] | None,
        Option("--set", help="A setting of the recipe, as name=value: size, patch, width, layers, epochs, …"),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Train a small clean reference on a part of your pairs, for lab cases on the other part; an interrupted run
    resumes.
    """
    from ubt.workflows.pretrain_pairs import OwnRecipe, pretrain

    store, recipe = Store(cache), OwnRecipe().with_values(changes(change))
    pairs, labelled = import_pairs(store, source), import_labelled(store, labels)
    card = long_work(
        "reference",
        lambda progress: pretrain(recipe, store, pairs, labelled, compute(device, precision), folder, progress),
    )
    say(
        f"CA {card['CA, percent']} % of {labels}; trained on {card['made_from']['images']:,} pairs, written to {folder}"
    )


def run_case(settings: CaseSettings, store: Store, where: Any, cancelled: Any) -> dict[str, Any]:
    """Run a case with its stages shown; returns its figures."""
    check_targets(store, settings)
    stages = composed(settings.own).case
    show = Show(len(stages))
    say(f"case {settings.name(where)} in {store.root} on {where}")
    print_assumed(store, settings.own)
    with show.bars:
        return Pipeline(store, where, watch=show, cancelled=cancelled).run(settings, stages).metrics


def audit(
    pairs: Annotated[Path, Option(help="The pairs the model was trained on: any source that `data pairs` reads.")],
    model: Annotated[
        str, Option(help="The model to audit: a file, a folder, hf-hub:ORG/NAME, or open_clip's NAME/TAG.")
    ],
    reference: Annotated[
        str, Option(help="A clean model, in the same ways (OpenAI's ViT-B/32 if none is named), or folds.")
    ] = audits.PUBLIC,
    labels: Annotated[
        Path | None, Option(help="Labelled images, if there are any, to measure CA before and after.")
    ] = None,
    architecture: Annotated[
        str, Option(help="Open_clip's name of the model's architecture, for weights without a configuration.")
    ] = "",
    folder: Annotated[
        Path | None, Option("--out", help="Folder for flagged.csv, quarantine.csv and audit.json.")
    ] = None,
    quick_gelu: QuickGelu = None,
    purified: Annotated[Path | None, Option(help="Folder for the purified model, which plain open_clip opens.")] = None,
    image: Image = "",
    caption: Caption = "",
    images: Annotated[str, Option(help="Folder that the images' paths are relative to.")] = "",
    seed: Annotated[int, Option(help="The one seed: the order of pairs, batches.")] = 0,
    change: Changes = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Audit a model and its pairs without ground truth: split, overfit, select, judge, flag, unlearn, and say what can
    be said.
    """
    audits.check_folders(folder, purified)
    store, where = Store(cache), compute(device, precision)
    with progress_of("import") as progress:
        options = SourceOptions(image=image, caption=caption, folder=images)
        more = {"seed": seed} | changes(change)
        settings = audits.prepare(
            store, pairs, model, reference, labels, more, options, architecture, progress, quick_gelu
        )
    _print_imported(store, settings.own.pairs, settings.own.test)
    metrics = run_case(settings, store, where, stop_on_signal())
    name = settings.name(where)
    print_audit(metrics, len(audits.flagged(store, store.case(name).artefacts)))
    print_assumed(store, settings.own)
    if folder is not None:
        written = ", ".join(str(p) for p in audits.write(store, name, metrics, folder))
        say(f"written to {written}")
    if purified is not None:
        _export_purified(store, name, metrics, purified)
    leave_with(metrics["verdict"])


def _export_purified(store: Store, name: str, metrics: dict[str, Any], folder: Path) -> None:
    from ubt.workflows.export_model import export, opening_line

    if not judged_poisoned(metrics["verdict"]):
        said = answer(metrics["verdict"])
        err.print(f"the verdict is {said!r}, so there is no purified model to write", highlight=False)
        return
    say(opening_line(export(store, name, "unlearn", folder)))


def named_sources(own: Path | None, labels: Path | None, reference: str, spare: float, store: Store) -> dict[str, Any]:
    """The settings of a lab case on pairs of one's own; empty if none are named.

    Raises:
        BadInput: only some of what it needs is named.
    """
    named: Sequence[Any] = (own, labels, reference)
    if not any(named):
        return {}
    if not all(named):
        raise BadInput(
            "--own: expected pairs of your own together with --labels (to measure CA and ASR) and --reference (a clean"
            " model to poison)"
        )
    from ubt.workflows.import_model import import_model

    pairs, labelled = import_pairs(store, own), import_labelled(store, labels)
    _print_imported(store, pairs, labelled)
    return lab_of(store, pairs, labelled, import_model(store, reference, "", "clean"), spare)
