"""Named settings: the defaults, and the paper's."""

import math
from typing import Any

CC3M, POISONS = 500_000, 1_500
"""Clean pairs and poisons of the paper's D."""


def papers(pairs: int = CC3M + POISONS, rate: float = POISONS / (CC3M + POISONS)) -> dict[str, Any]:
    """The settings of section V-A for a D of so many pairs, a share `rate` of them poisons, with every baseline as its
    own paper has it.

    Steps are counted from the paper's epochs: five of D for overfitting (of which Table VIII's seconds tell: two and a
    half times M_bd's training), five of D_unlearn, ten of what ABL isolates. Our form of unlearning, which the paper
    does not have, takes the published form's rate and steps.
    """
    k, batch = max(2, math.isqrt(pairs // 100)), 64
    unlearning = round(5 * 2 * k * k / batch)
    return {
        "data.pairs": pairs,
        "test.per_class": 50,
        "attack.rate": rate,
        "split.fraction": 0.01,
        "poison.epochs": 3,
        "poison.batch": 128,
        "poison.lr": 1e-6,
        "overfit.steps": max(1, round(5 * pairs / batch)),
        "overfit.batch": batch,
        "overfit.lr": 1e-6,
        "retain.pool": 10_000,
        "unlearn.steps": unlearning,
        "unlearn.lr": 1e-5,
        "published.steps": unlearning,
        "published.batch": batch,
        "published.lr": 1e-5,
        "isolate.steps": max(1, pairs // 128),
        "isolate.batch": 128,
        "isolate.lr": 1e-6,
        "isolate.fraction": 0.01,
        "abl.steps": max(1, round(10 * 0.01 * pairs / batch)),
        "abl.batch": batch,
        "abl.lr": 1e-6,
        "clean.pairs": max(2, pairs // 5),
        "clean.per_class": 50,
        "cleanclip.epochs": 10,
        "cleanclip.batch": batch,
        "cleanclip.lr": 1e-5,
        "cleanclip.weight": 1.0,
        "cleanclip.warmup": min(1.0, 50 / max(1, 10 * (pairs // 5) // batch)),
        "supervised.epochs": 10,
        "supervised.batch": batch,
        "supervised.lr": 1e-4,
        "roclip.epochs": 24,
        "roclip.batch": 128,
        "roclip.lr": 1e-6,
        "roclip.bank": 0.02,
        "roclip.every": 2,
        "locate.clusters": 1000,
        "locate.side": 60 / 224,
        "locate.top": 20,
        "control.steps": unlearning,
        "control.batch": 128,
        "control.lr": 1e-6,
        "again.pairs": max(2, pairs),
        "again.steps": max(1, 2 * pairs // 128),
        "again.lr": 1e-6,
        "own.templates": "80",
    }


PRESETS: dict[str, dict[str, Any]] = {"demo": {}, "paper": papers()}
"""Named changes to the defaults. `demo`: the defaults, scaled to the embedded scenes, and the attack's profile
`embedded`. `paper`: CC3M's 500K pairs with 1,500 poisons, for ViT-B/32, and the attack's profile `paper`; see `papers`
for a D of another size.
"""
