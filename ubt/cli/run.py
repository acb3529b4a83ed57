"""The command that runs a lab case: `python -m ubt run`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.attacks import ATTACKS
from ubt.cases.pipeline import write_metrics
from ubt.cases.presets import PRESETS
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Changes, Device, Precision, changes, stop_on_signal
from ubt.cli.console import check_writable
from ubt.cli.data import named_sources, run_case
from ubt.cli.paper import dry_run, sized
from ubt.cli.results import leave_with, print_assumed, print_metrics
from ubt.core.run import compute
from ubt.workflows.audit import PUBLIC

Attack = Annotated[str, Option(help=f"Trigger: {', '.join(ATTACKS)}.")]
Profile = Annotated[
    str, Option(help="Named variant of the trigger (see ubt/docs/reference.md); the preset's if none is named.")
]
Also = Annotated[
    list[str] | None, Option(help='A further attack in the same data, as "NAME target=LABEL rate=SHARE setting=value".')
]
Rate = Annotated[float | None, Option(help="Share of D that is poisoned; 0 poisons nothing.")]
Seed = Annotated[int, Option(help="The one seed: data, poison, batches.")]
Preset = Annotated[str, Option(help=f"Settings to start from: {', '.join(PRESETS)}.")]
Fraction = Annotated[float | None, Option(help="Share of D that becomes D_susp.")]
TopK = Annotated[int | None, Option(help="Size of D_topk; 0 means sqrt(0.01 * |D|).")]
OwnPairs = Annotated[
    Path | None, Option(help="Poison pairs of your own instead of scenes: any source that `data pairs` reads.")
]
Labels = Annotated[Path | None, Option(help="Labelled images beside them, any source that `data labels` reads.")]
Reference = Annotated[str, Option(help="The clean model that is poisoned, as `models import` reads it.")]
Spare = Annotated[
    float, Option(help="Share of the pairs that this model was trained on, which the case does not take.")
]
DryRun = Annotated[
    bool,
    Option(
        "--dry-run", help="With --preset paper: every step at toy size, on generated data, and what a real run needs."
    ),
]
MetricsFile = Annotated[Path | None, Option("--out", help="Write the figures to this JSON file.")]


def run(
    attack: Attack = "badnet",
    profile: Profile = "",
    also: Also = None,
    rate: Rate = None,
    seed: Seed = 0,
    preset: Preset = "demo",
    target: Annotated[str | None, Option(help="Target label.")] = None,
    fraction: Fraction = None,
    k: TopK = None,
    pairs: Annotated[int | None, Option(help="Size of D.")] = None,
    own: OwnPairs = None,
    labels: Labels = None,
    reference: Reference = "",
    spare: Spare = 0.0,
    dry: DryRun = False,
    layout: Annotated[str, Option(help="Of the dry run's pairs: webdataset or csv.")] = "webdataset",
    change: Changes = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
    metrics_file: MetricsFile = None,
) -> None:
    """Run a whole lab case: draw data, poison it, train, split, overfit, select, judge, mask, unlearn, measure."""
    if dry:
        return dry_run(preset, layout, changes(change), compute(device, precision), cache, stop_on_signal())
    options = {
        "attack.also": ";".join(also) if also else None,
        "attack.rate": rate,
        "attack.target": target,
        "split.fraction": fraction,
        "select.k": k,
        "data.pairs": pairs,
        "seed": seed,
    }
    chosen = {name: value for name, value in options.items() if value is not None} | changes(change)
    store, where = Store(cache), compute(device, precision)
    if metrics_file is not None:
        check_writable(metrics_file)
    if preset == "paper" and own:
        labels, reference = labels or Path("imagenet"), reference or PUBLIC
    sources = named_sources(own, labels, reference, spare, store)
    size = sized(preset, pairs or 0, store, sources)
    settings = CaseSettings.preset(preset, attack.replace("-", "_"), profile, size).with_values(chosen | sources)
    metrics = run_case(settings, store, where, stop_on_signal())
    if metrics_file is not None:
        write_metrics(metrics, metrics_file)
    print_metrics(metrics)
    print_assumed(store, settings.own)
    leave_with(metrics["verdict"])
