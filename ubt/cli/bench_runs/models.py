"""How fast training and encoding are, as ratios in one run: beside a bare open_clip loop on the same model and batch,
and beside the machine's own matrix-product peak.
"""

import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from ubt.attacks import ATTACKS, trigger
from ubt.clip import models
from ubt.clip.attribution import attribute
from ubt.clip.training import PairBatches, fit, info_nce
from ubt.core.run import Compute
from ubt.core.settings import FitSettings
from ubt.data import model_input, scenes


def compare(compute: Compute, steps: int, batch: int, rounds: int, attributed: int = 1000) -> dict:
    """Medians over `rounds` of pairs per second, ours and a bare loop in turn.

    The bare loop is what open_clip's users write: the stock model, all context columns, the whole vocabulary table,
    AdamW, `ClipLoss`; in fp32 and under bf16 autocast, the faster of the two counting.

    Args:
        attributed: pairs that attribution is timed on; its memory is measured on them and on four times as many.

    Returns:
        `train`, `encode`: `ours` and `bare` in pairs/s, their `ratio`, `peak_tflops` measured by a square product in
        the precision used, and `peak_share`, the share of it that ours reaches by counted operations; `draw`: scenes/s;
        `triggers`: seconds that each trigger takes on 256 images, as a share of what encoding them takes (the best of
        the rounds);
        `attribution`: see `attribution_cost`; `memory`: see `attribution_memory`.
    """
    count = max(batch * 4, 256)
    started = time.perf_counter()
    pairs = scenes.load_pairs(0, "pairs", count, scenes.SIZE)
    draw = count / (time.perf_counter() - started)
    tokens = model_input.tokenize(pairs.captions, scenes.CONTEXT)

    seconds = timer(compute.device)
    fresh = {
        name: models.create(models.SCENES_CLIP, 0).to(compute.device) for name in ("ours", "bare fp32", "bare bf16")
    }
    batches = PairBatches(pairs.images, tokens, batch, 0)
    settings = FitSettings(batch=batch, lr=1e-5, warmup=0)
    train = {
        "ours": lambda: fit(fresh["ours"], info_nce, batches, steps, settings, compute, vocabulary=tokens),
        **{
            f"bare {p}": lambda p=p: _bare_training(fresh[f"bare {p}"], batches, steps, compute.device, p == "bf16")
            for p in ("fp32", "bf16")
        },
    }
    encode = {
        "ours": lambda: _our_encoding(fresh["ours"], pairs.images, tokens),
        "bare": lambda: _bare_encoding(fresh["bare fp32"], pairs.images, tokens),
    }
    for work in (*train.values(), *encode.values()):
        work()
    training = {name: [] for name in train}
    encoding = {name: [] for name in encode}
    for _ in range(rounds):
        for name, work in train.items():
            training[name].append(steps * batches.batch / seconds(work))
        for name, work in encode.items():
            encoding[name].append(count / seconds(work))

    some, seeds = pairs.images[:256], np.arange(256)
    alone = min(seconds(lambda: models.embed_images(fresh["ours"], some)) for _ in range(rounds + 1))
    stamps = {}
    for name, attack in ATTACKS.items():
        planted = attack.settings()
        stamps[name] = (
            min(seconds(lambda n=name, s=planted: trigger(some, seeds, n, s)) for _ in range(rounds + 1)) / alone
        )

    rates = {name: median(v) for name, v in training.items()}
    result = {"attribution": attribution_cost(fresh["bare fp32"], pairs.images, tokens, attributed, rounds, seconds)}
    result |= {
        "memory": attribution_memory(compute.device, attributed),
        "draw": draw,
        "triggers": stamps,
        "train": {"ours": rates["ours"], "bare": max(rates["bare fp32"], rates["bare bf16"])},
    }
    result["encode"] = {name: median(v) for name, v in encoding.items()}
    flops = operations(fresh["ours"], pairs.images[:batch], tokens[:batch])
    for name, precision in (("train", compute.precision), ("encode", "fp32")):
        r = result[name]
        r["ratio"], r["peak_tflops"] = r["ours"] / r["bare"], product_peak(compute.device, precision, seconds) / 1e12
        r["peak_share"] = r["ours"] * flops[name] / (r["peak_tflops"] * 1e12)
    return result


def timer(device: str) -> Callable[[Callable[[], object]], float]:
    """What takes the seconds of some work, waiting for a GPU before and after."""

    def seconds(work: Callable[[], object]) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    return seconds


def attribution_cost(
    model: torch.nn.Module,
    images: np.ndarray,
    tokens: np.ndarray,
    count: int,
    rounds: int,
    seconds: Callable[[Callable[[], object]], float],
) -> dict[str, float]:
    """Seconds that `count` pairs, of images (n, H, W, 3) and token ids (n, context), take, medians over `rounds`, in
    turn: a plain forward and backward of stock open_clip, and relevance from the last block and from the first.

    Returns:
        `plain`, `last`, `first`: seconds.
    """
    rows = np.arange(count) % len(images)
    images, tokens = images[rows], tokens[rows]
    device = next(model.parameters()).device

    def plain() -> None:
        for i in range(0, count, 64):
            image = model.encode_image(models.preprocess(model, images[i : i + 64]), normalize=True)
            text = model.encode_text(torch.from_numpy(tokens[i : i + 64]).long().to(device), normalize=True)
            (model.logit_scale.exp() * (image * text).sum()).backward()
            model.zero_grad(set_to_none=True)

    model.eval()
    works = {
        "plain": plain,
        **{
            n: lambda start=s: attribute(model, images, tokens, start_layer=start)
            for n, s in (("last", -1), ("first", 0))
        },
    }
    took = {name: [] for name in works}
    for n in range(rounds + 1):
        for name, work in works.items():
            took[name] += [seconds(work)] * (n > 0)
    return {name: median(v) for name, v in took.items()}


def attribution_memory(device: str, count: int) -> dict[str, float]:
    """MB that attributing `count` pairs, and four times as many, takes at most, on top of what a process has that has
    attributed 64: on a GPU by torch's own count, else by what the system gives a fresh process, looked at every few
    milliseconds.
    """
    return {f"{pairs:,}": fresh_peak_mb(device, pairs) for pairs in (count, 4 * count)}


def fresh_peak_mb(device: str, pairs: int, work: Callable = attribute) -> float:
    """MB that some work on so many pairs takes at most in a process that has nothing freed to give it again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_peak_mb, device, pairs, work).result()


def _peak_mb(device: str, pairs: int, work: Callable) -> float:
    model = models.create(models.SCENES_CLIP, 0).to(device)
    images = np.zeros((pairs, scenes.SIZE, scenes.SIZE, 3), np.uint8)
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape[1:], np.uint8)
    tokens = model_input.tokenize(["a photo of a banana."] * pairs, scenes.CONTEXT)
    work(model, images[:64], tokens[:64])
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work(model, images, tokens)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    seen, done = [_resident_mb()], threading.Event()

    def sample() -> None:
        while not done.wait(0.003):
            seen.append(_resident_mb())

    watcher = threading.Thread(target=sample)
    watcher.start()
    work(model, images, tokens)
    seen.append(_resident_mb())
    done.set()
    watcher.join()
    return max(seen) - seen[0]


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _bare_training(model: torch.nn.Module, batches: PairBatches, steps: int, device: str, bf16: bool) -> None:
    optimizer, loss = torch.optim.AdamW(model.parameters(), lr=1e-5), open_clip.ClipLoss()
    model.train()
    for step in range(steps):
        batch = {k: v.to(device) for k, v in batches(step).items()}
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            total = loss(*model(models.preprocess(model, batch["images"]), batch["tokens"]))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


@torch.inference_mode()
def _bare_encoding(model: torch.nn.Module, images: np.ndarray, tokens: np.ndarray, batch: int = 256) -> None:
    device = next(model.parameters()).device
    model.eval()
    for i in range(0, len(images), batch):
        model.encode_image(models.preprocess(model, images[i : i + batch]), normalize=True)
        model.encode_text(torch.from_numpy(tokens[i : i + batch]).long().to(device), normalize=True)


def _our_encoding(model: torch.nn.Module, images: np.ndarray, tokens: np.ndarray) -> None:
    model.eval()
    models.embed_images(model, images)
    models.embed_tokens(model, tokens)


def operations(model: torch.nn.Module, images: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Floating-point operations a pair, of a training step and of encoding, as counted by torch."""
    device = next(model.parameters()).device
    batch = {"images": torch.from_numpy(images).to(device), "tokens": torch.from_numpy(tokens).long().to(device)}
    with FlopCounterMode(display=False) as train, models.fast_attention(model), models.first_token_alone(model):
        info_nce(model, batch)[0].backward()
    with FlopCounterMode(display=False) as encode:
        _our_encoding(model, images, tokens)
    return {"encode": encode.get_total_flops() / len(images), "train": train.get_total_flops() / len(images)}


def product_peak(device: str, precision: str, seconds: Callable, n: int = 2048) -> float:
    """Operations per second of a square matrix product."""
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    (a @ a).sum()
    return max(2 * n**3 / seconds(lambda: a @ a) for _ in range(5))
