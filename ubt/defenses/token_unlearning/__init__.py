"""UBT (Algorithm 1): split, overfit, select, verdict, mask, unlearn, in the published form and in ours."""

from typing import Any

from ubt.clip.cost import SCORED, trained
from ubt.clip.score import score_stage
from ubt.core.stage import D, Stage
from ubt.defenses.base import Defense, PaperScale
from ubt.defenses.token_unlearning.mask import MaskSettings
from ubt.defenses.token_unlearning.overfit import OverfitSettings
from ubt.defenses.token_unlearning.retain import RetainSettings
from ubt.defenses.token_unlearning.select import SelectSettings
from ubt.defenses.token_unlearning.split import SplitSettings, suspicious_count
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings
from ubt.defenses.token_unlearning.verdict import VerdictSettings
from ubt.evaluation.stages import evaluate_stage


def masking(settings: Any) -> float:
    """Seconds that attributing D_topk takes."""
    slow = {"relevance": 2e-3, "input gradient": 6e-3, "leave one out": 8e-2}[settings.mask.method]
    return 0.4 + slow * (settings.k + sum(a.attack.poisons(settings.data.pairs) for a in settings.attacks))


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
        {"settings": "split"},
        gives=("split",),
    ),
    Stage(
        "overfit",
        "mean (S - 1)² on D_susp plus InfoNCE on D_normal (Eq. 3)",
        "ubt.defenses.token_unlearning.overfit:overfit",
        {"model": "poison.model", **D, "split": "split.split"},
        {"settings": "overfit"},
        cost=lambda s: trained(
            s.overfit.steps, 2 * min(s.overfit.batch, suspicious_count(s.data.pairs, s.split.fraction))
        ),
        gives=("model", "history"),
    ),
    Stage(
        "score_inside",
        "similarity of D_susp's pairs under the overfitted model",
        "ubt.defenses.token_unlearning.select:inside",
        {"model": "overfit.model", **D, "pairs": "data.pairs", "split": "split.split"},
        {"settings": "select"},
        cost=lambda s: SCORED * suspicious_count(s.data.pairs, s.split.fraction),
        gives=("similarity", "image_features", "text_features"),
    ),
    Stage(
        "select",
        "D_topk: the k pairs of D_susp most similar under the overfitted model (Eq. 4)",
        "ubt.defenses.token_unlearning.select:select",
        {"split": "split.split", **_INSIDE},
        {"settings": "select", "verdict": "verdict"},
        version=3,
        gives=("ranked", "topk"),
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
        {"settings": "retain"},
        version=5,
        cost=lambda s: 4e-4 * (suspicious_count(s.data.pairs, s.split.fraction) + s.retain.pool + s.retain.anchors),
        gives=("retain", "groups", "features", "restored"),
    ),
    Stage(
        "verdict",
        "is the model poisoned at all? A clean one leaves byte for byte as it came (V-E)",
        "ubt.defenses.token_unlearning.verdict:verdict",
        {"topk": "select.topk", **_INSIDE, "groups": "retain.groups"},
        {"settings": "verdict"},
        version=5,
        gives=("verdict",),
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
        {"settings": "retain"},
        version=3,
        gives=("flagged",),
    ),
    Stage(
        "mask",
        "the words of D_topk's captions and the parts of its images that carry the backdoor, as the overfitted model"
        " reads them (Eq. 5, ours)",
        "ubt.defenses.token_unlearning.mask:mask",
        {"model": "overfit.model", **_MASKING},
        {"settings": "mask"},
        version=2,
        cost=lambda s: masking(s),
        gives=("attributed", "words", "maps", "masked", "tokens", "how"),
    ),
    Stage(
        "mask_published",
        "the same as M_bd reads them (Eq. 5)",
        "ubt.defenses.token_unlearning.mask:mask",
        {"model": "poison.model", **_MASKING},
        {"settings": "mask"},
        version=2,
        id="mask",
        cost=lambda s: masking(s),
        gives=("attributed", "words", "maps", "masked", "tokens", "how"),
    ),
    Stage(
        "unlearn",
        "the purified model, ours (Eqs. 6, 7, flagged images led back to where the reference would put them)",
        "ubt.defenses.token_unlearning.unlearn:restore",
        _unlearning("mask") | {"retain": "retain.retain", "features": "retain.features", "restored": "retain.restored"},
        {"settings": "unlearn"},
        observed=True,
        version=6,
        cost=lambda s: trained(s.unlearn.steps, s.unlearn.batch + s.unlearn.keep_batch + s.unlearn.anchor_batch),
        gives=("model", "history"),
    ),
    Stage(
        "unlearn_published",
        "the purified model, as published (Eqs. 6, 7)",
        "ubt.defenses.token_unlearning.unlearn:unlearn",
        _unlearning("mask_published"),
        {"settings": "published"},
        observed=True,
        version=6,
        cost=lambda s: trained(s.published.steps, 2 * s.k),
        gives=("model", "history"),
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
        {"attacks": "attacks"},
        "judge",
        version=6,
        gives=("detection", "masks"),
    ),
)


def _paper(scale: PaperScale) -> dict[str, Any]:
    """Of Table VIII's seconds overfitting is told as two and a half times M_bd's training, five epochs. Our form of
    unlearning, which the paper does not have, takes the published form's rate and steps.
    """
    return {
        "split.fraction": 0.01,
        "overfit.steps": scale.epochs(5),
        "overfit.batch": scale.batch,
        "overfit.lr": 1e-6,
        "retain.pool": 10_000,
        "unlearn.steps": scale.unlearning,
        "unlearn.lr": 1e-5,
        "published.steps": scale.unlearning,
        "published.batch": scale.batch,
        "published.lr": 1e-5,
    }


_SETTINGS = {
    "split": SplitSettings,
    "overfit": OverfitSettings,
    "select": SelectSettings,
    "verdict": VerdictSettings,
    "mask": MaskSettings,
    "retain": RetainSettings,
    "unlearn": UnlearnSettings,
    "published": PublishedSettings,
}
_NEEDS = "a clean reference"
OURS = Defense(
    "UBT, ours",
    STAGES,
    "unlearn",
    "evaluate_purified",
    _NEEDS,
    settings=_SETTINGS,
    paper=_paper,
    look=("#1C9A78", "circle", "solid"),
)
PUBLISHED = Defense(
    "UBT, as published",
    STAGES,
    "unlearn_published",
    "evaluate_published",
    _NEEDS,
    settings=_SETTINGS,
    look=("#9069C2", "x", "dash"),
)
