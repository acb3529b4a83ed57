"""500,000 generated pairs through score, split and select, beside a bare loop that does the same matrix products and
the same sorts.
"""

import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from ubt.cases.settings import CaseSettings
from ubt.cli.bench_runs.peak import Peak
from ubt.core.run import Compute, Run

MODEL = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
"""An open_clip model as small as can be with features as long as ViT-B/32's, so that what surrounds the encoders weighs
most.
"""
SOT, EOT = 49406, 49407


def generate(folder: Path, pairs: int, seed: int = 0) -> None:
    """Images (pairs, 16, 16, 3) and token ids (pairs, 16), every caption another, as `images.npy` and `tokens.npy`;
    nothing if they are there.
    """
    if (folder / "tokens.npy").exists() and len(np.load(folder / "tokens.npy", mmap_mode="r")) == pairs:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random, side = np.random.default_rng(seed), MODEL["vision_cfg"]["image_size"]
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(pairs, side, side, 3))
    tokens = np.zeros((pairs, MODEL["text_cfg"]["context_length"]), np.int32)
    for i in range(0, pairs, 65_536):
        images[i : i + 65_536] = random.integers(0, 256, images[i : i + 65_536].shape, np.uint8)
    length = random.integers(4, 13, pairs)
    tokens[:, 0], tokens[:, 1:13] = SOT, random.integers(1, SOT, (pairs, 12))
    tokens[np.arange(16) > length[:, None]] = 0
    tokens[np.arange(pairs), length] = EOT
    np.save(folder / "tokens.npy", tokens)


def generated_models(device: str) -> list:
    """A reference and another model, of `MODEL` and without training."""
    import scipy.cluster.hierarchy  # noqa: F401 (loading libraries is no part of what is timed)

    from ubt.clip import models

    return [models.create(MODEL, seed).to(device).eval() for seed in (0, 1)]


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (pairs, 16, 16, 3) and token ids (pairs, 16), as `generate` wrote them."""
    return np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "tokens.npy", mmap_mode="r")


def ours(folder: Path, device: str) -> tuple[dict[str, float], np.ndarray]:
    """The stages' own code: D scored by one model, split, D_susp scored by the other, selected. Returns seconds by
    stage, and the rows (m,) of D_susp from the most similar on.
    """
    from ubt.clip.score import score
    from ubt.defenses.token_unlearning.select import inside, select
    from ubt.defenses.token_unlearning.split import split

    images, tokens = read(folder)
    settings = CaseSettings.preset("paper", pairs=len(images))
    pairs = pd.DataFrame({"id": [f"pair-{i:07d}" for i in range(len(images))]})
    run, took = Run(compute=Compute(device, "fp32"), scratch=folder), {}
    reference, overfitted = generated_models(device)

    def timed(name: str, work):
        began = time.perf_counter()
        found = work()
        took[name] = time.perf_counter() - began
        return found

    scored = timed("score", lambda: score(reference, images, tokens, pairs, run))
    cut = timed("split", lambda: split(scored["similarity"], settings.split, run)["split"])
    within = timed("score_inside", lambda: inside(overfitted, images, tokens, pairs, cut, settings.select, run))
    groups = settings.select, settings.verdict
    chosen = timed(
        "select",
        lambda: select(within["similarity"], cut, within["image_features"], within["text_features"], *groups, run),
    )
    return took, chosen["ranked"]["row"].to_numpy()


def bare(folder: Path, device: str) -> tuple[dict[str, float], np.ndarray]:
    """A loop over batches that encodes with the same towers in batches as large, keeps the features, and sorts; no ids,
    no frames, no groups. Returns as `ours`, rows (m,).
    """
    import torch

    from ubt.clip import models

    images, tokens = read(folder)
    reference, overfitted = generated_models(device)
    count = round(0.01 * len(images))
    began = time.perf_counter()

    def encode(model, rows: np.ndarray | slice, n: int) -> np.ndarray:
        own = images[rows], tokens[rows]
        image, text = np.empty((2, n, 512), np.float32)
        order = np.argsort(own[1].argmax(1), kind="stable")
        with torch.inference_mode(), models.fast_attention(model):
            for i in range(0, n, 64):
                image[i : i + 64] = (
                    models.encode_image(model, models.preprocess(model, own[0][i : i + 64])).cpu().numpy()
                )
            for i in range(0, n, 512):
                text[order[i : i + 512]] = (
                    models.encode_text(model, torch.from_numpy(own[1][order[i : i + 512]]).long().to(device))
                    .cpu()
                    .numpy()
                )
        return np.einsum("ij,ij->i", image, text)

    suspicious = np.sort(np.argsort(encode(reference, slice(None), len(images)), kind="stable")[:count])
    ranked = suspicious[np.argsort(-encode(overfitted, suspicious, count), kind="stable")]
    return {"all": time.perf_counter() - began}, ranked


def _measured(work, folder: Path, device: str) -> tuple[dict[str, float], np.ndarray, float, float]:
    began = time.process_time()
    with Peak(os.getpid()) as peak:
        took, rows = work(folder, device)
    return took, rows, peak.mb, time.process_time() - began


def compare(folder: Path, pairs: int, rounds: int = 1, device: str = "cpu") -> dict:
    """Seconds and memory of both, each in a process of its own, side by side, so that whatever else the machine does
    slows both.

    Returns:
        `ours`, `bare`: seconds, medians over `rounds`; their `ratio`, and `cpu_ratio`, that of the processor's seconds,
        which a busy machine does not change; `stages`: ours by stage; `memory`, `bare_memory`: the most that a process
        had of its own, in MB, models and libraries included; `same`: whether both rank D_susp's k most similar pairs
        alike.
    """
    generate(folder, pairs)
    took: dict[str, list] = {"ours": [], "bare": []}
    for _ in range(rounds):
        with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
            begun = {
                name: fresh.submit(_measured, work, folder, device) for name, work in (("ours", ours), ("bare", bare))
            }
            for name, running in begun.items():
                took[name].append(running.result())
        for left in (*folder.glob("image-*.npy"), *folder.glob("text-*.npy")):
            left.unlink()
    totals = {name: median(sum(t.values()) for t, *_ in found) for name, found in took.items()}
    cpu, memory = (
        {name: of([found[i] for found in founds]) for name, founds in took.items()} for i, of in ((3, median), (2, max))
    )
    k = CaseSettings.preset("paper", pairs=pairs).k
    return totals | {
        "ratio": totals["ours"] / totals["bare"],
        "cpu_ratio": cpu["ours"] / cpu["bare"],
        "stages": {name: median(t[name] for t, *_ in took["ours"]) for name in took["ours"][0][0]},
        "memory": memory["ours"],
        "bare_memory": memory["bare"],
        "same": bool((took["ours"][0][1][:k] == took["bare"][0][1][:k]).all()),
    }
