"""The commands that train what the package ships: `python -m ubt pretrain | train-stegastamp | optimize-patch`."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, long_work
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


def optimize_patch(
    folder: Annotated[Path, Option("--out", help="Folder for the patch and its card.")] = Path("cache/badclip"),
    target: Annotated[str | None, Option(help="The class that the patch is to be taken for.")] = None,
    side: Annotated[int | None, Option(help="Side of the patch in pixels.")] = None,
    model: Annotated[
        str, Option(help="The clean model: its name in the store or a folder; empty: the shipped reference.")
    ] = "",
    pairs: Annotated[str, Option(help="Imported pairs of the attacker's; empty: scenes.")] = "",
    other: Annotated[
        list[str] | None, Option(help="A further clean model whose ASR is measured, as --model; may be repeated.")
    ] = None,
    steps: Annotated[int | None, Option(help="Optimiser steps.")] = None,
    seed: Annotated[int | None, Option(help="Seed of the first noise and the batches.")] = None,
    cache: CacheOption = CACHE,
    device: Device = "auto",
) -> None:
    """Optimise the patch that BadCLIP plants against a clean model, as the shipped ones were."""
    from ubt.attacks.badclip_patch import PatchSettings
    from ubt.workflows.optimize_patch import optimize

    given = {"target": target, "side": side, "steps": steps, "seed": seed}
    settings = PatchSettings(**{n: v for n, v in given.items() if v is not None})
    where, store, others = compute(device, "fp32"), Store(cache), tuple(other or ())
    card = long_work("patch", lambda progress: optimize(store, folder, settings, where, model, pairs, others, progress))
    fooled = "; ".join(f"{name} {share} %" for name, share in card.get("natural ASR", {}).items())
    said = f"; clean models take other classes for {card['target']}: {fooled}" if fooled else ""
    say(f"{card['side']} px in {card['steps']} steps, loss {card['loss']['loss']:.2f}{said}; written to {folder}")
