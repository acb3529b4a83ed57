"""What stands apart: a crowd, or a few that are displaced much farther than whatever else fits badly."""

import numpy as np
import pandas as pd
import pytest
from tiny import CPU

from ubt.core.run import Run
from ubt.defenses.token_unlearning.retain import RetainSettings, exceeding, flag

N, SUSPICIOUS = 400, 80


def unit(*shape, seed: int) -> np.ndarray:
    v = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def towards(image: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    moved = (1 - share) * image + share * end
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


@pytest.mark.parametrize("crowded", [10, 20])
@pytest.mark.parametrize(("learned", "claims"), [(0.25, True), (0.8, False)])
def test_few_images_claim_their_own_if_nothing_else_is_displaced_as_far(learned, claims, crowded):
    """Ten poisons or twenty are a crowd, and four of another backdoor are none: thirty clean images are pulled half as
    far. Those are told from what was learned by heart by how far pairs are displaced that say something else, other
    than the crowd.
    """
    reference, (crowd, few) = unit(N, 32, seed=2), unit(2, 32, seed=1)
    image, text = reference.copy(), unit(N, 32, seed=4)
    at = np.arange(crowded, crowded + 4)
    half, rest = np.arange(crowded + 4, crowded + 34), np.arange(crowded + 34, SUSPICIOUS)
    image[:crowded], text[:crowded] = crowd, crowd
    image[at], text[at] = towards(image[at], few, 0.9), few
    image[half] = towards(image[half], few, 0.4)
    image[rest] = towards(image[rest], text[rest], learned)
    if not claims:
        image[half] = towards(image[half], text[half], learned)
    split = pd.DataFrame({"id": [f"p{i}" for i in range(N)], "suspicious": np.arange(N) < SUSPICIOUS})
    row = [0, 1, 2, *at]
    topk = pd.DataFrame({"id": [f"p{r}" for r in row], "row": row, "similarity": 0.9, "group": [0] * 3 + [1] * 4})
    out = flag(topk, split, image, text, reference, RetainSettings(), Run(seed=0, compute=CPU))["flagged"]
    assert out["group"][:crowded].tolist() == [0] * crowded
    assert set(np.flatnonzero(out["group"] == 1)) >= {*at} if claims else not (out["group"] == 1).any()


def test_beside_few_others_nothing_is_usual():
    assert exceeding(0.3, np.full(20, 0.1)) == pytest.approx(3)
    assert np.isnan(exceeding(0.3, np.full(19, 0.1)))
