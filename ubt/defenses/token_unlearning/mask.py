"""Mask: what of D_topk's captions and images carries the backdoor (Eq. 5, Figs. 5 and 8).

The published form attributes under M_bd; there a pair may owe its similarity in part to what it shows. Ours attributes
under the overfitted model, which has learned to read the backdoor of such pairs and little else. Both are this
function.
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run
from ubt.core.settings import Settings, setting

METHODS = ("relevance", "leave one out", "input gradient")


class MaskSettings(Settings):
    """Which words and which parts of an image survive."""

    text_threshold: float = setting(
        0.1, "share of a caption's relevance above which a word is kept (paper: 0.1)", low=0, high=1
    )
    image_threshold: float = setting(
        0.3, "relevance, 0 to 1 over an image, above which a pixel is kept (paper: 0.3)", low=0, high=1
    )
    method: str = setting(
        "relevance",
        "how words and patches are scored: attention relevance (paper), or an alternative to compare",
        choices=METHODS,
    )
    start_layer: int = setting(
        -1, "block from which relevance is propagated; -1 is the last alone (published), 0 all", low=-100, high=100
    )
    rewrite: str = setting(
        "words",
        "a masked caption is written anew from its kept words, or made of the ids of its kept pieces",
        choices=("words", "ids"),
    )


def mask(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    pairs: pd.DataFrame,
    topk: pd.DataFrame,
    retain: pd.DataFrame,
    settings: MaskSettings,
    run: Run,
) -> dict:
    """Attribute D_topk's pairs and the flagged ones, each on itself, and mask D_topk's captions.

    Returns:
        `attributed`: id, row and whether it is of D_topk, which comes first; `words`: id, position, word, score,
        whether it is `kept` at the threshold and `cut` by the context; `maps`: relevance of patches (n, rows, columns)
        in [0, 1], a map a row of `attributed`; `masked`: id, caption, masked caption; `tokens`: the masked captions'
        token ids (k, context); `how`: the settings, and why another method was taken if it was.
    """
    from ubt.clip import attribution, words
    from ubt.data import model_input

    rows = topk["row"].to_numpy()
    wide = np.concatenate([rows, np.setdiff1d(retain["row"][retain["poisoned"]], rows)])
    model, ids = model.to(run.compute.device), np.asarray(tokens[wide])
    by_token, maps = attribution.attribute(
        model, images, tokens, settings.method, settings.start_layer, wide, run.progress
    )
    captions, context = pairs["caption"].iloc[wide].tolist(), tokens.shape[1]
    table, masked, remade = [], [], []
    for n, (row, caption) in enumerate(zip(wide, captions, strict=True)):
        found = words.split(caption, context)
        score = words.scores(found, by_token[n])
        kept = words.kept(score, settings.text_threshold)
        own = words.masked_ids(ids[n], by_token[n], settings.text_threshold)
        if settings.rewrite == "ids":
            pieces = words.kept(by_token[n], settings.text_threshold)
            kept = np.array([pieces[list(w.columns)].any() for w in found], bool)
        table += [
            (pairs["id"].iloc[row], i, w.text, float(s), bool(k), w.cut)
            for i, (w, s, k) in enumerate(zip(found, score, kept, strict=True))
        ]
        if n < len(rows):
            by_words = " ".join(w.text for w, k in zip(found, kept, strict=True) if k)
            masked.append(by_words if settings.rewrite == "words" else words.decode(own))
            remade.append(own)
    if settings.rewrite == "words":
        remade = model_input.tokenize(masked, context)
    return {
        "attributed": pd.DataFrame(
            {"id": pairs["id"].iloc[wide].to_numpy(), "row": wide, "topk": np.arange(len(wide)) < len(rows)}
        ),
        "words": pd.DataFrame(table, columns=["id", "position", "word", "score", "kept", "cut"]),
        "maps": maps,
        "masked": pd.DataFrame({"id": topk["id"].to_numpy(), "caption": captions[: len(rows)], "masked": masked}),
        "tokens": np.stack(remade),
        "how": (
            settings.to_dict() | {"unfit": attribution.unfit(model) if settings.method == attribution.RELEVANCE else ""}
        ),
    }
