"""Similarity of every pair of D under a model, and the features it comes from."""

import numpy as np
import pandas as pd

from ubt.config import Run
from ubt.stages.select import SelectSettings, confirmed_ids


def score(model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, run: Run) -> dict:
    """Encode D.

    Args:
        images: uint8 (n, H, W, 3). tokens: token ids (n, context). pairs: a row a pair with its `id`.

    Returns:
        `similarity`: id and cosine similarity in [-1, 1] of each pair; `image_features`, `text_features`: normalised
        fp32 (n, embedding).
    """
    from ubt import models

    model = model.to(run.compute.device)
    image, text = models.embed_images(model, images, progress=run.progress), models.embed_tokens(model, tokens)
    return {
        "similarity": pd.DataFrame({"id": pairs["id"], "similarity": np.einsum("ij,ij->i", image, text)}),
        "image_features": image, "text_features": text,
    }  # fmt: skip


def inside(model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, split: pd.DataFrame, settings: SelectSettings, run: Run) -> dict:
    """Encode D_susp alone, and the pairs that somebody has confirmed, which is all that the selection needs.

    Returns:
        as `score`, of these pairs, in the order of D; `similarity` has their `row` of D too.
    """
    rows = np.flatnonzero(split["suspicious"].to_numpy() | pairs["id"].isin(confirmed_ids(settings)).to_numpy())
    found = score(model, images[rows], tokens[rows], pairs.iloc[rows], run)
    return found | {"similarity": found["similarity"].reset_index(drop=True).assign(row=rows)}
