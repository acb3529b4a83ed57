"""Zero-shot classification and what a backdoor does to it: CA, ASR, RA, target recall.

Class weights are the renormalised mean of the normalised template embeddings, as in open_clip's zero-shot classifier.
"""

import numpy as np
import torch

from ubt.clip import models


def class_weights(model: torch.nn.Module, prompts: np.ndarray) -> np.ndarray:
    """Class weights (classes, embedding) from prompts' token ids (classes, templates, context)."""
    classes, templates, context = prompts.shape
    features = (
        models.embed_tokens(model, np.asarray(prompts).reshape(-1, context)).reshape(classes, templates, -1).mean(1)
    )
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def classify(model: torch.nn.Module, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Predicted class indices (n,) of uint8 images (n, H, W, 3)."""
    return (models.embed_images(model, images) @ weights.T).argmax(1)


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of correct predictions (n,), class indices as the labels (n,) are, in percent."""
    return 100 * float((predicted == labels).mean())
