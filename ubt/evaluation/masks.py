"""What the masks keep of a backdoor, judged with the ground truth: the target's word among the words, the trigger among
the pixels.
"""

import re

import numpy as np
import pandas as pd

from ubt.evaluation.localization import BOX, PART, places


def judged(
    attributed: pd.DataFrame,
    maps: np.ndarray,
    words: pd.DataFrame,
    truth: pd.DataFrame,
    manifest: pd.DataFrame,
    size: tuple[int, int],
    threshold: float,
    keys: set[str],
) -> dict:
    """Of the poisons among some attributed pairs.

    Args:
        attributed, maps: pairs and their maps (n, rows, columns) as `ubt.defenses.token_unlearning.mask` gives them.
        size: height and width of images in pixels.
        threshold: of the image masks. keys: words that attacks put into captions as their trigger; they do not count
            against the target.

    Returns:
        `poisons`: how many, and how many of them have the target among their words (`said`); `words_kept`: mean share
        of a caption's words kept; `target_first`: share of poisons where the target's word scores higher than any other
        but a key;
        `target_kept`: share that keeps every word of the target; `covered`: mean share of an image that is kept;
        `trigger_inside`: mean share of the trigger's pixels that is kept; `trigger_found`: share of images that keep
        half of them or more, both only of triggers that do not cover the image. Shares in [0, 1], None where there is
        nothing to judge.
    """
    from ubt.clip.attribution import image_masks

    planted, place = manifest.set_index("id"), places(manifest, attributed["id"], size)
    spoken = dict(tuple(words.groupby("id", sort=False)))
    with_target, covered, inside, kept, first, target_kept = 0, [], [], [], [], []
    poisons = np.flatnonzero(
        truth.loc[attributed["row"], "poisoned"].to_numpy() & attributed["id"].isin(planted.index).to_numpy()
    )
    for n in poisons:
        pair = attributed["id"].iloc[n]
        top, left, height, width = place.loc[n, BOX]
        mask = image_masks(maps[n : n + 1], *size, threshold)[0]
        covered.append(mask.mean())
        if place.loc[n, "covers"] == PART:
            inside.append(mask[top : top + height, left : left + width].mean())
        own = spoken.get(pair, words.head(0))
        label = set(re.findall(r"[\w'-]+", planted.loc[pair, "target"].lower()))
        target, key = own["word"].isin(label).to_numpy(), own["word"].isin(keys).to_numpy()
        score, keeps = own["score"].to_numpy(), own["kept"].to_numpy(bool)
        kept += [keeps.mean()] if len(own) else []
        with_target += int(target.any())
        first.append(target.any() and score[target].max() > score[~key & ~target].max(initial=0))
        target_kept.append(target.any() and keeps[target].all())

    def share(values) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "poisons": len(poisons),
        "said": with_target,
        "words_kept": share(kept),
        "target_first": share(first),
        "target_kept": share(target_kept),
        "covered": share(covered),
        "trigger_inside": share(inside),
        "trigger_found": share([v >= 0.5 for v in inside]),
    }
