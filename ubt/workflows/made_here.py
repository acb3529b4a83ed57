"""What is made of what was imported, without a case: a clean reference, what is known of its health, and the scan of a
model. A job makes it as it imports things (`ubt.workflows.jobs.start_import`).
"""

from typing import Any

from ubt.cases.store import Store
from ubt.clip.cost import trained
from ubt.core.errors import BadInput
from ubt.core.run import Compute, Progress, silent
from ubt.workflows.ingest import Wanted

MADE = ("reference", "health", "scan", "purified", "gate", "places")
"""The kinds of what is made; everything else is imported."""
SMALLEST, LARGEST, PATCH, BATCH = 32, 64, 8, 256
"""Of a small reference: the sides of images, in pixels, that it can take, a patch's side, and the most pairs in a step.
"""
SLOWER = 2.0
"""How much longer its step takes than one of the shipped model, at as many pixels."""


def reference(pairs: str, kept: int, share: float, side: int, epochs: int, labelled: str = "") -> Wanted:
    """A clean reference to be trained on a `share` of imported pairs, of which there are `kept`, for images of `side`
    pixels, as the suspect takes them, as far as a small model can. `labelled`: images that measure its CA, if any.

    >>> reference("pairs-0", 600, 1.0, 224, 30).options
    {'share': 1.0, 'size': 64, 'batch': 150, 'epochs': 30}
    """
    size = side if SMALLEST <= side <= LARGEST and side % PATCH == 0 else LARGEST
    how = {"share": share, "size": size, "batch": max(2, min(BATCH, int(kept * share / 4))), "epochs": epochs}
    return Wanted("reference", pairs, how | ({"labelled": labelled} if labelled else {}))


def seconds(wanted: Wanted, kept: int) -> float:
    """What training it takes, declared as stages declare it."""
    how = wanted.options
    return SLOWER * (how["size"] / 48) ** 2 * trained(how["epochs"], int(how["share"] * kept))


def health(reference: str, pairs: str, labelled: str = "") -> Wanted:
    """What is to be found out of a reference on imported pairs, and on labelled images if there are any."""
    return Wanted("health", reference, {"pairs": pairs} | ({"labelled": labelled} if labelled else {}))


def scan_of(model: str, reference: str, images: str, classes: list[str]) -> Wanted:
    """The scan of a model, see `ubt.workflows.sources.resolved` and `of_imported`."""
    return Wanted("scan", model, {"reference": reference, "images": images, "classes": classes})


def gate_of(model: str, reference: str, images: str, classes: list[str], of: str) -> Wanted:
    """What a model's clean images score, see `ubt.workflows.gate.calibrate`. `of`: what else tells it from others, such
    as which result a case's model is now.
    """
    return Wanted("gate", model, {"reference": reference, "images": images, "classes": classes, "of": of})


def places_of(asked: Any, of: str) -> Wanted:
    """The ASR of a patch by place, size and opacity, as `ubt.workflows.trigger_places.Asked` says with the settings as
    they come. `of`: what else tells it from others.
    """
    names = ("reference", "images", "target", "patch", "top", "left", "opacity")
    how = {name: getattr(asked, name) for name in names} | {"classes": list(asked.classes)}
    return Wanted("places", asked.model, how | {"of": of})


def purified(scan: str) -> Wanted:
    """The model of a scan without its trigger, see `ubt.workflows.purify_scanned`."""
    return Wanted("purified", scan)


def make(store: Store, wanted: Wanted, where: Compute, progress: Progress = silent) -> str:
    """Make one of `MADE`; returns its name in the store.

    Raises:
        BadInput: something is not there, or it is of no known kind.
    """
    how = dict(wanted.options)
    labelled = how.pop("labelled", "")
    if wanted.kind == "reference":
        from ubt.workflows.pretrain_pairs import OwnRecipe, train_here

        return train_here(OwnRecipe().with_values(how), store, wanted.source, labelled, where, progress)
    if wanted.kind == "health":
        from ubt.workflows.reference_health import examine

        return examine(store, wanted.source, how["pairs"], labelled, where, progress)
    if wanted.kind == "scan":
        from ubt.workflows import scan, sources

        model, reference = (sources.resolved(store, named) for named in (wanted.source, how.pop("reference")))
        return scan.scan(store, scan.of_imported(store, model, reference, **how), where, progress)
    if wanted.kind == "gate":
        from ubt.workflows import gate, sources

        model, reference = (sources.resolved(store, named) for named in (wanted.source, how["reference"]))
        classes = tuple(how["classes"]) or sources.names_of(store, how["images"])
        return gate.calibrate(store, gate.Watch(model, reference, how["images"], classes), where, progress)
    if wanted.kind == "places":
        from ubt.workflows import trigger_places

        classes = tuple(how.pop("classes"))
        asked = trigger_places.Asked(wanted.source, classes=classes, **{n: v for n, v in how.items() if n != "of"})
        return trigger_places.make(store, asked, where, progress)
    if wanted.kind == "purified":
        from ubt.workflows import purify_scanned

        return purify_scanned.make(store, wanted.source, where, progress=progress)
    raise BadInput(f"expected one of {', '.join(MADE)}, got {wanted.kind!r}")
