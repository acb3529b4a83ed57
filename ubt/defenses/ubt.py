"""UBT (Algorithm 1): split, overfit, select, verdict, mask, unlearn, in the published form and in ours."""

from ubt.stages import D, Stage, evaluate_stage, score_stage

_UNLEARN = {
    "model": "poison.model", "reference": "reference.model", **D, "topk": "select.topk", "masked": "mask.masked", "retain": "retain.retain",
    "verdict": "verdict.verdict", "validation_images": "validation.images", "validation_labels": "validation.labels", "prompts": "validation.prompts",
}  # fmt: skip

STAGES: tuple[Stage, ...] = (
    Stage("split", "ubt.stages.split:split", {"similarity": "score.similarity"}, ("split",)),
    Stage("overfit", "ubt.stages.overfit:overfit", {"model": "poison.model", **D, "split": "split.split"}, ("overfit",)),
    score_stage("score_overfit", "overfit.model"),
    Stage("select", "ubt.stages.select:select", {"similarity": "score_overfit.similarity", "split": "split.split"}, ("select",)),
    Stage(
        "verdict", "ubt.stages.verdict:verdict",
        {"topk": "select.topk", "image_features": "score_overfit.image_features", "text_features": "score_overfit.text_features"}, ("verdict",),
    ),
    Stage("mask", "ubt.stages.mask:mask", {"model": "poison.model", "images": "data.images", "pairs": "data.pairs", "topk": "select.topk"}, ("mask",)),
    Stage(
        "retain", "ubt.stages.retain:retain",
        {"topk": "select.topk", "split": "split.split", "overfit_images": "score_overfit.image_features", "overfit_texts": "score_overfit.text_features",
         "reference_images": "score.image_features", "reference_texts": "score.text_features"}, ("retain",),
    ),
    Stage("validation", "ubt.stages.data:validation", {}, ("validation",)),
    Stage("unlearn", "ubt.stages.unlearn:unlearn", _UNLEARN, ("unlearn",)),
    Stage("unlearn_published", "ubt.stages.unlearn:unlearn", _UNLEARN, ("published",)),
    evaluate_stage("evaluate_purified", "unlearn.model"),
    evaluate_stage("evaluate_published", "unlearn_published.model"),
    Stage(
        "judge", "ubt.stages.evaluate:judge",
        {"truth": "attack.truth", "split": "split.split", "ranked": "select.ranked", "topk": "select.topk", "retain": "retain.retain"}, (), "judge",
    ),
)  # fmt: skip
