"""The part of the command line that measures a case's models on other sets: `python -m ubt measure`."""

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption, changes, stop_on_signal
from ubt.cli.console import Show, figures_table, out
from ubt.cli.results import print_assumed
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.workflows.evaluate_case import KINDS, MODELS, lacking, named, plan
from ubt.workflows.evaluate_case import measure as run

SHOWN = {
    "zeroshot": {"ca": "CA", "asr": "ASR", "ra": "RA", "target_recall": "target recall"},
    "retrieval": {
        "ca": "CA (R@1)",
        "asr": "ASR@k",
        "untriggered": "untriggered",
        "ra": "RA",
        "i2t_5": "R@5",
        "i2t_10": "R@10",
        "t2i_1": "to image: R@1",
        "t2i_5": "to image: R@5",
        "t2i_10": "to image: R@10",
    },
}


def measure(
    case: Annotated[str, Argument(help="A lab case, whose trigger is known.")],
    on: Annotated[
        str, Option(help="Labelled images: scenes, a data set by name, or a path (see ubt/docs/reference.md).")
    ] = "",
    captions: Annotated[
        str, Option(help="Images with several captions each, for retrieval: scenes, flickr30k, coco, or a path.")
    ] = "",
    models: Annotated[
        str, Option(help="Which of its models, or those of further defences, separated by commas.")
    ] = ",".join(MODELS),
    root: Annotated[str, Option(help="Folder under which data sets are looked for; also UBT_DATA.")] = "",
    change: Annotated[
        list[str] | None, Option("--set", help="Any other setting of downstream, as downstream.name=value.")
    ] = None,
    file: Annotated[Path | None, Option("--out", help="Write the figures to this JSON file.")] = None,
    cache: CacheOption = CACHE,
) -> None:
    """What a case's models do on other sets than its own: CA and ASR zero-shot, recall and ASR in retrieval. Trains
    only defences that are not there yet.
    """
    given = {"zeroshot": on, "retrieval": captions}
    kinds = [kind for kind in KINDS if given[kind]] or list(KINDS)
    values = (
        {KINDS[kind]: named(given[kind]) for kind in kinds if given[kind]}
        | ({"downstream.root": root} if root else {})
        | changes(change)
    )
    if file is not None and not file.parent.is_dir():
        raise BadInput(f"--out: expected a file in an existing folder, got {file}")
    store, wanted = Store(cache), [m.strip() for m in models.split(",") if m.strip()]
    settings, stages = plan(store, case, values, wanted, kinds)
    where = store.case(case).compute
    show = Show(len(lacking(store, settings, stages, where)), cached=False)
    with show.bars:
        found = run(store, settings, stages, where, show, stop_on_signal())
    for kind, by_model in found.items():
        _print(kind, by_model, settings.downstream.titles[list(KINDS).index(kind)], settings.attacks[0].label)
    print_assumed(store, settings.own)
    if file is not None:
        text = json.dumps({"case": case, "settings": settings.to_dict(), **found}, indent=1) + "\n"
        replace_file(file, lambda temporary: temporary.write_text(text))


def _print(kind: str, by_model: dict[str, dict[str, Any]], where: str, attack: str) -> None:
    first = next(iter(by_model.values()))
    heads = {key: head for key, head in SHOWN[kind].items() if key in first}
    k = f", k = {first['k']}" if "k" in first else ""
    images = f"{first['images']['ca']:,} images"
    table = figures_table(f"{kind} on {where} ({images}), {attack}{k}: percent, 95 % interval", *heads.values())
    for model, m in by_model.items():
        bounds = {
            key: " [{:.1f}, {:.1f}]".format(*m["intervals"][key])
            for key in heads
            if kind == "zeroshot" or key in ("ca", "asr")
        }
        cells = [f"{m[key]:.2f}{bounds.get(key, '')}" for key in heads]
        table.add_row(f"{model} (ASR: natural)" if model == "clean" else model, *cells)
    out.print(table)
