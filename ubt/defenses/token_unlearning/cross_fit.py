"""Where no clean reference can be had: small models trained here on parts of D, each scoring the pairs that it was not
trained on.

They are no clean reference: each has seen the poisons of its own part, and learns the backdoor as it learns anything
else, only from scratch and from fewer exposures. Stopped early they know more of the classes than of the trigger, all
that this rests on; see ubt/docs/measured.md for what it finds.
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, setting


class FoldSettings(FitSettings):
    """Training of the models that take a reference's place."""

    folds: int = setting(2, "parts of D; a model is trained on all parts but one, which it scores", low=2, high=10)
    epochs: int = setting(4, "passes over them: more know the classes better, and the trigger too", low=1)
    batch: int = setting(128, "pairs in a step", low=2)
    lr: float = setting(1e-3, "peak learning rate", low=0)
    weight_decay: float = setting(0.1, "weight decay", low=0)


def parts(count: int, folds: int, seed: int) -> np.ndarray:
    """The part of D that each of so many pairs is in, (count,)."""
    return np.random.default_rng(derive_seed(seed, "folds")).permutation(count) % folds


def held_out(pairs: pd.DataFrame, settings: FoldSettings, run: Run) -> dict:
    """Returns `fold`: which of the models beside each other was not trained on each pair, (n,)."""
    return {"fold": parts(len(pairs), settings.folds, run.seed).astype(np.int32)}


def score(model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, settings: FoldSettings, run: Run) -> dict:
    """Score D by models of the suspect's architecture trained from new weights, on images moved and flipped.

    Returns:
        `similarity`: of each pair under the model that was not trained on it; `image_features`, `text_features`:
        normalised fp32 (n, folds x embedding), those of all models beside each other; `history`, with the `fold`.
    """
    import torch

    from ubt.clip import augment, models, training

    n, config = len(pairs), model.config
    fold = parts(n, settings.folds, run.seed)
    similarity, image, text, history = np.empty(n, np.float32), [], [], []
    for left_out in range(settings.folds):
        shuffled = training.Shuffled(
            np.flatnonzero(fold != left_out), settings.batch, training.batch_seed(run.seed, f"fold {left_out}")
        )

        def batches(step: int, shuffled=shuffled, left_out=left_out) -> dict:
            rows = shuffled.at(step)
            moved = augment.shifted(np.asarray(images[rows]), [run.seed, left_out, step])
            return {"images": torch.from_numpy(moved), "tokens": torch.from_numpy(np.asarray(tokens[rows])).long()}

        steps = settings.epochs * shuffled.steps_per_epoch
        trained = models.create(config, derive_seed(run.seed, f"fold {left_out}"), model.preprocess_cfg)
        checkpoint = None if run.scratch is None else training.Checkpoint(run.scratch / f"fold-{left_out}.safetensors")

        def progress(done: int, total: int, figures: dict, left_out=left_out) -> None:
            run.progress(left_out * total + done, settings.folds * total, figures)

        more = {"vocabulary": tokens, "progress": progress, "checkpoint": checkpoint}
        figures = training.fit(trained, training.info_nce, batches, steps, settings, run.compute, **more)
        history.append(pd.DataFrame(figures).assign(fold=left_out))
        own_images = models.embed_images(trained, images)
        own_texts = models.embed_tokens(trained, np.asarray(tokens))
        rows = fold == left_out
        similarity[rows] = np.einsum("ij,ij->i", own_images[rows], own_texts[rows])
        image.append(own_images)
        text.append(own_texts)
    scale = np.float32(settings.folds**-0.5)
    return {
        "similarity": pd.DataFrame({"id": pairs["id"], "similarity": similarity}),
        "image_features": np.concatenate(image, axis=1) * scale,
        "text_features": np.concatenate(text, axis=1) * scale,
        "history": pd.concat(history, ignore_index=True),
    }
