"""How the time and memory of every stage that trains nothing grow with D: UBT's own, the map and the exports, on
generated pairs.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import getpid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.settings import CaseSettings
from ubt.cli.bench_runs.pairs import generate, generated_models, read
from ubt.cli.bench_runs.peak import Peak
from ubt.core.run import Compute, Run

Figures = dict[str, tuple[float, float]]
"""By stage: seconds, and the most memory of its own, in MB, that the process had meanwhile."""


def measure(folder: Path, pairs: int, device: str = "cpu") -> Figures:
    """Every stage on so many generated pairs, in a process of its own."""
    generate(folder, pairs)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(stages, folder, device).result()


def stages(folder: Path, device: str) -> Figures:
    """The stages' own code, one after another, each on what those before it gave."""
    from ubt.clip.score import score
    from ubt.defenses.token_unlearning import retain, select, split, verdict
    from ubt.defenses.token_unlearning.mask import mask
    from ubt.pairs import export, projection
    from ubt.pairs.neighbors import Embedding

    images, tokens = read(folder)
    settings = CaseSettings.preset("paper", pairs=len(images))
    ids = [f"pair-{i:07d}" for i in range(len(images))]
    pairs = pd.DataFrame({"id": ids, "caption": "a photo of number " + pd.Series(ids)})
    run, found = Run(compute=Compute(device, "fp32"), scratch=folder), Figures()
    reference, other = generated_models(device)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        with Peak(getpid()) as peak:
            began = time.perf_counter()
            made = work()
            took = time.perf_counter() - began
        found[name] = took, peak.mb
        return made

    before = timed("score", lambda: score(reference, images, tokens, pairs, run))
    cut = timed("split", lambda: split.split(before["similarity"], settings.split, run)["split"])
    within = timed("score_inside", lambda: select.inside(other, images, tokens, pairs, cut, settings.select, run))
    own = within["similarity"], within["image_features"], within["text_features"]
    topk = timed("select", lambda: select.select(own[0], cut, *own[1:], settings.select, settings.verdict, run)["topk"])
    sides = before["image_features"], before["text_features"]
    kept = timed("retain", lambda: retain.retain(other, images, tokens, topk, cut, *sides, settings.retain, run))
    timed(
        "verdict",
        lambda: verdict.verdict(
            *(topk, *own, kept["groups"], *sides, kept["retain"], kept["features"], pairs, cut), settings.verdict, run
        ),
    )
    flagged = timed("flag", lambda: retain.flag(topk, cut, *sides, sides[0], settings.retain, run)["flagged"])
    timed("mask", lambda: mask(other, images, tokens, pairs, topk, kept["retain"], settings.mask, run))
    timed("map", lambda: projection.project({"poison": Embedding(*sides)}, "image", projection.MapSettings(), run))
    table = pairs.assign(similarity=before["similarity"]["similarity"], growth=flagged["growth"])
    for kind in export.KINDS:
        timed(f"export, {kind}", lambda kind=kind: export.packed(table, kind, {}))
    for left in (*folder.glob("image-*.npy"), *folder.glob("text-*.npy")):
        left.unlink()
    return found


def exponents(sizes: list[int], figures: list[Figures]) -> dict[str, tuple[float, float]]:
    """Of each stage, n's exponent of its time and of its memory, by least squares over the logarithms.

    >>> exponents([10, 1000], [{"flag": (2.0, 50.0)}, {"flag": (200.0, 500.0)}])
    {'flag': (1.0, 0.5)}
    """
    n = np.log(sizes)

    def exponent(values: list[float]) -> float:
        return round(float(np.polyfit(n, np.log(np.maximum(values, 1e-4)), 1)[0]), 3)

    return {
        name: (exponent([f[name][0] for f in figures]), exponent([f[name][1] for f in figures])) for name in figures[0]
    }


def report(sizes: list[int], figures: list[Figures]) -> list[list[str]]:
    """A row a stage: its seconds and memory at each size, and the exponents of both where there are several sizes."""
    grow = exponents(sizes, figures) if len(sizes) > 1 else {}
    return [
        [
            name,
            *(f"{f[name][0]:.2f} s, {f[name][1]:.0f} MB" for f in figures),
            *(f"{e:.2f}" for e in grow.get(name, ())),
        ]
        for name in figures[0]
    ]
