"""UBT (Algorithm 1): split, overfit, select, verdict, mask, unlearn, in the published form and in ours."""

from typing import Any

from ubt.clip.cost import SCORED, trained
from ubt.clip.score import SCORES, score_stage
from ubt.core.stage import TRAINED, D, Stage, takes
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
    return 0.4 + slow * (settings.k + sum(a.poisons(settings.data.pairs) for a in settings.attacks))


_UNLEARNING = takes("poison.model", "select.topk", "verdict.verdict", **D)
_MASKING = takes("data.pairs", "select.topk", "retain.retain", **D)
_MASKED = ("attributed", "words", "maps", "masked", "tokens", "how")
_INSIDE = takes("score_inside.similarity", "score_inside.image_features", "score_inside.text_features")


def _mask(name: str) -> dict[str, str]:
    """What unlearning takes of one of the two masks."""
    return takes(f"{name}.attributed", f"{name}.maps", f"{name}.how", masked_tokens=f"{name}.tokens")


def _suspicious(settings: Any) -> int:
    return suspicious_count(settings.data.pairs, settings.split.fraction)


STAGES: tuple[Stage, ...] = (
    Stage("split", "D_susp: the pairs of lowest reference similarity",
          "ubt.defenses.token_unlearning.split:split", takes("score.similarity"), {"settings": "split"},
          gives=("split",)),
    Stage("overfit", "mean (S - 1)² on D_susp plus InfoNCE on D_normal (Eq. 3)",
          "ubt.defenses.token_unlearning.overfit:overfit", takes("poison.model", "split.split", **D),
          {"settings": "overfit"}, version=2, gives=TRAINED,
          cost=lambda s: trained(s.overfit.steps, 2 * min(s.overfit.batch, _suspicious(s)))),
    Stage("score_inside", "similarity of D_susp's pairs under the overfitted model",
          "ubt.defenses.token_unlearning.select:inside", takes("overfit.model", "data.pairs", "split.split", **D),
          {"settings": "select"}, version=2, gives=SCORES, cost=lambda s: SCORED * _suspicious(s)),
    Stage("select", "D_topk: the k pairs of D_susp most similar under the overfitted model (Eq. 4)",
          "ubt.defenses.token_unlearning.select:select", takes("split.split", **_INSIDE),
          {"settings": "select", "verdict": "verdict"}, version=3, gives=("ranked", "topk")),
    score_stage("score_overfit", "overfit.model", "the overfitted model"),
    Stage("retain", "what looks poisoned by its images, what is kept, and where the reference would put each",
          "ubt.defenses.token_unlearning.retain:retain",
          takes("poison.model", "select.topk", "split.split", reference_images="score.image_features",
                reference_texts="score.text_features", **D),
          {"settings": "retain"}, version=8, gives=("retain", "groups", "features", "restored"),
          cost=lambda s: 4e-4 * (1.5 * _suspicious(s) + s.retain.pool + s.retain.anchors)),
    Stage("verdict", "is the model poisoned at all? A clean one leaves byte for byte as it came (V-E)",
          "ubt.defenses.token_unlearning.verdict:verdict",
          takes("select.topk", "retain.groups", "retain.retain", "retain.features", "data.pairs", "split.split",
                reference_images="score.image_features", reference_texts="score.text_features", **_INSIDE),
          {"settings": "verdict"}, optional=takes("reference_accuracy.accuracy", "held_out.fold"), version=11,
          gives=("verdict",)),
    Stage("flag", "which pairs of all of D look poisoned by their images",
          "ubt.defenses.token_unlearning.retain:flag",
          takes("select.topk", "split.split", "score_poisoned.image_features", "score_poisoned.text_features",
                reference_images="score.image_features"),
          {"settings": "retain"}, version=5, gives=("flagged",)),
    Stage("mask", "the words of D_topk's captions and the parts of its images that carry the backdoor, as the"
          " overfitted model reads them (Eq. 5, ours)",
          "ubt.defenses.token_unlearning.mask:mask", takes("overfit.model", **_MASKING),
          {"settings": "mask"}, version=2, gives=_MASKED, cost=masking),
    Stage("mask_published", "the same as M_bd reads them (Eq. 5)",
          "ubt.defenses.token_unlearning.mask:mask", takes("poison.model", **_MASKING),
          {"settings": "mask"}, version=2, gives=_MASKED, id="mask", cost=masking),
    Stage("unlearn", "the purified model, ours (Eqs. 6, 7, flagged images led back to where the reference would put"
          " them without the trigger)",
          "ubt.defenses.token_unlearning.unlearn:ours",
          takes("retain.retain", "retain.features", "retain.restored", **_UNLEARNING, **_mask("mask")),
          {"settings": "unlearn"}, observed=True, version=9, gives=TRAINED,
          cost=lambda s: trained(s.unlearn.steps, s.unlearn.batch + s.unlearn.keep_batch + s.unlearn.anchor_batch)),
    Stage("unlearn_published", "the purified model, as published (Eqs. 6, 7)",
          "ubt.defenses.token_unlearning.unlearn:as_published", _UNLEARNING | _mask("mask_published"),
          {"settings": "published"}, observed=True, version=7, gives=TRAINED,
          cost=lambda s: trained(s.published.steps, 2 * s.k)),
    evaluate_stage("evaluate_purified", "unlearn.model", "the model purified by our form"),
    evaluate_stage("evaluate_published", "unlearn_published.model", "the model purified as published"),
    Stage("judge", "recall of the split, precision and AUROC of the selection, what the masks keep of word and trigger",
          "ubt.evaluation.judge:judge",
          takes("attack.truth", "attack.manifest", "data.images", "split.split", "select.ranked", "select.topk",
                "flag.flagged", "verdict.verdict", "mask.attributed", "mask.words", "mask.maps", "mask.how",
                published_words="mask_published.words", published_maps="mask_published.maps"),
          {"attacks": "attacks"}, "judge", version=6, gives=("detection", "masks")),
)  # fmt: skip


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
    "evaluate_purified",
    _NEEDS,
    settings=_SETTINGS,
    paper=_paper,
    look=("#1C9A78", "circle", "solid"),
)
PUBLISHED = Defense(
    "UBT, as published", STAGES, "evaluate_published", _NEEDS, settings=_SETTINGS, look=("#9069C2", "x", "dash")
)
