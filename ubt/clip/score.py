"""Similarity of every pair of D under a model, and the features it comes from."""

import numpy as np
import pandas as pd

from ubt.clip import cost
from ubt.core.files import temporary
from ubt.core.run import Run
from ubt.core.stage import D, Stage

IMAGES, CAPTIONS = 2048, 16_384
"""How many are held at once, of images by each rank; a caption that comes again among as many is encoded once."""
SCORES = ("similarity", "image_features", "text_features")
"""What scoring gives."""
HELD = 64 << 20
"""Bytes of features from which on they lie in a file of the stage's own and not in memory."""


def score(model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, run: Run) -> dict:
    """Encode D, a part at a time.

    Args:
        images: uint8 (n, H, W, 3). tokens: token ids (n, context). pairs: a row a pair with its `id`.

    Returns:
        `similarity`: id and cosine similarity in [-1, 1] of each pair; `image_features`, `text_features`: normalised
        fp32 (n, embedding). Nothing of them on ranks other than the first, which do no more than encode their share.
    """
    from ubt.clip import distributed, models

    model, n, keeps = model.to(run.compute.device), len(images), distributed.is_first()
    image = text = np.empty((0, 0), np.float32)
    step, batch = IMAGES * distributed.count(), 64 if run.compute.device == "cpu" else 512
    for i in range(0, n, step):
        part = models.embed_images(model, some(images, np.arange(i, min(i + step, n))), batch)
        if keeps:
            image = image if i else _room("image", (n, part.shape[1]), run)
            image[i : i + len(part)] = part
        run.progress(min(i + step, n), n, {})
    similarity = np.zeros(n, np.float32)
    for i in range(0, n, CAPTIONS):
        part = models.embed_tokens(model, np.asarray(tokens[i : i + CAPTIONS]))
        if not keeps:
            continue
        text = text if i else _room("text", (n, part.shape[1]), run)
        text[i : i + len(part)] = part
        similarity[i : i + len(part)] = np.einsum("ij,ij->i", image[i : i + len(part)], part)
    return {
        "similarity": pd.DataFrame({"id": pairs["id"], "similarity": similarity}),
        "image_features": image,
        "text_features": text,
    }


def some(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows (m,) of images (n, H, W, 3), those that lie elsewhere still to be read: (m, H, W, 3)."""
    return images.only(rows) if hasattr(images, "only") else images[rows]


def _room(name: str, shape: tuple[int, int], run: Run) -> np.ndarray:
    """An array to be filled: in memory, or where it is large mapped from a file, so that what it takes is not the
    process's own.
    """
    if run.scratch is None or 4 * shape[0] * shape[1] < HELD:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(temporary(run.scratch / f"{name}.npy"), mode="w+", dtype=np.float32, shape=shape)


def score_stage(name: str, model: str, whose: str) -> Stage:
    """Score D under a model."""
    return Stage(
        name,
        f"similarity of every pair under {whose}",
        "ubt.clip.score:score",
        {"model": model, "pairs": "data.pairs", **D},
        gives=SCORES,
        version=2,
        id="score",
        cost=cost.scored,
    )
