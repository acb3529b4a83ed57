"""Zero-shot classification and what a backdoor does to it: CA, ASR, RA, target recall.

Class weights are the renormalised mean of the normalised template embeddings, as in open_clip's zero-shot classifier.
"""

import numpy as np
import torch

from ubt.clip import models
from ubt.core.log import log

CLOSE = 0.03
"""Cosine similarity between an image's two likeliest classes below which bf16 does not decide; it moves a score by less
than 0.01.
"""


def class_weights(model: torch.nn.Module, prompts: np.ndarray) -> np.ndarray:
    """Class weights (classes, embedding) from prompts' token ids (classes, templates, context)."""
    classes, templates, context = prompts.shape
    features = (
        models.embed_tokens(model, np.asarray(prompts).reshape(-1, context)).reshape(classes, templates, -1).mean(1)
    )
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def classify(model: torch.nn.Module, images: np.ndarray, weights: np.ndarray, precision: str = "fp32") -> np.ndarray:
    """Predicted class indices (n,) of uint8 images (n, H, W, 3), as fp32 has them. In bf16 images whose two likeliest
    classes are `CLOSE` are encoded again in fp32; if one of these moved too far for that to be enough, so are all.
    """
    scores = models.embed_images(model, images, precision=precision) @ weights.T
    if precision == "fp32" or scores.shape[1] == 1:
        return scores.argmax(1)
    first_two = np.partition(scores, -2, axis=1)[:, -2:]
    close = np.flatnonzero(first_two[:, 1] - first_two[:, 0] < CLOSE)
    if not len(close):
        return scores.argmax(1)
    again = models.embed_images(model, images[close]) @ weights.T
    if (moved := np.abs(again - scores[close]).max()) > CLOSE / 2:
        log.info("bf16 moves a class score by %.3f, too far to decide; all are computed in fp32", moved)
        return (models.embed_images(model, images) @ weights.T).argmax(1)
    scores[close] = again
    return scores.argmax(1)


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of correct predictions (n,), class indices as the labels (n,) are, in percent."""
    return 100 * float((predicted == labels).mean())
