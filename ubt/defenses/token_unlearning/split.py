"""Split: the pairs of lowest similarity under the clean reference are suspicious (section IV-A)."""

import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import Settings, setting


class SplitSettings(Settings):
    """How much of D is suspicious."""

    fraction: float = setting(
        0.06, "share of D of lowest reference similarity that becomes D_susp (paper: 0.01)", low=0, high=1
    )


def suspicious_count(pairs: int, fraction: float) -> int:
    """
    >>> suspicious_count(10_000, 0.06)
    600
    """
    return max(1, round(pairs * fraction))


def split(similarity: pd.DataFrame, settings: SplitSettings, run: Run) -> dict:
    """Rank D by reference similarity, lowest first, and cut.

    Returns:
        `split`: id, `rank` (1 = least similar) and whether the pair is `suspicious`, in the order of D.
    """
    rank = similarity["similarity"].rank(method="first").astype(int)
    cut = suspicious_count(len(similarity), settings.fraction)
    return {"split": pd.DataFrame({"id": similarity["id"], "rank": rank, "suspicious": rank <= cut})}
