"""Mask: keep the words of D_topk's captions that carry the backdoor, as attributed under M_bd (Eq. 5)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ubt.config import Run, Settings, setting


@dataclass(frozen=True)
class MaskSettings(Settings):
    """Which words survive."""

    text_threshold: float = setting(0.1, "share of a caption's relevance above which a word is kept (paper: 0.1)", low=0, high=1)


def mask(model, images: np.ndarray, pairs: pd.DataFrame, topk: pd.DataFrame, settings: MaskSettings, run: Run) -> dict:
    """Attribute each caption of D_topk on its own image and rewrite it from the words above the threshold.

    Returns:
        `masked`: id, caption, masked caption; `words`: id, position, word, score.
    """
    from ubt import attribution

    rows = topk["row"].to_numpy()
    captions = pairs["caption"].iloc[rows].tolist()
    scores = attribution.leave_one_out(model.to(run.compute.device), images[rows], captions)
    words = [attribution.words_of(c) for c in captions]
    masked = [" ".join(attribution.keep_words(w, s, settings.text_threshold)) for w, s in zip(words, scores, strict=True)]
    table = [(i, n, w, float(s)) for i, ws, ss in zip(topk["id"], words, scores, strict=True) for n, (w, s) in enumerate(zip(ws, ss, strict=True))]
    return {
        "masked": pd.DataFrame({"id": topk["id"].to_numpy(), "caption": captions, "masked": masked}),
        "words": pd.DataFrame(table, columns=["id", "position", "word", "score"]),
    }  # fmt: skip
