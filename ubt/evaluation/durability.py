"""Again: somebody who knows of nothing trains a purified model on, to see whether its backdoor returns. This measures
durability; nothing that defends reads it.
"""

import os

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import FitSettings, setting
from ubt.data import scenes
from ubt.data.roles import CleanSettings
from ubt.data.user_roles import OwnSettings, more_pairs


class AgainSettings(FitSettings):
    """Training on with InfoNCE, the same for every model and for both kinds of pairs: two passes over D_normal at the
    rate that made M_bd.
    """

    pairs: int = setting(10_000, "clean pairs, of a role of their own and as many as D has", low=2, high=10_000_000)
    steps: int = setting(150, "optimiser steps", low=1)
    batch: int = setting(128, "pairs in a step", low=2)
    lr: float = setting(5e-4, "peak learning rate", low=0)


def later(settings: AgainSettings, run: Run) -> dict:
    """The clean pairs: `pairs` (id and caption), `images` and `tokens`."""
    from ubt.data import model_input

    own = scenes.load_pairs(run.seed, "later", settings.pairs, scenes.SIZE, workers=os.cpu_count() or 1)
    tokens = model_input.tokenize(own.captions, scenes.CONTEXT)
    return {"pairs": pd.DataFrame({"id": own.ids, "caption": own.captions}), "images": own.images, "tokens": tokens}


def later_imported(
    rest: pd.DataFrame, about: dict, model, settings: AgainSettings, clean: CleanSettings, own: OwnSettings, run: Run
) -> dict:
    """The same of imported pairs, beyond D and the defender's own.

    Raises:
        BadInput: D leaves none.
    """
    from ubt.data import model_input

    found = more_pairs(rest, about, model, clean.pairs, settings.pairs, own.keep, "again.pairs")
    captions = found["pairs"]["caption"].tolist()
    return found | {"tokens": model_input.tokenize(captions, model_input.context_length(model))}


def again(
    model, images: np.ndarray, tokens: np.ndarray, settings: AgainSettings, run: Run, split: pd.DataFrame | None = None
) -> dict:
    """InfoNCE on pairs, or with a `split` on those of them that are not suspicious. Returns the `model` and its
    `history`.
    """
    from ubt.clip import recipes

    rows = None if split is None else np.flatnonzero(~split["suspicious"])
    return recipes.train_on_pairs(model, images, tokens, settings, run, "again", rows, settings.steps)
