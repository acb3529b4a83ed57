"""Detectors: each gives every pair of D one suspicion score, higher = more suspicious, and none is handed the ground
truth.
"""

from ubt.core.stage import Stage

_IMAGES = {"image_features": "score_poisoned.image_features", "pairs": "data.pairs"}


def _detector(name: str, about: str, function: str, inputs: dict[str, str], settings: tuple[str, ...] = ()) -> Stage:
    return Stage(f"detect_{name}", about, f"ubt.detectors.{function}", inputs, settings)


_ALL = (
    _detector(
        "reference",
        "low similarity under the clean reference",
        "similarity:reference",
        {"similarity": "score.similarity"},
    ),
    _detector(
        "text",
        "captions alike, whatever the images show: the control",
        "text:captions",
        {"text_features": "score.text_features", "pairs": "data.pairs"},
        ("detect",),
    ),
    _detector(
        "poisoned", "high similarity under M_bd", "similarity:poisoned", {"similarity": "score_poisoned.similarity"}
    ),
    _detector(
        "overfit",
        "high similarity under the overfitted model, D_susp first (UBT)",
        "similarity:overfit",
        {"similarity": "score_overfit.similarity", "split": "split.split"},
    ),
    _detector("loss", "low loss early in training (ABL)", "loss:early_loss", {"losses": "abl_isolate.losses"}),
    _detector(
        "restored",
        "distance of the image under M_bd from where the reference would put it (ours)",
        "restored:displacement",
        {
            "image_features": "score_poisoned.image_features",
            "reference_images": "score.image_features",
            "pairs": "data.pairs",
        },
        ("retain",),
    ),
    _detector(
        "k_distance", "distance of the k-th nearest image under M_bd", "density:k_distance", _IMAGES, ("detect",)
    ),
    _detector(
        "slof", "local outlier factor, simplified, of the image under M_bd (SLOF)", "density:slof", _IMAGES, ("detect",)
    ),
    _detector(
        "dao", "local outlier by dimensionality of the image under M_bd (DAO)", "density:dao", _IMAGES, ("detect",)
    ),
    _detector("forest", "isolation forest over the images under M_bd", "forest:forest", _IMAGES, ("detect",)),
    _detector(
        "poisoncam",
        "probability of the trigger classifier (PoisonCAM)",
        "similarity:probability",
        {"scores": "poisoncam_classify.scores"},
    ),
)
DETECTORS: dict[str, Stage] = {stage.name.removeprefix("detect_"): stage for stage in _ALL}
"""By name; each is one stage, whose artefact's entry `scores` is a frame of id and score."""
