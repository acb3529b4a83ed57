"""Anti-Backdoor Learning (Li et al., NeurIPS 2021) as UBT's paper brings it to CLIP: isolate the pairs of lowest loss
early in the poisoned training, then ascend on them and descend on the rest. Also with UBT's text mask, as the paper
compares it.
"""

from typing import Any

import numpy as np
import pandas as pd

from ubt.clip.cost import trained
from ubt.clip.score import score_stage
from ubt.core.run import Run, derive_seed
from ubt.core.settings import FitSettings, setting
from ubt.core.stage import TRAINED, D, Stage, takes
from ubt.defenses.base import Defense, PaperScale
from ubt.evaluation.stages import trained_stages


class IsolateSettings(FitSettings):
    """The early model, trained as M_bd is, and what it isolates."""

    steps: int = setting(78, "optimiser steps after which the loss is looked at: one pass over D", low=1)
    lr: float = setting(5e-4, "peak learning rate", low=0)
    fraction: float = setting(0.01, "share of D of lowest loss that is isolated (paper: 0.01)", low=0, high=1)
    rounds: int = setting(3, "random batches over which a pair's loss is averaged", low=1)


class AblSettings(FitSettings):
    """Paper: batch 64, lr 1e-6, 10 epochs. The rate is the paper's: of eight trials (`ubt.reports.paper.tuning`)
    the best by CA - ASR among those that keep half of CA; none forgets."""

    steps: int = setting(80, "optimiser steps", low=1)
    batch: int = setting(64, "pairs of what is isolated, and as many others, in a step (paper: 64)", low=2)
    lr: float = setting(1e-6, "peak learning rate (paper: 1e-6)", low=0)


def early(model, images: np.ndarray, tokens: np.ndarray, settings: IsolateSettings, run: Run) -> dict:
    """The clean reference after the first steps on D. Returns the `model` and its `history`."""
    from ubt.clip import recipes

    return recipes.train_on_pairs(model, images, tokens, settings, run, "abl", steps=settings.steps)


def pair_losses(image: np.ndarray, text: np.ndarray, scale: float, batch: int, rounds: int, seed: int) -> np.ndarray:
    """Each pair's own InfoNCE loss (n,): the mean of image-to-text and text-to-image among the pairs of its batch,
    averaged over `rounds` shuffles of D. Features normalised, (n, d).
    """
    n, random = len(image), np.random.default_rng(seed)
    total = np.zeros(n)
    for _ in range(rounds):
        for rows in np.array_split(random.permutation(n), max(1, round(n / batch))):
            logits = scale * image[rows] @ text[rows].T
            own = np.diag(logits)
            total[rows] += (np.logaddexp.reduce(logits, axis=1) + np.logaddexp.reduce(logits, axis=0)) / 2 - own
    return total / rounds


def isolate(
    model,
    image_features: np.ndarray,
    text_features: np.ndarray,
    pairs: pd.DataFrame,
    settings: IsolateSettings,
    run: Run,
) -> dict:
    """The pairs that the early model, under which D has these features, fits best.

    Returns:
        `losses`: id, loss and whether it is `isolated`; `isolated`: id and row of those, lowest loss first;
        `flagged`: id and row of D, none `poisoned`: the text mask reads the isolated pairs alone.
    """
    seed, image, text = derive_seed(run.seed, "isolate"), np.asarray(image_features), np.asarray(text_features)
    loss = pair_losses(image, text, model.logit_scale.exp().item(), settings.batch, settings.rounds, seed)
    rows = np.argsort(loss, kind="stable")[: max(2, round(settings.fraction * len(loss)))]
    chosen = np.isin(np.arange(len(loss)), rows)
    return {
        "losses": pd.DataFrame({"id": pairs["id"], "loss": loss, "isolated": chosen}),
        "isolated": pd.DataFrame({"id": pairs["id"].to_numpy()[rows], "row": rows}),
        "flagged": pd.DataFrame({"id": pairs["id"], "row": np.arange(len(pairs)), "poisoned": False}),
    }


def abl(
    model,
    images: np.ndarray,
    tokens: np.ndarray,
    losses: pd.DataFrame,
    isolated: pd.DataFrame,
    settings: AblSettings,
    run: Run,
    masked_tokens: np.ndarray | None = None,
) -> dict:
    """Ascend InfoNCE on the isolated pairs, and with their captions masked if these are given (ABL + text mask),
    descend it on all others, a batch of each in every step, from M_bd.

    Returns:
        the purified `model` and its `history`: loss, and InfoNCE of the `isolated` and of the `others`.
    """
    from ubt.clip import recipes, training

    seed, rows = training.batch_seed(run.seed, "abl"), isolated["row"].to_numpy()
    own_images, own_tokens = np.asarray(images[rows]), np.asarray(tokens[rows])
    if masked_tokens is not None:
        own_images, own_tokens = np.concatenate([own_images, own_images]), np.concatenate([own_tokens, masked_tokens])
    ascent = training.PairBatches(own_images, own_tokens, settings.batch, seed)
    descent = training.PairBatches(images, tokens, settings.batch, seed + 1, np.flatnonzero(~losses["isolated"]))

    def batches(step: int):
        return ascent(step) | {f"other_{k}": v for k, v in descent(step).items()}

    def objective(model, batch):
        scale = model.logit_scale.exp()
        up = training.contrastive_loss(*training.clip_features(model, batch["images"], batch["tokens"]), scale)
        down = training.contrastive_loss(
            *training.clip_features(model, batch["other_images"], batch["other_tokens"]), scale
        )
        return down - up, {"isolated": up, "others": down}

    vocabulary = np.concatenate([np.unique(tokens), np.unique(own_tokens)])
    return recipes.train(model, objective, batches, settings.steps, settings, run, vocabulary, ("logit_scale",))


_ISOLATED = takes("poison.model", "abl_isolate.losses", "abl_isolate.isolated", **D)
_MASK = Stage(
    "abl_mask",
    "the words of the isolated pairs that M_bd reads the backdoor in",
    "ubt.defenses.token_unlearning.mask:mask",
    takes("poison.model", "data.pairs", topk="abl_isolate.isolated", retain="abl_isolate.flagged", **D),
    {"settings": "mask"},
    version=2,
    id="mask",
    gives=("attributed", "words", "maps", "masked", "tokens", "how"),
)
_ISOLATING: tuple[Stage, ...] = (
    Stage(
        "abl_early",
        "the reference after the first steps on D (ABL)",
        "ubt.defenses.abl:early",
        takes("reference.model", **D),
        {"settings": "isolate"},
        cost=lambda s: trained(s.isolate.steps, s.isolate.batch),
        version=2,
        gives=TRAINED,
    ),
    score_stage("score_abl", "abl_early.model", "ABL's early model"),
    Stage(
        "abl_isolate",
        "the pairs of lowest loss early in training (ABL)",
        "ubt.defenses.abl:isolate",
        takes("abl_early.model", "score_abl.image_features", "score_abl.text_features", "data.pairs"),
        {"settings": "isolate"},
        gives=("losses", "isolated", "flagged"),
    ),
)


def _ascending(name: str, whose: str, about: str, **more: str) -> tuple[Stage, ...]:
    def cost(settings: Any) -> float:
        return trained(settings.abl.steps, 2 * settings.abl.batch)

    inputs = _ISOLATED | more
    return trained_stages(name, whose, about, "ubt.defenses.abl:abl", inputs, {"settings": "abl"}, cost, id="abl")


def _left(model: str, score: str, whose: str) -> Stage:
    return Stage(
        f"left_{model}",
        f"how similar what ABL isolated and what it left are under {whose}",
        "ubt.evaluation.judge:left",
        takes(f"{score}.similarity", f"evaluate_{model}.measures", "abl_isolate.losses", "attack.truth"),
        role="judge",
        gives=("measures",),
        id="left",
    )


_WHOSE = "the model purified by ABL"
STAGES: tuple[Stage, ...] = (
    *_ISOLATING,
    *_ascending("abl", _WHOSE, "ascent on what was isolated, descent on the rest (ABL)"),
    score_stage("score_after_abl", "abl.model", _WHOSE),
    _left("poisoned", "score_poisoned", "M_bd"),
    _left("abl", "score_after_abl", _WHOSE),
)
_MASKED = "the same, on masked captions as well (ABL + text mask)"
MASKED_STAGES: tuple[Stage, ...] = (
    *_ISOLATING,
    _MASK,
    *_ascending("abl_masked", f"{_WHOSE} + text mask", _MASKED, masked_tokens="abl_mask.tokens"),
)


def _paper(scale: PaperScale) -> dict[str, Any]:
    isolating = {"steps": max(1, scale.pairs // 128), "batch": 128, "lr": 1e-6, "fraction": 0.01}
    ascending = {"steps": scale.epochs(10 * 0.01), "batch": scale.batch, "lr": 1e-6}
    groups = {"isolate": isolating, "abl": ascending}
    return {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}


_SETTINGS = {"isolate": IsolateSettings, "abl": AblSettings}
DEFENSE = Defense(
    "ABL",
    STAGES,
    "evaluate_abl",
    "a clean reference",
    settings=_SETTINGS,
    paper=_paper,
    toy={"isolate.steps": 2, "isolate.batch": 16, "isolate.rounds": 1, "abl.steps": 2, "abl.batch": 4},
    look=("#A5881C", "triangle-up", "dot"),
)
MASKED = Defense(
    "ABL + text mask",
    MASKED_STAGES,
    "evaluate_abl_masked",
    "a clean reference",
    settings=_SETTINGS,
    look=("#A0664B", "triangle-down", "dashdot"),
)
