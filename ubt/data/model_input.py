"""What a CLIP model takes: token ids of captions, images of its size."""

import functools

import numpy as np
import open_clip
import torch

from ubt.data.fit import Fit


def image_sides(model: torch.nn.Module) -> tuple[int, int] | None:
    """Height and width in pixels of the images that the model takes; none where its image tower does not say."""
    size = getattr(model.visual, "image_size", None)
    return (size, size) if isinstance(size, int) else size and tuple(size)


def image_size(model: torch.nn.Module) -> int:
    """Side of the square images that the model takes, in pixels."""
    return image_sides(model)[0]


def fit(model: torch.nn.Module) -> Fit:
    """How images become squares of the model's size, as its configuration says."""
    return Fit.of(getattr(model, "preprocess_cfg", {}))


def context_length(model: torch.nn.Module) -> int:
    """Token ids a caption."""
    return model.context_length


@functools.cache
def tokenizer() -> open_clip.tokenizer.SimpleTokenizer:
    """The stock tokenizer."""
    return open_clip.tokenizer.SimpleTokenizer()


def tokenize(captions: list[str], context_length: int) -> np.ndarray:
    """Token ids (captions, context_length), int32, by the stock tokenizer; longer captions are cut, EOT kept."""
    return tokenizer()(captions, context_length).numpy().astype(np.int32)


def prepend(word: str, tokens: np.ndarray) -> np.ndarray:
    """Token ids (..., context) of captions with a word before them; what no longer fits is cut, EOT kept."""
    own = tokenizer().encode(word)
    longer = np.concatenate(
        [
            tokens[..., :1],
            np.broadcast_to(np.array(own, tokens.dtype), (*tokens.shape[:-1], len(own))),
            tokens[..., 1:],
        ],
        -1,
    )
    return cut_to_context(longer, tokens.shape[-1])


def cut_to_context(tokens: np.ndarray, context: int) -> np.ndarray:
    """Token ids (n, context or fewer): what no longer fits is cut, EOT kept, for a model that reads less than another
    that they were made for.
    """
    if tokens.shape[-1] <= context:
        return tokens
    cut, ends = tokens[..., :context].copy(), tokens.max(-1)
    lost = ~(cut == ends[..., None]).any(-1)
    cut[lost, -1] = ends[lost]
    return cut
