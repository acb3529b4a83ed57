"""The command that watches a stream of images: `python -m ubt gate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, QuickGelu, changes, long_work
from ubt.cli.console import say
from ubt.cli.results import UNTOLD
from ubt.core.run import Progress, compute

if TYPE_CHECKING:
    from ubt.workflows.gate import Gate


def gate(
    model: Annotated[
        str, Option(help="A file, a folder, hf-hub:ORG/NAME, open_clip's NAME/TAG, or case:CASE, case:CASE/STAGE.")
    ],
    images: Annotated[Path, Option(help="The images to judge: a folder, at any depth, or a zip.")],
    reference: Annotated[str, Option(help="A clean model to compare with, in the same ways; or shipped.")] = "",
    clean: Annotated[
        str, Option(help="Clean images: a folder, a zip, or what `data labels` or `data pairs` reads. Else scenes.")
    ] = "",
    classes: Annotated[
        str, Option(help="Names of classes, a file with one a line or separated by commas, for the detector texts.")
    ] = "",
    detector: Annotated[str, Option(help="Which detector decides; else the best that is possible.")] = "",
    fpr: Annotated[float, Option(help="The share of clean images that may be called triggered.")] = 0.01,
    table: Annotated[Path, Option("--out", help="The table: image, score, verdict, detector.")] = Path("gate.csv"),
    architecture: Annotated[
        str, Option(help="Open_clip's name of the model's architecture, for weights without a configuration.")
    ] = "",
    quick_gelu: QuickGelu = None,
    change: Annotated[
        list[str] | None, Option("--set", help="A setting of the gate, as name=value: clean, held, clear, …")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    cache: CacheOption = CACHE,
) -> None:
    """Judge one image after another: does it carry a trigger, for this model? Written as it goes; stopped, the same
    command goes on from there.
    """
    from ubt.workflows import gate as gates
    from ubt.workflows import sources

    store, where = Store(cache), compute(device, precision)
    settings = gates.GateSettings().with_values(changes(change))
    gates.check(fpr, settings.held)
    sides = sources.models(store, model, reference, architecture, quick_gelu)
    of, names = sources.images_and_names(store, clean, classes)
    chosen = gates.deciding(gates.Watch(*sides, of, names, settings=settings), detector)

    def calibrated(progress: Progress) -> dict:
        key = gates.calibrate(store, chosen, where, progress)
        return {"key": key, "seconds": store.open(key)["about"]["seconds"]}

    key = long_work("calibrate", calibrated)["key"]
    ready = gates.ready(store, key, where, fpr)
    if ready.too_few:
        say(f"nothing can be told: {ready.too_few}", soft_wrap=True)
        raise typer.Exit(UNTOLD)
    _judge(ready, images, table, {"calibration": key, "models": store.open(key)["about"]["models"]})


def _judge(ready: "Gate", images: Path, table: Path, made_with: dict) -> None:
    """Judge the images and say what came of it."""
    from ubt.workflows.gate_stream import watch

    def judged(progress: Progress) -> dict:
        return watch(ready, images, table, made_with, progress) | {"seconds": 0.0}

    found = long_work("judge", judged)
    counts = ", ".join(f"{count:,} {answer}" for answer, count in found["verdicts"].items())
    say(f"{found['rows']:,} images by {ready.detector}: {counts}; written to {table}", soft_wrap=True)
    for image, why in found["unread"].items():
        say(f"not read: {image}: {why}", soft_wrap=True)
    if ready.blind:
        say(f"no image is cleared: {ready.blind}", soft_wrap=True)
    if 2 * found["unlike"] > found["rows"]:
        say(
            f"{found['unlike']:,} of {found['rows']:,} images are unlike the clean ones, so that the false positive"
            " rate is not what you asked for; bring clean images of their kind (--clean)",
            soft_wrap=True,
        )
