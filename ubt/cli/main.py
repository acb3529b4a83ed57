"""The command line: `python -m ubt run | audit | report | measure | table | figure | sweep | cases | data | models |
picture | bench | …`.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ubt.attacks import ATTACKS
from ubt.cases.pipeline import every_key, run_each, standing, upto, write_metrics
from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.bench import bench
from ubt.cli.cases import cases_app
from ubt.cli.common import CACHE, CacheOption, Device, Precision, changes, long_work, stop_on_signal
from ubt.cli.console import Show, check_writable, err, out, print_metrics
from ubt.cli.data import audit, data_app, named_sources, run_case
from ubt.cli.demo import ready
from ubt.cli.measure import measure
from ubt.cli.models import models_app
from ubt.cli.paper import at_scale, dry_run, sized
from ubt.cli.probe import probe
from ubt.cli.report import report
from ubt.clip import distributed
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import disk_full
from ubt.core.run import Compute, compute
from ubt.reports.paper import FIGURES, SWEEPS, TABLES
from ubt.workflows.audit import PUBLIC
from ubt.workflows.ingest import check_targets

app = typer.Typer(
    help="UBT Inspector: backdoor separation and token-level unlearning for CLIP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cases_app, name="cases")
app.add_typer(data_app, name="data")
app.command("audit")(audit)
app.command("measure")(measure)
app.command("probe")(probe)
app.command("ready")(ready)
app.command("report")(report)
app.command("bench")(bench)
app.add_typer(models_app, name="models")


def main() -> None:
    """Run the command line; errors a user can mend leave as one message, exit code 2 for wrong arguments and paths,
    else 1.
    """
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    try:
        distributed.join(sys.argv[1] if len(sys.argv) > 1 else "")
        app() if distributed.is_first() else distributed.serve()
    except BadInput as e:
        err.print(f"error: {e}", markup=False, soft_wrap=True)
        sys.exit(2)
    except (Cancelled, KeyboardInterrupt) as e:
        if gone := distributed.lost():
            err.print(f"error: {distributed.farewell(gone)}", markup=False, soft_wrap=True)
            sys.exit(1)
        err.print(f"{e or 'interrupted'}; the same command goes on from here", markup=False, soft_wrap=True)
        sys.exit(130)
    except (UbtError, OSError) as e:
        advice = (
            "; free some space (python -m ubt cases prune) or choose another --cache"
            if isinstance(e, OSError) and disk_full(e)
            else ""
        )
        err.print(f"error: {e}{advice}", markup=False, soft_wrap=True)
        sys.exit(1)
    finally:
        distributed.leave()


@app.command()
def run(
    attack: Annotated[str, typer.Option(help=f"Trigger: {', '.join(ATTACKS)}.")] = "badnet",
    profile: Annotated[
        str,
        typer.Option(help="Named variant of the trigger (see ubt/docs/reference.md); the preset's if none is named."),
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(help='A further attack in the same data, as "NAME target=LABEL rate=SHARE setting=value".'),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Share of D that is poisoned; 0 poisons nothing.")] = None,
    seed: Annotated[int, typer.Option(help="The one seed: data, poison, batches.")] = 0,
    preset: Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(PRESETS)}.")] = "demo",
    target: Annotated[str | None, typer.Option(help="Target label.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of D that becomes D_susp.")] = None,
    k: Annotated[int | None, typer.Option(help="Size of D_topk; 0 means sqrt(0.01 * |D|).")] = None,
    pairs: Annotated[int | None, typer.Option(help="Size of D.")] = None,
    own: Annotated[
        Path | None,
        typer.Option(help="Poison pairs of your own instead of scenes: any source that `data pairs` reads."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labelled images beside them, any source that `data labels` reads.")
    ] = None,
    reference: Annotated[str, typer.Option(help="The clean model that is poisoned, as `models import` reads it.")] = "",
    spare: Annotated[
        float, typer.Option(help="Share of the pairs that this model was trained on, which the case does not take.")
    ] = 0.0,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="With --preset paper: every step at toy size, on generated data, and what a real run needs.",
        ),
    ] = False,
    layout: Annotated[str, typer.Option(help="Of the dry run's pairs: webdataset or csv.")] = "webdataset",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as group.name=value (see ubt/docs/reference.md)."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
    metrics_file: Annotated[Path | None, typer.Option("--out", help="Write the figures to this JSON file.")] = None,
) -> None:
    """Run a whole lab case: draw data, poison it, train, split, overfit, select, judge, mask, unlearn, measure."""
    if dry:
        return dry_run(preset, layout, changes(change or []), compute(device, precision), cache, stop_on_signal())
    named = {
        "attack.also": ";".join(also) if also else None,
        "attack.rate": rate,
        "attack.target": target,
        "split.fraction": fraction,
        "select.k": k,
        "data.pairs": pairs,
        "seed": seed,
    }
    store, where = Store(cache), compute(device, precision)
    if metrics_file is not None:
        check_writable(metrics_file)
    if preset == "paper" and own:
        labels, reference = labels or Path("imagenet"), reference or PUBLIC
    sources = named_sources(own, labels, reference, spare, store)
    size = sized(preset, pairs or 0, store, sources)
    settings = CaseSettings.preset(preset, attack.replace("-", "_"), profile, size).with_values(
        {n: v for n, v in named.items() if v is not None} | changes(change or []) | sources
    )
    metrics = run_case(settings, store, where, stop_on_signal())
    if metrics_file is not None:
        write_metrics(metrics, metrics_file)
    print_metrics(metrics)


@app.command()
def pretrain(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the model and its card.")] = Path(
        "cache/scenes-clip"
    ),
    scenes: Annotated[int | None, typer.Option(help="Scenes to train on.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over them.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of scenes, weights and batches.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train the clean reference model on scenes, as the shipped one was; an interrupted run resumes."""
    from ubt.workflows.pretrain_scenes import PretrainSettings
    from ubt.workflows.pretrain_scenes import pretrain as train

    settings = PretrainSettings(
        **{n: v for n, v in {"scenes": scenes, "epochs": epochs, "seed": seed}.items() if v is not None}
    )
    card = long_work("pretrain", lambda progress: train(settings, compute(device, precision), folder, progress))
    out.print(f"CA on held-out scenes {card['CA, percent']} %; written to {folder}", highlight=False)


@app.command("train-stegastamp")
def train_stegastamp(
    folder: Annotated[Path, typer.Option("--out", help="Folder for the encoder and its card.")] = Path(
        "cache/stegastamp"
    ),
    size: Annotated[int | None, typer.Option(help="Height and width of the images in pixels, a multiple of 8.")] = None,
    bits: Annotated[int | None, typer.Option(help="Bits hidden in an image.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Scenes to train on.")] = None,
    image_weight: Annotated[
        float | None, typer.Option(help="Weight of the residual against the bits: more makes it fainter.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of scenes, weights, bits and batches.")] = None,
    device: Device = "auto",
) -> None:
    """Train the encoder that SSBA's trigger needs, as the shipped one was; an interrupted run resumes."""
    from ubt.attacks.stegastamp import StegaStampSettings, train

    given = {"size": size, "bits": bits, "steps": steps, "scenes": scenes, "image_weight": image_weight, "seed": seed}
    settings = StegaStampSettings(**{n: v for n, v in given.items() if v is not None})
    card = long_work("stegastamp", lambda progress: train(settings, compute(device, "fp32"), folder, progress))
    out.print(
        f"PSNR {card['PSNR, dB']} dB, {card['bit accuracy, percent']} % of the bits read on held-out scenes; written to"
        f" {folder}",
        highlight=False,
    )


@app.command("table")
def make_table(
    number: Annotated[
        str, typer.Argument(help=f"Which table of the UBT paper, or one of our own: {', '.join(TABLES)}.")
    ],
    seeds: Annotated[int, typer.Option(help="Seeds 0 to N - 1; those from 100 on are for tuning.", min=1, max=100)] = 3,
    attacks: Annotated[str, typer.Option(help="Of these attacks alone, parted by commas.")] = "",
    defenses: Annotated[
        str, typer.Option(help="Of these defences (or detectors, or strategies) alone, parted by commas.")
    ] = "",
    preset: Annotated[
        str,
        typer.Option(help="demo, or paper: tables 1 to 10 at the paper's own scale, with --set own.pairs and others."),
    ] = "demo",
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every case in it, as group.name=value (see ubt/docs/reference.md)."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Also write it as Markdown and CSV into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """A table of the paper: reported figures beside measured ones. Cases that are there already are not run again."""
    known = at_scale(TABLES, number, preset, changes(change or []))
    _reproduce(
        "table",
        known,
        number,
        seeds,
        folder,
        Store(cache),
        compute(device, precision),
        [_names(attacks), _names(defenses)],
        changes(change or []),
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@app.command("figure")
def make_figure(
    number: Annotated[str, typer.Argument(help=f"Which figure of the UBT paper: {', '.join(FIGURES)}.")],
    seed: Annotated[
        int, typer.Option(help="The seed of its cases; those from 100 on are for tuning.", min=0, max=99)
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Also write it as PNG, SVG, HTML and CSV into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """A figure of the paper: how clean and poisoned pairs separate, or what carries a poison. Computes what is not
    there yet, and only as far as the figure needs.
    """
    _reproduce("figure", FIGURES, number, seed, folder, Store(cache), compute(device, precision))


@app.command("sweep")
def make_sweep(
    name: Annotated[str, typer.Argument(help=f"Which sweep: {', '.join(SWEEPS)}.")],
    seeds: Annotated[int, typer.Option(help="Seeds 0 to N - 1; those from 100 on are for tuning.", min=1, max=100)] = 1,
    attacks: Annotated[
        str, typer.Option(help="Over these attacks of Table I, parted by commas, instead of the sweep's own.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Also write it as Markdown, CSV and HTML into this folder.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """What settings do: a case for every combination of their values. Computes what is not there yet, and only as far
    as it is measured.
    """
    _reproduce("sweep", SWEEPS, name, seeds, folder, Store(cache), compute(device, precision), [_names(attacks)])


def _reproduce(
    kind: str,
    known: Mapping[str, Any],
    number: str,
    seeds: int,
    folder: Path | None,
    store: Store,
    where: Compute,
    part: Sequence[Sequence[str]] = (),
    varied: Mapping[str, str] | None = None,
) -> None:
    """Run what a table, a figure or a sweep lacks, then print and write it; `seeds`: how many, or for a figure which
    one; `part`: which attacks and methods.
    """
    from ubt.workflows.jobs import remaining

    if number not in known:
        raise BadInput(f"unknown {kind} {number!r}; expected one of: {', '.join(known)}")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise BadInput(f"--out: expected a folder, got {folder}")
    paper = known[number].narrowed(*part) if part else known[number]
    paper = paper.varied(varied) if varied else paper
    for case in {case for case, *_ in paper.work(seeds) if isinstance(case, CaseSettings)}:
        check_targets(store, case)
    wanted = [
        (case, where, until)
        for case, until in paper.work(seeds)
        if standing(store, case, where, until=until)[0] != "done"
    ]
    lacking = {
        key
        for case, _, until in wanted
        for s in upto(until, case.own)
        if store.find(key := every_key(case, where)[s.name]) is None
    }
    if lacking:
        minutes = max(1, round(remaining(store, [(case, where, until) for case, until in paper.work(seeds)]) / 60))
        err.print(
            f"{len(lacking)} stages to compute, about {minutes} min; interrupted, the same command goes on from there",
            highlight=False,
            soft_wrap=True,
        )
    show, stop = Show(len(lacking), cached=False), stop_on_signal()
    with show.bars:
        errors = run_each(store, wanted, show, stop)
    frame = paper.measured(store, where, seeds)
    print(paper.markdown(frame))
    if folder is not None:
        out.print(
            f"written to {', '.join(map(str, paper.write(frame, folder, f'{kind}-{number}')))}",
            markup=False,
            highlight=False,
        )
    if errors:
        raise UbtError(
            f"{len(errors)} of {len(wanted)} cells failed and give no figure: "
            + "; ".join(f"{name}: {e}" for name, e in errors.items())
        )


@app.command()
def settings() -> None:
    """Every setting with its default and meaning, as a Markdown table (that of ubt/docs/reference.md)."""
    print("\n".join(settings_table()))


@app.command()
def picture(
    page: Annotated[
        str, typer.Option(help="A page by its name in the address: overview, data, triggers, separation, …")
    ] = "separation",
    case: Annotated[str, typer.Option(help="The case to show; the newest if none is named.")] = "",
    width: Annotated[int, typer.Option(help="Width in pixels.", min=320)] = 1280,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    file: Annotated[Path, typer.Option("--out", help="The PNG file to write.")] = Path("picture.png"),
    cache: CacheOption = CACHE,
) -> None:
    """Take a picture of a page of the app in Chromium (the README's was made so)."""
    from ubt.cli.app_in_browser import picture as take

    check_writable(file)
    take(cache, page, width, theme, file, case)
    out.print(f"written to {file}", markup=False, highlight=False)


def settings_table() -> list[str]:
    """The rows of the table of settings."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, (f, value) in CaseSettings().described().items():
        choices = f" ({', '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
        rows.append(f"| `{name}` | {value} | {f.metadata['help']}{choices} |")
    return rows


with contextlib.suppress(AttributeError):
    sys.stdout.reconfigure(errors="replace")
