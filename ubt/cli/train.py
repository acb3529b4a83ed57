"""The commands that train what the package ships: `python -m ubt pretrain | train-stegastamp`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cli.common import Device, Precision, long_work
from ubt.cli.console import say
from ubt.core.run import compute


def pretrain(
    folder: Annotated[Path, Option("--out", help="Folder for the model and its card.")] = Path("cache/scenes-clip"),
    scenes: Annotated[int | None, Option(help="Scenes to train on.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over them.")] = None,
    seed: Annotated[int | None, Option(help="Seed of scenes, weights and batches.")] = None,
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
    say(f"CA on held-out scenes {card['CA, percent']} %; written to {folder}")


def train_stegastamp(
    folder: Annotated[Path, Option("--out", help="Folder for the encoder and its card.")] = Path("cache/stegastamp"),
    size: Annotated[int | None, Option(help="Height and width of the images in pixels, a multiple of 8.")] = None,
    bits: Annotated[int | None, Option(help="Bits hidden in an image.")] = None,
    steps: Annotated[int | None, Option(help="Optimiser steps.")] = None,
    scenes: Annotated[int | None, Option(help="Scenes to train on.")] = None,
    image_weight: Annotated[
        float | None, Option(help="Weight of the residual against the bits: more makes it fainter.")
    ] = None,
    seed: Annotated[int | None, Option(help="Seed of scenes, weights, bits and batches.")] = None,
    device: Device = "auto",
) -> None:
    """Train the encoder that SSBA's trigger needs, as the shipped one was; an interrupted run resumes."""
    from ubt.attacks.stegastamp import StegaStampSettings, train

    given = {"size": size, "bits": bits, "steps": steps, "scenes": scenes, "image_weight": image_weight, "seed": seed}
    settings = StegaStampSettings(**{n: v for n, v in given.items() if v is not None})
    card = long_work("stegastamp", lambda progress: train(settings, compute(device, "fp32"), folder, progress))
    say(
        f"PSNR {card['PSNR, dB']} dB, {card['bit accuracy, percent']} % of the bits read on held-out scenes; written to"
        f" {folder}"
    )
