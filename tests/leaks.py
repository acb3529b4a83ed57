"""Work that keeps what it is given room for; a process of its own imports it by name."""

import numpy as np

KEPT = []


def leak(model, images, tokens) -> None:
    KEPT.append(np.ones(1_000_000 * len(tokens) // 8))
