"""Views: what a page computes over a case's finished stages beside them, each an artefact of its own: an index, a map,
a hypothesis tried.

A view's name is a digest of its kind, its options and the artefacts it is made from, so that cases that share those
share it; `Store.prune` keeps it as long as they are kept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ubt.cases.artifact import Artefact
from ubt.cases.record import CaseRecord
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Run
from ubt.evaluation.model_roles import ROLES
from ubt.pairs import neighbors, projection
from ubt.pairs.neighbors import Embedding, IndexSettings
from ubt.pairs.projection import MapSettings
from ubt.workflows import try_trigger

VERSION = {"index": 1, "map": 1, "probe": 1}
MAPPED = ("poisoned", "overfit", "purified")
"""The models that a map shows a pair under."""


def source(model: str) -> str:
    """The stage whose artefact D's embedding under a model is read or, if no stage scores D with it, computed from."""
    return ROLES[model].scored or ROLES[model].model


def embedded(store: Store, record: CaseRecord, model: str) -> bool:
    """Whether D's embedding under a model is there to be searched."""
    found = store.find(record.artefacts.get(source(model), ""))
    return found is not None and "image_features" in found.manifest["entries"]


def embedding(store: Store, record: CaseRecord, model: str, run: Run | None = None) -> Embedding:
    """D's embedding under a model; one that no stage scores D with embeds it now.

    Raises:
        BadInput: the case does not have it.
    """
    stage = source(model)
    found = store.open(record.artefacts[stage]) if stage in record.artefacts else None
    if found is None:
        raise BadInput(f"expected the case to have the {model} model's embedding, but its stage {stage} was not run")
    if ROLES[model].scored:
        return Embedding(found.read("image_features"), found.read("text_features"))
    from ubt.clip.score import score

    data = store.open(record.artefacts["data"])
    told = Run() if run is None else Run(compute=run.compute)
    made = score(found["model"], data.read("images"), data.read("tokens"), data["pairs"], told)
    return Embedding(made["image_features"], made["text_features"])


def map_options(record: CaseRecord, space: str, settings: MapSettings, models: list[str]) -> dict[str, Any]:
    """What a map is made with: the space and the models, in the order in which a point is followed."""
    return {"space": space, "models": models, **settings.to_dict()}


def map_of(
    store: Store, record: CaseRecord, has: Callable[..., bool], space: str, complete: bool = False
) -> dict[str, Any] | None:
    """The options of the map of a space: of the map that exists, or of one with every model that the case has by now
    (`complete`); None if the case has no embedding to project. `has`: whether stages of it are finished.
    """
    models = [m for m in MAPPED if (has("unlearn", "data") if m == "purified" else embedded(store, record, m))]
    models = models or ["reference"] * embedded(store, record, "reference")
    wanted = [map_options(record, space, MapSettings(), models[:n]) for n in range(len(models), 0, -1)]
    existing = (o for o in wanted if store.find(key(record, "map", o)) is not None)
    return wanted[0] if complete and wanted else next(existing, wanted[0] if wanted else None)


def index_options(space: str, model: str, settings: IndexSettings) -> dict[str, Any]:
    """What an index is made with."""
    return {"space": space, "models": [model], **settings.to_dict()}


def _sources(record: CaseRecord, kind: str, options: dict[str, Any]) -> list[str]:
    artefacts = record.artefacts
    if kind == "probe":
        return [artefacts[s] for s in options["over"]]
    stages = [source(m) for m in options["models"]]
    also = ["data"] * any(not ROLES[m].scored for m in options["models"]) + ["split"] * (
        kind == "map" and "split" in artefacts
    )
    return [artefacts[s] for s in (*stages, *also)]


def key(record: CaseRecord, kind: str, options: dict[str, Any]) -> str:
    """The artefact name of a view."""
    return f"{kind}-{digest([kind, VERSION[kind], options, _sources(record, kind, options)])}"


def make(store: Store, record: CaseRecord, kind: str, options: dict[str, Any], run: Run) -> Artefact:
    """Compute a view and put it in place; one that is there already is answered at once, a damaged one is made again.

    Raises:
        BadInput: what it is made from is not there.
    """
    name = key(record, kind, options)
    if (found := store.find(name, whole=True)) is not None:
        return found
    result = {"index": _index, "map": _map, "probe": try_trigger.probe}[kind](store, record, options, run)
    store.set_aside(name)
    return store.write(
        name,
        result,
        {"stage": kind, "version": VERSION[kind], "seconds": 0.0, "made_from": _sources(record, kind, options)},
    )


def _index(store: Store, record: CaseRecord, options: dict[str, Any], run: Run) -> dict[str, Any]:
    settings = IndexSettings.from_dict({k: v for k, v in options.items() if k not in ("space", "models")})
    return neighbors.build(embedding(store, record, options["models"][0]).parts(options["space"]), settings, run)


def _map(store: Store, record: CaseRecord, options: dict[str, Any], run: Run) -> dict[str, Any]:
    settings = MapSettings.from_dict({k: v for k, v in options.items() if k not in ("space", "models")})
    models = {m: embedding(store, record, m, run) for m in options["models"]}
    split = store.find(record.artefacts.get("split", ""))
    keep = None if split is None else np.flatnonzero(split["split"]["suspicious"])
    return projection.project(models, options["space"], settings, run, keep)
