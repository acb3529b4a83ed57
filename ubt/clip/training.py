"""The one fit loop that every fine-tune shares: an objective and a batch source go in; device, precision, schedule,
clipping, progress and checkpoints live here once.

A run that is killed and started again with the same checkpoint path ends with the weights of an undisturbed run:
batches depend on the step alone, and the checkpoint holds weights, optimiser state and history.
"""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ubt.clip import distributed, models
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import disk_full, replace_file
from ubt.core.log import log
from ubt.core.run import Compute, Observe, Progress, derive_seed, fixed_threads, silent
from ubt.core.settings import FitSettings

Batch = dict[str, torch.Tensor]
Objective = Callable[[torch.nn.Module, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]
"""A model and a batch to a scalar loss and figures to show; runs under autocast, features in fp32."""

MAX_LOGIT_SCALE = math.log(100)
LOOKS = 8
"""How often a long fit is observed, beside the looks before its first step and after its last; a short one every 5
steps.
"""


def contrastive_loss(
    image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: torch.Tensor
) -> torch.Tensor:
    """InfoNCE over a batch, the mean of image-to-text and text-to-image (Eq. 1).

    Args:
        image_features, text_features: normalised, (batch, embedding).
        logit_scale: 1 / temperature.
    """
    logits = logit_scale * image_features @ text_features.T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def clip_features(
    model: torch.nn.Module, images: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised fp32 features of uint8 images (batch, H, W, 3) and token ids (batch, context)."""
    return image_features(model, images), text_features(model, tokens)


def image_features(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Normalised fp32 features of uint8 images (batch, H, W, 3); of several ranks each encodes its share."""
    return distributed.spread(lambda own: models.encode_image(model, models.preprocess(model, own)).float(), images)


def text_features(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Normalised fp32 features of token ids (batch, context); of several ranks each encodes its share."""
    return distributed.spread(lambda own: models.encode_text(model, own).float(), tokens)


def info_nce(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The objective of Eqs. 1 and 2 on `batch["images"]` (batch, H, W, 3) and `batch["tokens"]` (batch, context)."""
    image, text = clip_features(model, batch["images"], batch["tokens"])
    loss = contrastive_loss(image, text, model.logit_scale.exp())
    return loss, {"similarity": (image * text).sum(-1).mean()}


class Shuffled:
    """Batches of rows, a function of the step alone: each epoch is its own permutation.

    Raises:
        UbtError: there are no rows.
    """

    def __init__(self, rows: np.ndarray, batch: int, seed: int):
        if len(rows) == 0:
            raise UbtError(
                "expected at least one pair to train on, got none; lower split.fraction if D_normal is empty"
            )
        self.rows, self.seed, self.batch = np.asarray(rows), seed, min(batch, len(rows))
        self.steps_per_epoch = len(self.rows) // self.batch
        self._epoch: tuple[int, np.ndarray] = (-1, self.rows)

    def at(self, step: int) -> np.ndarray:
        """The rows (batch,) of step `step`."""
        epoch, i = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch[0]:
            self._epoch = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        return self._epoch[1][i * self.batch : (i + 1) * self.batch]


class PairBatches(Shuffled):
    """Shuffled batches of image-caption pairs.

    Args:
        images: uint8 (n, H, W, 3), may be a memory map. tokens: int32 (n, context).
        rows: which pairs to draw from; all of them if None. shifts: the seed by which images are moved and flipped,
            anew in each step (`ubt.clip.augment.shifted`); None: as they are.
    """

    def __init__(
        self,
        images: np.ndarray,
        tokens: np.ndarray,
        batch: int,
        seed: int,
        rows: np.ndarray | None = None,
        shifts: int | None = None,
    ):
        super().__init__(np.arange(len(tokens)) if rows is None else rows, batch, seed)
        self.images, self.tokens, self.shifts = images, tokens, shifts

    def __call__(self, step: int) -> Batch:
        rows = self.at(step)
        images = distributed.read(self.images, rows)
        if self.shifts is not None:
            from ubt.clip.augment import shifted

            images = shifted(images, [self.shifts, step])
        return {"images": torch.from_numpy(images), "tokens": torch.from_numpy(self.tokens[rows]).long()}


def learning_rate(step: int, steps: int, s: FitSettings) -> float:
    """The learning rate of `step` (from 0) of `steps`."""
    warm = max(1, round(s.warmup * steps))
    if step < warm:
        return s.lr * (step + 1) / warm
    if s.schedule == "constant":
        return s.lr
    return s.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(
            f"UBT_CHECKPOINT_SECONDS: expected a number of seconds, got {text!r}; unset it or give one"
        ) from None


@dataclass
class Checkpoint:
    """Where a running fit keeps what it needs to resume, and every how many seconds it writes it
    (`UBT_CHECKPOINT_SECONDS`, 10 by default; more rarely where writing it takes long, so that it is a twentieth of the
    time at most).
    """

    path: Path
    seconds: float = field(default_factory=lambda: _seconds(os.environ.get("UBT_CHECKPOINT_SECONDS", "10")))

    @classmethod
    def under(cls, folder: Path | None) -> "Checkpoint | None":
        """The checkpoint of a stage that was given `folder` as scratch."""
        return None if folder is None else cls(folder / "checkpoint.safetensors")


def fit(
    model: torch.nn.Module,
    objective: Objective,
    batches: Callable[[int], Batch],
    steps: int,
    settings: FitSettings,
    compute: Compute,
    *,
    vocabulary: np.ndarray | None = None,
    frozen: tuple[str, ...] = (),
    progress: Progress = silent,
    checkpoint: Checkpoint | None = None,
    observe: Observe | None = None,
) -> list[dict]:
    """Train `model` in place and return one row of figures a step (`step`, `loss`, the objective's figures).

    Args:
        batches: step to batch, on the CPU; must depend on the step alone.
        vocabulary: token ids (m,) that occur; only their rows of the vocabulary table are trained. None trains the
        table.
        frozen: names of parameters left as they are (`logit_scale` where there are no negatives).
        observe: looks on `LOOKS` times; what it sees goes to `progress` alone.

    Raises:
        UbtError: the loss is no longer finite, or several ranks train a model with batch normalisation.
        Cancelled: `progress` asked to stop; the checkpoint is written first.
    """
    distributed.begin()
    _refuse_batch_norm_on_ranks(model)
    model.to(compute.device).train()
    with contextlib.ExitStack() as stack:
        stack.enter_context(fixed_threads(compute))
        stack.enter_context(models.fast_attention(model))
        stack.enter_context(models.first_token_alone(model))
        if vocabulary is not None:
            stack.enter_context(models.narrow_vocabulary(model, vocabulary))
        run = _Run(model, settings, frozen)
        run.resume(distributed.from_first(lambda: run.read(checkpoint)))
        checkpoint = checkpoint if distributed.is_first() else None
        autocast = torch.autocast(compute.device, dtype=torch.bfloat16, enabled=compute.precision == "bf16")
        saved, took, look_on = time.monotonic(), 0.0, max(5, steps // LOOKS)
        made = (
            stack.enter_context(_ahead(batches, len(run.history), steps))
            if _waits_for_data(batches, compute)
            else batches
        )
        try:
            if observe is not None and not run.history:
                run.observed(observe, 0)
            while len(run.history) < steps:
                step = len(run.history)
                batch = {k: v.to(compute.device, non_blocking=True) for k, v in made(step).items()}
                with autocast:
                    loss, figures = objective(model, batch)
                run.step(loss, learning_rate(step, steps, settings))
                run.record(step, loss, figures)
                seen = (
                    run.observed(observe, step + 1)
                    if observe is not None and ((step + 1) % look_on == 0 or step + 1 == steps)
                    else {}
                )
                progress(step + 1, steps, run.history[-1] | seen)
                if checkpoint is not None and (now := time.monotonic()) - saved > max(checkpoint.seconds, 20 * took):
                    run.save(checkpoint)
                    saved = time.monotonic()
                    took = saved - now
        except BaseException:
            if checkpoint is not None and run.whole:
                run.save(checkpoint)
            raise
    model.eval()
    return run.history


def _refuse_batch_norm_on_ranks(model: torch.nn.Module) -> None:
    norms = torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm
    if distributed.size() > 1 and any(isinstance(m, norms) for m in model.modules()):
        raise UbtError(
            "expected a model without batch normalisation, whose statistics are a whole batch's, to train on several"
            " ranks; run it without torchrun"
        )


def _waits_for_data(batches: Callable[[int], Batch], compute: Compute) -> bool:
    """Whether the next batch should be made while one trains: a GPU leaves the CPU idle, and images that are read from
    disk are waited for.
    """
    return compute.device == "cuda" or not isinstance(getattr(batches, "images", np.empty(0)), np.ndarray)


@contextlib.contextmanager
def _ahead(batches: Callable[[int], Batch], first: int, steps: int) -> Iterator[Callable[[int], Batch]]:
    """`batches` for steps from `first` on in their order, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1, "batches") as maker:
        waiting = [maker.submit(batches, first)] if first < steps else []

        def made(step: int) -> Batch:
            ready = waiting.pop()
            if step + 1 < steps:
                waiting.append(maker.submit(batches, step + 1))
            return ready.result()

        yield made


class _Run:
    """The state of one fit: weights, optimiser, history."""

    def __init__(self, model: torch.nn.Module, settings: FitSettings, frozen: tuple[str, ...]):
        self.model, self.settings = model, settings
        self.parameters = {n: p for n, p in model.named_parameters() if n not in frozen}
        kept = model.state_dict().keys()  # a ResNet's running means among them
        self.state = self.parameters | {n: b for n, b in model.named_buffers() if n in kept}
        decay = [p for p in self.parameters.values() if p.ndim >= 2]
        plain = [p for p in self.parameters.values() if p.ndim < 2]
        groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=1e-6, fused=True)
        self.history: list[dict] = []
        self.whole = True

    def step(self, loss: torch.Tensor, lr: float) -> None:
        if not torch.isfinite(loss):
            raise UbtError(
                f"expected a finite loss, got {loss.item()} at step {len(self.history)}; lower the learning rate"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average(p.grad for p in self.parameters.values())
        self.whole = False
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        self.optimizer.step()
        if "logit_scale" in self.parameters:
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def record(self, step: int, loss: torch.Tensor, figures: dict[str, torch.Tensor]) -> None:
        self.history.append({"step": step + 1, "loss": loss.item(), **{k: v.item() for k, v in figures.items()}})
        self.whole = True

    def observed(self, observe: Observe, step: int) -> dict[str, float]:
        self.model.eval()
        with distributed.alone():
            seen = observe(step, self.model)
        self.model.train()
        return seen

    def save(self, checkpoint: Checkpoint) -> None:
        tensors = {f"weight/{n}": t.detach() for n, t in self.state.items()}
        for n, p in self.parameters.items():
            tensors |= {f"{k}/{n}": v for k, v in self.optimizer.state[p].items()}
        tensors = {k: v.cpu().contiguous() for k, v in tensors.items()}
        meta = {"history": json.dumps(self.history), "sha256": _digest(tensors)}
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            replace_file(checkpoint.path, lambda path: save_file(tensors, path, meta))
        except (OSError, SafetensorError) as e:
            if not disk_full(e):
                raise
            log.warning(
                "%s: no room for a checkpoint; training goes on, but could not be resumed from here", checkpoint.path
            )

    def read(self, checkpoint: Checkpoint | None) -> tuple[dict[str, torch.Tensor], list[dict]] | None:
        """A checkpoint's tensors and history, if there is a whole one of this model."""
        if checkpoint is None or not checkpoint.path.exists():
            return None
        try:
            with safe_open(checkpoint.path, "pt") as f:
                tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (not a dict)
                meta = f.metadata()
            history = json.loads(meta["history"])
            if meta["sha256"] != _digest(tensors):
                raise ValueError("its bytes are not those that were written")
            if {k: v.shape for k, v in tensors.items() if k.startswith("weight/")} != {
                f"weight/{n}": t.shape for n, t in self.state.items()
            }:
                raise ValueError("its weights are not this model's")
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as e:
            log.warning(
                "%s: expected a checkpoint to resume from, got a damaged file (%s); this stage starts over",
                checkpoint.path,
                e,
            )
            checkpoint.path.unlink()
            return None
        return tensors, history

    @torch.no_grad()
    def resume(self, found: tuple[dict[str, torch.Tensor], list[dict]] | None) -> None:
        if found is None:
            return
        tensors, self.history = found
        for n, t in self.state.items():
            t.copy_(tensors[f"weight/{n}"])
        for n, p in self.parameters.items():
            state = {k: tensors[f"{k}/{n}"] for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}/{n}" in tensors}
            if state:
                self.optimizer.state[p] = {
                    k: v if k == "step" and p.device.type == "cpu" else v.to(p.device) for k, v in state.items()
                }


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes of CPU tensors."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def batch_seed(seed: int, stage: str) -> int:
    """The seed of a stage's batch order."""
    return derive_seed(seed, f"{stage}/batches") % 2**63
