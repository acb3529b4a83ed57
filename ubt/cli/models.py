"""The part of the command line for models from outside and purified ones: `python -m ubt models import | train | list
| card | export | delete`.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from typer import Argument, Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, Device, Precision, QuickGelu, long_work, present_name
from ubt.cli.console import cell, out, say
from ubt.core.errors import BadInput
from ubt.core.files import read_json
from ubt.core.run import Progress, compute

models_app = typer.Typer(
    help="Import models, look at their cards, export purified ones.", no_args_is_help=True, add_completion=False
)


def _print_card(card: dict) -> None:
    say(json.dumps(card, indent=1), soft_wrap=True)


@models_app.command("import")
def import_one(
    source: Annotated[str, Argument(help="A file, a folder, hf-hub:ORG/NAME, or open_clip's NAME/TAG.")],
    architecture: Annotated[str, Option(help="Open_clip's model name, for weights without a configuration.")] = "",
    quick_gelu: QuickGelu = None,
    state: Annotated[str, Option(help="clean, poisoned, suspect or purified, as you know it.")] = "suspect",
    cache: CacheOption = CACHE,
) -> None:
    """Import a model; nothing in a file is run, and the card names what had to be assumed."""
    from ubt.workflows.import_model import import_model

    store = Store(cache)
    key = import_model(store, source, architecture, state, quick_gelu=quick_gelu)
    _print_card(card := store.find(key)["card"])
    if card["assumed"]:
        say(f"assumed: {'; '.join(card['assumed'])}", soft_wrap=True)
    say(key)


@models_app.command("train")
def train_clean(
    kind: Annotated[str, Argument(help="Other training, or other architecture.")] = "other training",
    seed: Annotated[int, Option(help="Seed of scenes, weights and batches.")] = 2027,
    cache: CacheOption = CACHE,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train a clean model on scenes that is not the shipped reference, which tables of attacks need; resumes."""
    from ubt.workflows.clean_models import clean_model
    from ubt.workflows.import_model import opened

    store, where, started = Store(cache), compute(device, precision), time.monotonic()

    def train(progress: Progress) -> dict:
        return {"key": clean_model(store, kind, where, seed, progress), "seconds": time.monotonic() - started}

    key = long_work("train", train)["key"]
    say(f"CA on held-out scenes {opened(store, key)['card']['CA, percent']} %; in the store as {key}")


@models_app.command("list")
def list_models(cache: CacheOption = CACHE) -> None:
    """The imported models, newest first."""
    from ubt.workflows.import_model import imported_models

    store, table = Store(cache), Table()
    for column in ("model", "name", "state", "architecture", "assumed", "size, MB"):
        table.add_column(column, overflow="fold")
    for key, card in imported_models(store).items():
        table.add_row(
            key,
            *(cell(card.get(n)) for n in ("name", "state", "architecture")),
            cell("; ".join(map(str, card.get("assumed", []))) or "nothing"),
            f"{store.find(key).bytes / 1e6:.0f}",
        )
    out.print(table)


@models_app.command("card")
def show_card(
    what: Annotated[
        str, Argument(metavar="KEY_OR_FOLDER", help="A model's name in the list, or a folder with a card.json.")
    ],
    cache: CacheOption = CACHE,
) -> None:
    """A model's card: what it is, where it came from, what it was made of."""
    from ubt.clip import models
    from ubt.workflows import import_model as checkpoints

    if not Path(what).is_dir():
        return _print_card(checkpoints.opened(Store(cache), what)["card"])
    path = Path(what) / models.CARD
    try:
        card = read_json(path)
    except (OSError, ValueError) as e:
        raise BadInput(f"{path}: expected a card, got none that can be read ({e})") from None
    models.check_card(Path(what))
    _print_card(card)


@models_app.command("export")
def export_one(
    case: Annotated[str, Argument(help="The case.")],
    folder: Annotated[Path, Option("--out", help="The folder to make.")],
    stage: Annotated[
        str, Option(help="The stage whose model is taken: unlearn, unlearn_published, poison, ...")
    ] = "unlearn",
    cache: CacheOption = CACHE,
) -> None:
    """Export a case's model: weights, configuration and card in a folder that plain open_clip opens."""
    from ubt.workflows.export_model import export, opening_line

    export(store := Store(cache), present_name(store, case), stage, folder)
    say(f"written to {folder}; plain open_clip opens it:\n{opening_line(folder)}", soft_wrap=True)


@models_app.command("delete")
def delete_one(key: Annotated[str, Argument(help="A model's name in the list.")], cache: CacheOption = CACHE) -> None:
    """Delete an imported model that no case uses."""
    from ubt.workflows.import_model import forget

    say(f"freed {forget(Store(cache), key) / 1e6:.0f} MB")
