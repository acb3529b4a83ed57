"""One run of the paper's shape on a GPU: ViT-B/32 at 224 px, training in bf16 and scoring in fp32, on generated pairs;
and FAISS's answers there beside the CPU's.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from ubt.core.errors import BadInput
from ubt.core.run import Compute
from ubt.core.settings import FitSettings
from ubt.pairs.neighbors import Embedding, exact

ARCHITECTURE = "ViT-B-32-quickgelu"
NEEDS = (
    "--gpu: expected a CUDA GPU that torch can use, found none. It measures ViT-B/32 at 224 px in training and scoring,"
    " and FAISS's index on the GPU; on this machine run python -m ubt bench, without --gpu"
)
TOLERANCE = 1e-4
"""Of similarities, between a GPU's sums in fp32 and a CPU's."""


def shaped(compute: Compute, model_cfg: dict, batch: int, steps: int, rounds: int, count: int) -> dict[str, Any]:
    """Training by InfoNCE and scoring of generated pairs, medians over `rounds`.

    Args:
        model_cfg: open_clip's, of any size. count: pairs that are scored.

    Returns:
        `train`, `score`: `pairs_per_second`, `peak_share` (the share of the machine's matrix-product peak in the
        precision used, by counted operations), `memory_mb` (the most that was allocated on the GPU; None on a CPU);
        `peak_tflops` by precision.
    """
    import torch

    from ubt.cli.bench_runs.models import operations, product_peak, timer
    from ubt.clip import models
    from ubt.clip.training import PairBatches, fit, info_nce
    from ubt.data import model_input

    random, seconds = np.random.default_rng(0), timer(compute.device)
    model = models.create(model_cfg, 0).to(compute.device)
    side, context = model_input.image_size(model), model_input.context_length(model)
    images = random.integers(0, 256, (max(count, 2 * batch), side, side, 3), np.uint8)
    tokens = model_input.tokenize(
        [f"a photo of number {i}, seen on the web on some day" for i in range(len(images))], context
    )
    batches, settings = PairBatches(images, tokens, batch, 0), FitSettings(batch=batch, lr=1e-6, warmup=0)
    works: dict[str, tuple[str, int, Callable[[], object]]] = {
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
    flops, found = operations(model, images[:batch], tokens[:batch]), {}
    peaks = {
        precision: product_peak(compute.device, precision, seconds, 8192 if compute.device == "cuda" else 512)
        for precision in {compute.precision, "fp32"}
    }
    for name, (precision, pairs, work) in works.items():
        work()
        model.zero_grad(set_to_none=True)
        if compute.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rate = median(pairs / seconds(work) for _ in range(rounds))
        memory = torch.cuda.max_memory_allocated() / 1e6 if compute.device == "cuda" else None
        share = rate * flops["encode" if name == "score" else name] / peaks[precision]
        found[name] = {"pairs_per_second": rate, "peak_share": share, "memory_mb": memory, "precision": precision}
    return found | {"peak_tflops": {precision: peak / 1e12 for precision, peak in peaks.items()}}


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
    compute: Compute, batch: int = 128, steps: int = 50, rounds: int = 3, count: int = 4096, pairs: int = 500_000
) -> dict[str, Any]:
    """All of it at the paper's shape.

    Raises:
        BadInput: there is no GPU.
    """
    if compute.device != "cuda":
        raise BadInput(NEEDS)
    import torch

    from ubt.clip import architecture

    found = shaped(compute, architecture.named(ARCHITECTURE), batch, steps, rounds, count)
    return {"device": torch.cuda.get_device_name(), **found, "neighbours": neighbours("cuda", pairs), "batch": batch}


def report(found: dict[str, Any]) -> list[str]:
    """What was measured, in lines."""
    lines = [
        f"{found['device']}: {', '.join(f'{v:.1f} TFLOP/s in {k}' for k, v in found['peak_tflops'].items())} of square"
        " matrix products"
    ]
    for name in ("train", "score"):
        r = found[name]
        memory = "" if r["memory_mb"] is None else f", {r['memory_mb'] / 1e3:.1f} GB at most"
        lines.append(
            f"{name} ({r['precision']}): {r['pairs_per_second']:.0f} pairs/s, {100 * r['peak_share']:.0f} % of the"
            f" peak{memory}"
        )
    n = found["neighbours"]
    lines.append(
        f"FAISS there and on the CPU: {100 * n['rows_alike']:.2f} % of the neighbours alike, similarities within"
        f" {n['largest_difference']:.1e} ({'agree' if n['agree'] else 'DISAGREE'}); {n['seconds']:.2f} s and"
        f" {n['cpu_seconds']:.2f} s"
    )
    return lines
