"""UBT (Algorithm 1): split, overfit, select, verdict, mask, unlearn, in the published form and in ours."""

from ubt.clip.score import score_stage
from ubt.core.stage import D, Stage
from ubt.evaluation.stages import evaluate_stage


def _unlearning(mask: str) -> dict[str, str]:
    """The inputs of unlearning, with one of the two masks."""
    own = {
        "masked_tokens": f"{mask}.tokens",
        "attributed": f"{mask}.attributed",
        "maps": f"{mask}.maps",
        "how": f"{mask}.how",
    }
    return {"model": "poison.model", **D, "topk": "select.topk", **own, "verdict": "verdict.verdict"}


_MASKING = {**D, "pairs": "data.pairs", "topk": "select.topk", "retain": "retain.retain"}
_JUDGED = {
    "attributed": "mask.attributed",
    "words": "mask.words",
    "maps": "mask.maps",
    "published_words": "mask_published.words",
    "published_maps": "mask_published.maps",
    "how": "mask.how",
}
_INSIDE = {
    "similarity": "score_inside.similarity",
    "image_features": "score_inside.image_features",
    "text_features": "score_inside.text_features",
}

STAGES: tuple[Stage, ...] = (
    Stage(
        "split",
        "D_susp: the pairs of lowest reference similarity",
        "ubt.defenses.token_unlearning.split:split",
        {"similarity": "score.similarity"},
        ("split",),
    ),
    Stage(
        "overfit",
        "mean (S - 1)² on D_susp plus InfoNCE on D_normal (Eq. 3)",
        "ubt.defenses.token_unlearning.overfit:overfit",
        {"model": "poison.model", **D, "split": "split.split"},
        ("overfit",),
    ),
    Stage(
        "score_inside",
        "similarity of D_susp's pairs under the overfitted model",
        "ubt.defenses.token_unlearning.select:inside",
        {"model": "overfit.model", **D, "pairs": "data.pairs", "split": "split.split"},
        ("select",),
    ),
    Stage(
        "select",
        "D_topk: the k pairs of D_susp most similar under the overfitted model (Eq. 4)",
        "ubt.defenses.token_unlearning.select:select",
        {"split": "split.split", **_INSIDE},
        ("select", "verdict"),
        version=3,
    ),
    score_stage("score_overfit", "overfit.model", "the overfitted model"),
    Stage(
        "retain",
        "what looks poisoned by its images, what is kept, and where the reference would put each",
        "ubt.defenses.token_unlearning.retain:retain",
        {
            "model": "poison.model",
            **D,
            "topk": "select.topk",
            "split": "split.split",
            "reference_images": "score.image_features",
            "reference_texts": "score.text_features",
        },
        ("retain",),
        version=5,
    ),
    Stage(
        "verdict",
        "is the model poisoned at all? A clean one leaves byte for byte as it came (V-E)",
        "ubt.defenses.token_unlearning.verdict:verdict",
        {"topk": "select.topk", **_INSIDE, "groups": "retain.groups"},
        ("verdict",),
        version=5,
    ),
    Stage(
        "flag",
        "which pairs of all of D look poisoned by their images",
        "ubt.defenses.token_unlearning.retain:flag",
        {
            "topk": "select.topk",
            "split": "split.split",
            "image_features": "score_poisoned.image_features",
            "text_features": "score_poisoned.text_features",
            "reference_images": "score.image_features",
        },
        ("retain",),
        version=3,
    ),
    Stage(
        "mask",
        "the words of D_topk's captions and the parts of its images that carry the backdoor, as the overfitted model"
        " reads them (Eq. 5, ours)",
        "ubt.defenses.token_unlearning.mask:mask",
        {"model": "overfit.model", **_MASKING},
        ("mask",),
        version=2,
    ),
    Stage(
        "mask_published",
        "the same as M_bd reads them (Eq. 5)",
        "ubt.defenses.token_unlearning.mask:mask",
        {"model": "poison.model", **_MASKING},
        ("mask",),
        version=2,
    ),
    Stage(
        "unlearn",
        "the purified model, ours (Eqs. 6, 7, flagged images led back to where the reference would put them)",
        "ubt.defenses.token_unlearning.unlearn:restore",
        _unlearning("mask") | {"retain": "retain.retain", "features": "retain.features", "restored": "retain.restored"},
        ("unlearn",),
        observed=True,
        version=6,
    ),
    Stage(
        "unlearn_published",
        "the purified model, as published (Eqs. 6, 7)",
        "ubt.defenses.token_unlearning.unlearn:unlearn",
        _unlearning("mask_published"),
        ("published",),
        observed=True,
        version=6,
    ),
    evaluate_stage("evaluate_purified", "unlearn.model", "the model purified by our form"),
    evaluate_stage("evaluate_published", "unlearn_published.model", "the model purified as published"),
    Stage(
        "judge",
        "recall of the split, precision and AUROC of the selection, what the masks keep of word and trigger",
        "ubt.evaluation.judge:judge",
        {
            "truth": "attack.truth",
            "split": "split.split",
            "ranked": "select.ranked",
            "topk": "select.topk",
            "flagged": "flag.flagged",
            "manifest": "attack.manifest",
            "images": "data.images",
            "verdict": "verdict.verdict",
            **_JUDGED,
        },
        ("attacks",),
        "judge",
        version=6,
    ),
)
