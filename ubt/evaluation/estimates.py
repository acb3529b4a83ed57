"""Estimates: what an audit can say of a model before and after unlearning, where nobody knows which pairs are
poisoned.
"""

import numpy as np
import pandas as pd

from ubt.core.run import Run, derive_seed

ESTIMATES = {
    "pull": "similarity of flagged images with D_topk's captions",
    "left": "flagged images still taken for them, %",
    "retrieval": "R@1 on D_normal, %",
    "agreement": "captions retrieved as before, %",
    "ca": "CA, %",
}
"""How an audit's estimates are headed."""
SAMPLE = 1000
"""Pairs of D_normal, drawn at random, that retrieval is measured on."""


def estimate(
    model,
    purified,
    published,
    images: np.ndarray,
    tokens: np.ndarray,
    split: pd.DataFrame,
    topk: pd.DataFrame,
    flagged: pd.DataFrame,
    run: Run,
    test_images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    prompts: np.ndarray | None = None,
    classes: list[str] | None = None,
) -> dict:
    """Measure the suspect model and both purified ones by what an auditor has.

    Of each model: `pull`, the mean cosine similarity of the flagged images with D_topk's captions (what the backdoor
    does to them); `left`, the share of them, in percent, that still take one of D_topk's captions for the best among as
    many random ones of D_normal; `retrieval`, R@1 in percent of images to captions among kept pairs of D_normal
    (utility); `agreement`, percent of these that retrieve the same caption as under the suspect model; `ca`, in
    percent, where there are labelled images.

    Returns:
        `measures`: by model (`poisoned`, `purified`, `published`); `found`: how many pairs of D are flagged, and how
            many of D_topk.
    """
    from ubt.clip import models
    from ubt.evaluation import zeroshot

    random = np.random.default_rng(derive_seed(run.seed, "estimate"))
    poisoned = flagged["poisoned"].to_numpy()
    normal = np.flatnonzero(~split["suspicious"].to_numpy() & ~poisoned)
    kept, suspects = np.sort(random.permutation(normal)[:SAMPLE]), np.flatnonzero(poisoned)
    shown, topk_rows = np.sort(random.permutation(suspects)[:SAMPLE]), topk["row"].to_numpy()
    pixels, flagged_pixels, before, found = images[kept], images[shown] if len(shown) else None, None, {}
    captions, unique = np.unique(np.asarray(tokens[kept]), axis=0, return_inverse=True)
    rivals = random.permutation(len(captions))[: len(topk_rows)]
    for i, (name, candidate) in enumerate({"poisoned": model, "purified": purified, "published": published}.items()):
        run.progress(i, 3, {})
        candidate = candidate.to(run.compute.device)
        texts = models.embed_tokens(candidate, captions)
        own = models.embed_tokens(candidate, np.asarray(tokens[topk_rows]))
        nearest = (models.embed_images(candidate, pixels) @ texts.T).argmax(1)
        before = nearest if before is None else before
        row = {
            "retrieval": 100 * float((nearest == unique.reshape(-1)).mean()),
            "agreement": 100 * float((nearest == before).mean()),
        }
        if flagged_pixels is not None:
            features = models.embed_images(candidate, flagged_pixels)
            towards, others = features @ own.T, texts[rivals]
            row |= {
                "pull": float(towards.mean()),
                "left": 100 * float((towards.max(1) > (features @ others.T).max(1)).mean()),
            }
        if prompts is not None:
            weights = zeroshot.class_weights(candidate, prompts)
            predicted = zeroshot.classify(candidate, test_images, weights, run.compute.precision)
            row["ca"] = zeroshot.accuracy(predicted, np.asarray(labels))
        found[name] = row
    run.progress(3, 3, {})
    return {
        "measures": found,
        "found": {
            "flagged": int(poisoned.sum()),
            "pairs": len(flagged),
            "topk_flagged": int(poisoned[topk_rows].sum()),
        },
    }
