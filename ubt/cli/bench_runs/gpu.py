"""A GPU beside the CPU, in one run of a few minutes: the default case on both; the paper's shape there (ViT-B/32 at 224
px, training in bf16 and scoring in fp32, on generated pairs); and FAISS's answers there.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.pipeline import Pipeline
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Compute, Run, threads
from ubt.core.settings import FitSettings
from ubt.defenses.token_unlearning.verdict import POISONED, answer
from ubt.pairs.neighbors import Embedding, exact

ARCHITECTURE = "ViT-B-32-quickgelu"
NEEDS = (
    "--gpu: expected a CUDA GPU that torch can use, found none. It measures ViT-B/32 at 224 px in training and scoring,"
    " and FAISS's index on the GPU; on this machine run python -m ubt bench, without --gpu"
)
TOLERANCE = 1e-4
"""Of similarities, between a GPU's sums in fp32 and a CPU's."""
BOUNDS = {"ca": 1.5, "asr": 3.0, "target_recall": 10.0}
"""By how many points a model's measures may differ between two devices, which round otherwise at every step: about the
spread of five seeds; of the target's recall one sees 60 images.
"""


Work = tuple[str, int, Callable[[], object]]
"""The precision in which work is done, how many pairs it is done on, and itself."""


def shaped(compute: Compute, model_cfg: dict, batch: int, steps: int, rounds: int, count: int) -> dict[str, Any]:
    """Training by InfoNCE, scoring, and the method's own steps on generated pairs, medians over `rounds`.

    Args:
        model_cfg: open_clip's, of any size. count: pairs that are scored.

    Returns:
        `train`, `score`, `overfit`, `attribute`, `unlearn`: `pairs_per_second` (of their images), `peak_share` (the
        share of the machine's matrix-product peak in the `precision` used, by counted operations), `memory_mb` (the
        most that was allocated on the GPU; None on a CPU); `peak_tflops` by precision.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ubt.cli.bench_runs.models import product_peak, timer
    from ubt.clip import models
    from ubt.data import model_input

    random, seconds = np.random.default_rng(0), timer(compute.device)
    model = models.create(model_cfg, 0).to(compute.device)
    side, context = model_input.image_size(model), model_input.context_length(model)
    images = random.integers(0, 256, (max(count, 2 * batch), side, side, 3), np.uint8)
    texts = [f"a photo of number {i}, seen on the web on some day" for i in range(len(images))]
    pairs, tokens = pd.DataFrame({"id": texts, "caption": texts}), model_input.tokenize(texts, context)
    size = 8192 if compute.device == "cuda" else 512
    peaks = {p: product_peak(compute.device, p, seconds, size) for p in {compute.precision, "fp32"}}
    works = _plain(model, images, tokens, batch, steps, count, compute)
    works |= _method(model, images, tokens, pairs, batch, steps, compute)
    found = {}
    for name, (precision, done, work) in works.items():
        with FlopCounterMode(display=False) as counted, _images_of(model) as seen:
            work()
        done = sum(seen) or done
        model.zero_grad(set_to_none=True)
        if compute.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rate = median(done / seconds(work) for _ in range(rounds))
        memory = torch.cuda.max_memory_allocated() / 1e6 if compute.device == "cuda" else None
        share = rate * counted.get_total_flops() / done / peaks[precision]
        found[name] = {"pairs_per_second": rate, "peak_share": share, "memory_mb": memory, "precision": precision}
    return found | {"peak_tflops": {precision: peak / 1e12 for precision, peak in peaks.items()}}


@contextlib.contextmanager
def _images_of(model) -> Iterator[list[int]]:
    """The images of each batch that the model encodes while inside; none where something reads its blocks alone."""
    seen: list[int] = []
    hook = model.visual.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    try:
        yield seen
    finally:
        hook.remove()


def _plain(
    model, images: np.ndarray, tokens: np.ndarray, batch: int, steps: int, count: int, compute: Compute
) -> dict[str, Work]:
    """Training and scoring, as any user of CLIP does both."""
    from ubt.clip import models
    from ubt.clip.training import PairBatches, fit, info_nce

    batches, settings = PairBatches(images, tokens, batch, 0), FitSettings(batch=batch, lr=1e-6, warmup=0)
    return {
        "train": (
            compute.precision,
            steps * batches.batch,
            lambda: fit(model, info_nce, batches, steps, settings, compute, vocabulary=tokens),
        ),
        "score": (
            "fp32",
            count,
            lambda: (models.embed_images(model, images[:count], 512), models.embed_tokens(model, tokens[:count])),
        ),
    }


def _method(
    model, images: np.ndarray, tokens: np.ndarray, pairs: pd.DataFrame, batch: int, steps: int, compute: Compute
) -> dict[str, Work]:
    """Overfitting (Eq. 3), attribution and unlearning by the stages' own code: the first eighth of the pairs is D_susp,
    and its first ones are D_topk, whatever the model says.
    """
    from ubt.clip import models
    from ubt.clip.attribution import attribute
    from ubt.defenses.token_unlearning import mask, overfit, retain, unlearn

    n, run = len(images), Run(compute=compute)
    few = min(batch, n // 8)
    split = pd.DataFrame({"id": pairs["id"], "suspicious": np.arange(n) < max(2, n // 8)})
    rows = np.arange(min(10, n // 8))
    topk = pd.DataFrame({"id": pairs["id"].iloc[rows], "row": rows, "similarity": 1.0, "rank": rows + 1, "group": 0})
    sides = models.embed_images(model, images), models.embed_tokens(model, tokens)
    looked_at = retain.RetainSettings(pool=n // 2, anchors=few)
    kept = retain.retain(model, images, tokens, topk, split, *sides, looked_at, run)
    masked = mask.mask(model, images, tokens, pairs, topk, kept["retain"], mask.MaskSettings(), run)
    removing = unlearn.UnlearnSettings(steps=steps, batch=few, keep_batch=few, anchor_batch=0, lr=1e-6)
    overfitting = overfit.OverfitSettings(steps=steps, batch=few, lr=1e-6)
    given = topk, masked["tokens"], masked["attributed"], masked["maps"], masked["how"]
    given = *given, kept["retain"], kept["features"], kept["restored"], {"answer": POISONED, "groups": [0]}
    return {
        "overfit": (
            compute.precision,
            2 * steps * few,
            lambda: overfit.overfit(model, images, tokens, split, overfitting, run),
        ),
        "attribute": ("fp32", few, lambda: attribute(model, images[:few], tokens[:few])),
        "unlearn": (
            compute.precision,
            2 * steps * few,
            lambda: unlearn.ours(model, images, tokens, *given, removing, run),
        ),
    }


def same_case(settings: CaseSettings, here: Compute, there: Compute) -> dict[str, Any]:
    """A case on two devices: whether its figures are alike within `BOUNDS`.

    Returns:
        `seconds`: of both; `apart`: the models' measures, in points, the verdict and the found poisons, each with both
        values and whether they `agree`.
    """
    figures = []
    for where in (here, there):
        with tempfile.TemporaryDirectory() as folder:
            figures.append(Pipeline(Store(Path(folder)), where).run(settings).metrics)
    one, other = figures
    apart = [
        {"what": f"{model} {measure}", "values": (one[model][measure], other[model][measure]), "bound": bound}
        for model in ("clean", "poisoned", "purified")
        for measure, bound in BOUNDS.items()
    ]
    apart.append({"what": "split recall", "values": (one["split"]["recall"], other["split"]["recall"]), "bound": 0.02})
    apart.append({"what": "verdict", "values": (answer(one["verdict"]), answer(other["verdict"])), "bound": 0})
    for row in apart:
        a, b = row["values"]
        numbers = isinstance(a, float) and isinstance(b, float)
        row["agree"] = a == b or (numbers and abs(a - b) <= row["bound"])
    return {"seconds": [sum(f["seconds"].values()) for f in figures], "apart": apart}


def neighbours(device: str, pairs: int, width: int = 512, queries: int = 1000, k: int = 10) -> dict[str, Any]:
    """The nearest pairs of some, searched exactly on a device and on the CPU, joint over images and captions.

    Returns:
        `rows_alike`: share of neighbours that are the same row; `largest_difference` of their similarities; `agree`:
        whether this is below `TOLERANCE`; `seconds`, `cpu_seconds`.
    """
    from ubt.cli.bench_runs.models import timer

    random = np.random.default_rng(0)
    parts = [random.standard_normal((pairs, width), np.float32) for _ in range(2)]
    for part in parts:
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    embedding, answers, took = Embedding(*parts), [], []
    asked = embedding.rows("joint", random.permutation(pairs)[:queries])
    for where in (device, "cpu"):
        took.append(timer(where)(lambda where=where: answers.append(exact(embedding.parts("joint"), asked, k, where))))
    (similarity, rows), (own, own_rows) = answers
    difference = float(np.abs(similarity - own).max())
    alike = float((rows == own_rows).mean())
    return {
        "rows_alike": alike,
        "largest_difference": difference,
        "agree": difference < TOLERANCE,
        "seconds": took[0],
        "cpu_seconds": took[1],
    }


def measure(
    compute: Compute,
    tell: Callable[[str], None],
    batch: int = 128,
    steps: int = 50,
    rounds: int = 3,
    count: int = 4096,
    pairs: int = 500_000,
) -> None:
    """All of it at the paper's shape; each part is told as soon as it is measured.

    Raises:
        BadInput: there is no GPU.
    """
    if compute.device != "cuda":
        raise BadInput(NEEDS)
    import torch

    from ubt.clip import architecture

    tell(torch.cuda.get_device_name())
    for part in (
        lambda: of_shape(shaped(compute, architecture.named(ARCHITECTURE), batch, steps, rounds, count)),
        lambda: of_neighbours(neighbours("cuda", pairs)),
        lambda: of_case(same_case(CaseSettings(), compute, Compute("cpu", compute.precision, threads()))),
    ):
        for line in part():
            tell(line)


def of_shape(found: dict[str, Any]) -> Iterator[str]:
    """What `shaped` measured, in lines."""
    peaks = ", ".join(f"{v:.1f} TFLOP/s in {k}" for k, v in found["peak_tflops"].items())
    yield f"{peaks} of square matrix products"
    for name in ("train", "score", "overfit", "attribute", "unlearn"):
        r = found[name]
        memory = "" if r["memory_mb"] is None else f", {r['memory_mb'] / 1e3:.1f} GB at most"
        yield (
            f"{name} ({r['precision']}): {r['pairs_per_second']:.0f} pairs/s, {100 * r['peak_share']:.0f} % of the"
            f" peak{memory}"
        )


def of_neighbours(found: dict[str, Any]) -> Iterator[str]:
    """What `neighbours` measured, in a line."""
    yield (
        f"FAISS there and on the CPU: {100 * found['rows_alike']:.2f} % of the neighbours alike, similarities within"
        f" {found['largest_difference']:.1e} ({'agree' if found['agree'] else 'DISAGREE'}); {found['seconds']:.2f} s"
        f" and {found['cpu_seconds']:.2f} s"
    )


def of_case(found: dict[str, Any]) -> Iterator[str]:
    """What `same_case` measured, in lines."""
    here, there = found["seconds"]
    yield f"the default case: {here:.0f} s there, {there:.0f} s on the CPU"
    for row in found["apart"]:
        a, b = row["values"]
        yield f"{row['what']}: {_said(a)} there, {_said(b)} on the CPU ({'agree' if row['agree'] else 'DISAGREE'})"


def _said(value: float | str | None) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
