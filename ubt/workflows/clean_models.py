"""Clean models of other training than the shipped reference's, which the tables of attacks and scans need: `python -m
ubt models train`. Each is made once and kept in the store.
"""

from dataclasses import dataclass
from typing import Any

from ubt.cases.litter import TRAINED
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import digest, scrap
from ubt.core.run import Compute, Progress, fixed_threads, silent

SEED = 2027
"""Of the scenes, first weights and batches; the shipped reference's is 2026."""


@dataclass(frozen=True)
class Kind:
    """A kind of clean model.

    Args:
        about: what sets it apart. changes: to the recipe of the shipped reference. architecture: of its own; None: the
            shipped reference's.
    """

    about: str
    changes: dict[str, Any]
    architecture: dict[str, Any] | None = None


KINDS = {
    "other training": Kind("the same architecture, other scenes, weights and batches", {"scenes": 120_000}),
    "other architecture": Kind(
        "images of 64 px, a narrower and deeper image tower, a smaller text tower, other scenes",
        {"scenes": 120_000},
        {
            "embed_dim": 96,
            "vision_cfg": {"image_size": 64, "patch_size": 8, "width": 96, "layers": 5, "head_width": 32},
            "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
        },
    ),
}
"""By name."""


def known(store: Store, source: str) -> str:
    """The name in the store of a model whose card says this source; empty if there is none."""
    from ubt.workflows.import_model import imported_models

    return next((key for key, said in imported_models(store).items() if said["source"] == source), "")


def stand_in(kind: str, seed: int = SEED) -> str:
    """A name for a clean model of one of `KINDS` by how it is made, which no machine's rounding changes; no model has
    it.
    """
    from ubt.workflows.import_model import KEY
    from ubt.workflows.pretrain_scenes import PretrainSettings

    what = KINDS[kind]
    return f"{KEY}{digest([PretrainSettings(seed=seed, **what.changes).to_dict(), what.architecture])[:16]}"


def keep(store: Store, model: Any, name: str, source: str, about: dict[str, Any], right: float) -> str:
    """Put a clean model made here into the store; returns its name there, which its weights decide. `right`: its CA in
    percent.
    """
    from ubt.workflows.import_model import KEY, card

    said = card(model, name, source, "clean", (), about, **{"CA, percent": round(right, 2)})
    key = f"{KEY}{said['digest'][:16]}"
    store.put(key, {"model": model, "card": said}, {"stage": "model", "brought": True, "seconds": 0.0})
    return key


def clean_model(store: Store, kind: str, where: Compute, seed: int = SEED, progress: Progress = silent) -> str:
    """The name in the store of a clean model of one of `KINDS`, trained on scenes if it is not there; an interrupted
    training goes on where it stopped.

    Raises:
        BadInput: there is no such kind. Cancelled: `progress` asked to stop.
    """
    if kind not in KINDS:
        raise BadInput(f"unknown kind of clean model {kind!r}; expected one of: {', '.join(KINDS)}")
    source = f"clean model: {kind}, seed {seed}, {where}"
    if key := known(store, source):
        return key
    from ubt.clip import models
    from ubt.workflows.pretrain_scenes import PretrainSettings, pretrain

    what, work = KINDS[kind], f"{TRAINED}{digest([source])}"
    with store.lock(work), store.step(work) as folder, fixed_threads(where):
        if key := known(store, source):
            return key
        recipe = PretrainSettings(seed=seed, **what.changes)
        card = pretrain(recipe, where, folder, progress, what.architecture)
        model = models.load(folder)
        about = {"kind": kind, "recipe": recipe.to_dict(), "seconds": card["seconds"]}
        key = keep(store, model, f"{kind}, seed {seed}", source, about, card["CA, percent"])
        scrap(folder)
    return key
