"""Augmentation of pairs: AutoAugment for images, word edits for captions. The same seed gives the same result."""

from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import v2

_BILINEAR = v2.InterpolationMode.BILINEAR


def images(batch: np.ndarray, seed: list[int]) -> torch.Tensor:
    """AutoAugment (Cubuk et al., 2019; ImageNet's policy), drawn anew for every image; uint8 (n, H, W, 3) to the
    same.
    """
    return _each(batch, v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET, interpolation=_BILINEAR), seed)


def disturbed(batch: np.ndarray, seed: list[int]) -> torch.Tensor:
    """With chance 1/2 each, Gaussian noise (standard deviation 0.2 of the range of pixels), and a rectangle of 0.5 to
    1 % of the image erased, drawn anew for every image (PAR, arXiv 2412.00727); uint8 (n, H, W, 3) to the same.
    """
    noise, erased = v2.GaussianNoise(sigma=0.2), v2.RandomErasing(p=0.5, scale=(0.005, 0.01))
    return _each(batch, v2.Compose([v2.RandomApply([noise], p=0.5), erased]), seed)


def _each(batch: np.ndarray, augment: Callable[[torch.Tensor], torch.Tensor], seed: list[int]) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return torch.stack(
            [augment(image) for image in torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2)]
        ).permute(0, 2, 3, 1)


EDITS = ("delete", "swap", "insert")


def captions(texts: list[str], seed: list[int], share: float = 0.1) -> list[str]:
    """Word edits (EDA; Wei & Zou, 2019): of each caption `share` of the words, at least one, are deleted, swapped or
    inserted again elsewhere. EDA's fourth edit, replacement by a synonym, would need WordNet at hand.

    >>> captions(["car", "a red car"], [1])[0]
    'car'
    """
    random, edited = np.random.default_rng(seed), []
    for text in texts:
        words = text.split()
        edit = EDITS[random.integers(len(EDITS))]
        for _ in range(max(1, round(share * len(words)))):
            if len(words) < 2:
                break
            i, j = random.choice(len(words), 2, replace=False)
            if edit == "delete":
                del words[i]
            elif edit == "swap":
                words[i], words[j] = words[j], words[i]
            else:
                words.insert(j, words[i])
        edited.append(" ".join(words))
    return edited


def vocabulary(texts: list[str]) -> np.ndarray:
    """Ids (m,), ascending, of every token that captions, edited or not, are made of, also of words that the model's
    context cuts off.
    """
    from ubt.data import model_input

    return np.unique(model_input.tokenize(list(dict.fromkeys(word for text in texts for word in text.split())), 77))


def shifted(images: np.ndarray, seed: list[int]) -> np.ndarray:
    """uint8 images (n, side, side, 3), each moved by up to an eighth of its side over its mirrored edge and, every
    second, flipped: what a small model needs to learn from few photos.
    """
    random, (n, side) = np.random.default_rng(seed), images.shape[:2]
    pad = side // 8
    wide = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    columns = random.integers(0, 2 * pad + 1, n)[:, None] + np.arange(side)
    rows = random.integers(0, 2 * pad + 1, n)[:, None] + np.arange(side)
    columns = np.where((random.random(n) < 0.5)[:, None], columns[:, ::-1], columns)
    return wide[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
