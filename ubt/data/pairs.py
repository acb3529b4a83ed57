"""What every source gives: pairs with stable ids, images at the model's size, captions."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Image-caption pairs: ids (n,), images uint8 RGB (n, H, W, 3, may be a memory map), captions (n,)."""

    ids: list[str]
    images: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        return len(self.ids)
