"""Benign against malignant texts (BDetCLIP; Niu et al., ICML 2025): what an image shows is less like a text with
unrelated words in it, while a trigger's embedding minds them little.

The score is minus the sum over classes of cos(image, benign text) - cos(image, malignant text). Benign are the class's
own templates; malignant, for want of a language model, the class among words that have nothing to do with it.
"""

import numpy as np

from ubt.core.settings import Settings, setting
from ubt.data import model_input
from ubt.data.user_roles import prompts
from ubt.detectors.base import CLASSES
from ubt.detectors.gate.base import ImageDetector, Own, Watched, embed
from ubt.evaluation import zeroshot

WORDS = tuple("river yellow quickly station morning below paper music often winter narrow street".split())
"""Words that go with no class in particular."""


class TextsSettings(Settings):
    """The malignant texts."""

    texts: int = setting(6, "malignant texts of each class", low=1)
    words: int = setting(3, "unrelated words in each", low=1, high=len(WORDS))


def prepare(watched: Watched, s: TextsSettings, seed: int) -> Own:
    """Embed the texts."""
    context, random = model_input.context_length(watched.model), np.random.default_rng(seed)
    said = [
        [f"{' '.join(random.choice(WORDS, s.words, replace=False))} {n}" for _ in range(s.texts)] for n in watched.names
    ]
    tokens = np.stack([model_input.tokenize(texts, context) for texts in said])
    benign = zeroshot.class_weights(watched.model, prompts(list(watched.names), "7", context))
    away = zeroshot.class_weights(watched.model, tokens) - benign

    def score(images: np.ndarray) -> np.ndarray:
        return (embed(watched.model, images) @ away.T).sum(1)

    return score


TEXT = ImageDetector(
    "how little unrelated words matter to the image (BDetCLIP)", TextsSettings, prepare, (CLASSES,), draws=True
)
