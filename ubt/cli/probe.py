"""The part of the command line that tries a suspected trigger: `python -m ubt probe`."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typer import Argument, Option

from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.common import CACHE, CacheOption
from ubt.cli.console import figures_table, out, progress_of, say
from ubt.cli.results import print_assumed
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Run
from ubt.evaluation.model_roles import labels
from ubt.evaluation.trigger_hypothesis import Hypothesis
from ubt.workflows import derived, try_trigger


def probe(
    case: Annotated[str, Argument(help="A case with a model to try it on: a lab case or an audit.")],
    target: Annotated[str, Option(help="What triggered images would be taken for.")],
    patch: Annotated[Path | None, Option(help="Image file of a patch, in pixels of the case's images.")] = None,
    pattern: Annotated[
        Path | None, Option(help="Image file of a pattern over the whole image, instead of a patch.")
    ] = None,
    found: Annotated[
        int | None, Option(help="Instead of a file, the patch that PoisonCAM ranked so, from 1, in its place.", min=1)
    ] = None,
    word: Annotated[str, Option(help="A word before every text, alone or beside a patch.")] = "",
    place: Annotated[
        str, Option(help="Where a patch lies: TOP,LEFT as shares of the image (0.85,0.85), or random.")
    ] = "",
    alpha: Annotated[float, Option(help="Share of the pattern in the image.")] = 0.2,
    images: Annotated[int, Option(help="Images to try it on, at most.", min=1)] = 500,
    cache: CacheOption = CACHE,
) -> None:
    """The ASR of a hypothesis: how often a suspected trigger makes each model of a case take images for a target."""
    store = Store(cache)
    record = store.case(case)
    if not record.readable:
        raise UbtError(record.error)
    if sum(given is not None for given in (patch, pattern, found)) > 1:
        raise BadInput("probe: expected one of --patch, --pattern and --found, got several")
    pixels, where = _pixels(store, record, patch, pattern, found)
    form = "none" if pixels is None else "pattern" if pattern else "patch"
    if place:
        where = _place(place)
    hypothesis = Hypothesis(target=target, form=form, alpha=alpha, word=word, images=images, **where)
    made_with = try_trigger.options(
        store, record, hypothesis, "" if pixels is None else try_trigger.keep(store, record, pixels)
    )
    with progress_of("probe") as progress:
        made = derived.make(store, record, "probe", made_with, Run(compute=record.compute, progress=progress))
    own = CaseSettings.from_dict(record.settings).own
    _print(made["measures"], made["about"], target, own.audits)
    print_assumed(store, own)


def _pixels(
    store: Store, record: CaseRecord, patch: Path | None, pattern: Path | None, found: int | None
) -> tuple[np.ndarray | None, dict[str, Any]]:
    height, width = try_trigger.size(store, record)
    if found is not None:
        located = store.find(record.artefacts.get("poisoncam_locate", ""))
        if located is None:
            raise BadInput(
                "--found: expected a case in which PoisonCAM was run (page Patches), got one without; name a --patch"
                " instead"
            )
        return try_trigger.candidate(located["candidates"], located["patches"], found, height, width)
    if patch is None and pattern is None:
        return None, {}
    return try_trigger.opened(patch or pattern, height, width, whole=patch is None), {}


def _place(text: str) -> dict[str, Any]:
    """
    >>> _place("0.5,1")
    {'top': 0.5, 'left': 1.0}
    """
    if text == "random":
        return {"place": "random"}
    try:
        top, left = (float(v) for v in text.split(","))
    except ValueError:
        raise BadInput(
            f"--place: expected TOP,LEFT as shares of the image from 0 to 1, as 0.85,0.85, or random; got {text!r}"
        ) from None
    return {"top": top, "left": left}


def _print(measures: dict[str, Any], about: dict[str, Any], target: str, audit: bool) -> None:
    titles = labels(audit)
    title = f"taken for {target!r}: percent of the images read otherwise, 95 % interval"
    table = figures_table(title, "natural (no trigger, all images)", "control", "ASR of the hypothesis")
    for name, m in measures.items():
        cells = [
            "-" if m[k] is None else f"{m[k]:.2f} [{m['intervals'][k][0]:.1f}, {m['intervals'][k][1]:.1f}]"
            for k in ("natural", "control", "asr")
        ]
        table.add_row(titles[name], *cells)
    out.print(table)
    asked = (
        "labelled images of other classes, each among the classes"
        if about["labelled"]
        else "kept pairs, each among captions"
    )
    control = f"; the word's control is {about['control_word']!r}" if about["control_word"] else ""
    say(f"{about['images']:,} {asked} ({about['texts']:,} texts){control}")
    say(try_trigger.meaning(measures, target, "the model" if audit else "the poisoned model"))
