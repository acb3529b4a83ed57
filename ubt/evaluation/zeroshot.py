"""Zero-shot classification and what a backdoor does to it: CA, ASR, RA, target recall.

Class weights are the renormalised mean of the normalised template embeddings, as in open_clip's zero-shot classifier.
"""

import numpy as np
import torch

from ubt.clip import models
from ubt.core.log import log

PART, PROBE, CLOSE = 2048, 16, 0.03
"""Images that are looked at in one go; the first of them, which fp32 looks at too, to see how far bf16 moves a score
(usually by less than 0.01); and the cosine similarity between an image's two likeliest classes below which bf16 does
not decide.
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
    classes are `CLOSE` are encoded again in fp32; where it moves scores too far for that to be enough, or most images
    are close, all further ones are encoded in fp32 alone.
    """
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(images), PART):
        part = images[start : start + PART]
        scores = models.embed_images(model, part, precision=precision) @ weights.T
        if precision != "fp32" and scores.shape[1] > 1:
            scores, precision = _decided(model, part, weights, scores, precision)
        found.append(scores.argmax(1))
    return np.concatenate(found)


def _decided(
    model: torch.nn.Module, images: np.ndarray, weights: np.ndarray, scores: np.ndarray, precision: str
) -> tuple[np.ndarray, str]:
    """Scores (n, classes) of bf16 with those of fp32 where that decides; and the precision for the next images."""
    first_two = np.partition(scores, -2, axis=1)[:, -2:]
    close = first_two[:, 1] - first_two[:, 0] < CLOSE
    close[:PROBE] = True
    rows = np.flatnonzero(close)
    again = models.embed_images(model, images[rows]) @ weights.T
    if (moved := np.abs(again - scores[rows]).max()) > CLOSE / 2:
        log.info("bf16 moves a class score by %.3f, too far to decide; all are computed in fp32", moved)
        return models.embed_images(model, images) @ weights.T, "fp32"
    scores[rows] = again
    return scores, precision if len(rows) < max(2 * PROBE, len(images) / 2) else "fp32"


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of correct predictions (n,), class indices as the labels (n,) are, in percent."""
    return 100 * float((predicted == labels).mean())
