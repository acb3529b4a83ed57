"""What the masks keep of a backdoor, judged with the ground truth: the target's word among the words, the trigger among the pixels."""

import re

import numpy as np
import pandas as pd


def judged(
    attributed: pd.DataFrame, maps: np.ndarray, words: pd.DataFrame, truth: pd.DataFrame, manifest: pd.DataFrame, size: tuple[int, int], how: dict,
    keys: set[str],
) -> dict:  # fmt: skip
    """Of the poisons among some attributed pairs.

    Args:
        attributed, maps: pairs and their maps as `ubt.stages.mask` gives them. size: height and width of images in pixels.
        how: the masks' settings. keys: words that attacks put into captions as their trigger; they do not count against the target.

    Returns:
        `poisons`: how many; `words_kept`: mean share of a caption's words kept; `target_first`: share of captions where no word
        but a key scores higher than the target's; `target_kept`: share that keeps every word of the target; `covered`: mean share
        of an image that is kept; `trigger_inside`: mean share of the trigger's pixels that is kept; `trigger_found`: share of images that keep
        half of it or more. Shares in [0, 1], None where there is nothing to judge.
    """
    from ubt.attribution import image_masks

    poisons = truth.loc[attributed["row"], "poisoned"].to_numpy()
    planted = manifest.set_index("id")
    spoken = dict(tuple(words.groupby("id", sort=False)))
    said, seen = [], []
    kept = image_masks(maps[poisons], *size, how["image_threshold"]) if poisons.any() else []
    for pair, inside in zip(attributed["id"][poisons], kept, strict=True):
        top, left, height, width = planted.loc[pair, ["top", "left", "height", "width"]]
        if height > 0:
            seen.append((inside.mean(), inside[top : top + height, left : left + width].mean()))
        if (own := spoken.get(pair)) is not None:
            label = set(re.findall(r"[\w'-]+", planted.loc[pair, "target"].lower()))
            target, key = own["word"].isin(label).to_numpy(), own["word"].isin(keys).to_numpy()
            score = own["score"].to_numpy()
            if target.any():
                said.append((own["kept"].mean(), score[target].max() >= score[~key].max(), own["kept"].to_numpy()[target].all()))
    by_word = np.array(said, float).mean(0) if said else [None] * 3
    by_pixel = np.array(seen, float).mean(0) if seen else [None] * 2
    found = float(np.mean([share >= 0.5 for _, share in seen])) if seen else None
    names = "words_kept", "target_first", "target_kept", "covered", "trigger_inside"
    figures = {name: None if v is None else float(v) for name, v in zip(names, (*by_word, *by_pixel), strict=True)}
    return {"poisons": int(poisons.sum()), **figures, "trigger_found": found}
