"""UBT (Algorithm 1): split, overfit, select, verdict, mask, unlearn, in the published form and in ours."""

from ubt.stages import D, Stage, evaluate_stage, score_stage


def _unlearning(mask: str) -> dict[str, str]:
    """The inputs of unlearning, with one of the two masks."""
    own = {"masked_tokens": f"{mask}.tokens", "attributed": f"{mask}.attributed", "maps": f"{mask}.maps", "how": f"{mask}.how"}
    return {
        "model": "poison.model", "reference": "reference.model", **D, "topk": "select.topk", **own, "retain": "retain.retain", "verdict": "verdict.verdict",
        "validation_images": "validation.images", "validation_labels": "validation.labels", "prompts": "validation.prompts",
    }  # fmt: skip


_MASKING = {**D, "pairs": "data.pairs", "topk": "select.topk", "retain": "retain.retain"}
_JUDGED = {
    "attributed": "mask.attributed", "words": "mask.words", "maps": "mask.maps", "published_words": "mask_published.words",
    "published_maps": "mask_published.maps", "how": "mask.how",
}  # fmt: skip
_FEATURES = {"image_features": "score_overfit.image_features", "text_features": "score_overfit.text_features"}

STAGES: tuple[Stage, ...] = (
    Stage("split", "D_susp: the pairs of lowest reference similarity", "ubt.stages.split:split", {"similarity": "score.similarity"}, ("split",)),
    Stage(
        "overfit", "mean (S - 1)² on D_susp plus InfoNCE on D_normal (Eq. 3)",
        "ubt.stages.overfit:overfit", {"model": "poison.model", **D, "split": "split.split"}, ("overfit",),
    ),
    score_stage("score_overfit", "overfit.model", "the overfitted model"),
    Stage(
        "select", "D_topk: the k pairs of D_susp most similar under the overfitted model (Eq. 4)",
        "ubt.stages.select:select", {"similarity": "score_overfit.similarity", "split": "split.split", **_FEATURES}, ("select", "verdict"), version=2,
    ),
    Stage(
        "verdict", "is the model poisoned at all? A clean one leaves byte for byte as it came (V-E)", "ubt.stages.verdict:verdict",
        {"topk": "select.topk", **_FEATURES}, ("verdict",), version=2,
    ),
    Stage(
        "retain", "D_normal without what looks poisoned", "ubt.stages.retain:retain",
        {"topk": "select.topk", "split": "split.split", "overfit_images": "score_overfit.image_features", "overfit_texts": "score_overfit.text_features",
         "reference_images": "score.image_features", "reference_texts": "score.text_features"}, ("retain",), version=2,
    ),
    Stage(
        "mask", "the words of D_topk's captions and the parts of its images that carry the backdoor, as the overfitted model reads them (Eq. 5, ours)",
        "ubt.stages.mask:mask", {"model": "overfit.model", **_MASKING}, ("mask",), version=2,
    ),
    Stage("mask_published", "the same as M_bd reads them (Eq. 5)", "ubt.stages.mask:mask", {"model": "poison.model", **_MASKING}, ("mask",), version=2),
    Stage("validation", "labelled images for the choice of the best step", "ubt.stages.data:validation", {}, ("validation",)),
    Stage(
        "unlearn", "the purified model, ours (Eqs. 6, 7, with retention)",
        "ubt.stages.unlearn:unlearn", _unlearning("mask"), ("unlearn",), observed=True, version=5,
    ),
    Stage(
        "unlearn_published", "the purified model, as published (Eqs. 6, 7)",
        "ubt.stages.unlearn:unlearn", _unlearning("mask_published"), ("published",), observed=True, version=5,
    ),
    evaluate_stage("evaluate_purified", "unlearn.model", "the model purified by our form"),
    evaluate_stage("evaluate_published", "unlearn_published.model", "the model purified as published"),
    Stage(
        "judge", "recall of the split, precision and AUROC of the selection, what the masks keep of word and trigger", "ubt.stages.evaluate:judge",
        {"truth": "attack.truth", "split": "split.split", "ranked": "select.ranked", "topk": "select.topk", "retain": "retain.retain",
         "manifest": "attack.manifest", "images": "data.images", **_JUDGED},
        ("attacks",), "judge", version=4,
    ),
)  # fmt: skip
