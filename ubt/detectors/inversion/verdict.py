"""The verdict on a model alone: does it give way to less for one class than it should?

The evidence of each class is compared with the same inversion on a clean reference, and what is left with the spread
over all classes (median absolute deviation); without a reference the class's own evidence is compared with the other
classes'. Thresholds come from models of seeds from 100 on (`ubt/docs/measured.md`, *A model alone*).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ubt.core.settings import Settings, setting
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.detectors.inversion.base import Inverted

PER_MAD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
FEWEST_CLASSES = 8
"""With fewer classes their spread says nothing."""
ONE_CLASS = 0.5
"""Share of the images that a model takes for one class as they are, above which it cannot be scanned."""


class ScanVerdictSettings(Settings):
    """Where the verdict's lines are drawn, in standard deviations over the classes."""

    poisoned: float = setting(4.5, "score from which a model counts as poisoned, beside a reference", low=0)
    clear: float = setting(3.5, "score below which it counts as not poisoned, beside a reference", low=0)
    alone_poisoned: float = setting(3.5, "the first without a reference", low=0)
    alone_clear: float = setting(1.5, "the second without a reference", low=0)
    asr: float = setting(50.0, "percent of held images that the inverted trigger has to turn", low=0, high=100)


@dataclass(frozen=True)
class Judged:
    """A verdict: `answer`, its `reason`, the class that it is about (`target`, its index; the likeliest, whatever the
    answer), `score`, the `method` whose trigger turns most images, and `classes`, a row a class: class, `score`, and of
    each method `METHOD asr`, `METHOD size`, `METHOD z`, with a reference also `METHOD reference asr` and so on.
    """

    answer: str
    reason: str
    target: int
    score: float
    method: str
    classes: pd.DataFrame

    def of_target(self, column: str) -> float:
        """A figure of the target, by the method that shows it."""
        row = self.classes[self.classes["class"] == self.target].iloc[0]
        return float(row.get(f"{self.method} {column}", np.nan))


def deviations(values: np.ndarray) -> np.ndarray:
    """How many standard deviations, as the median absolute deviation has them, each value (n,) lies above the median.

    >>> deviations(np.array([0.0, 1.0, 2.0, 3.0, 14.0])).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 8.1]
    """
    middle = np.median(values)
    spread = PER_MAD * np.median(np.abs(values - middle))
    return (values - middle) / max(spread, 1e-6)


def compared(suspect: Mapping[str, Inverted], reference: Mapping[str, Inverted] | None) -> pd.DataFrame:
    """`Judged.classes`, of the inversions for every class, by method; `score`: the mean of the methods' deviations, or
    that of the faint patterns alone where it is higher, since a pattern over the whole image has no small mask.
    """
    table: dict[str, np.ndarray] = {}
    for name, found in suspect.items():
        own = found.measures.sort_values("class")
        table["class"] = own["class"].to_numpy()
        value = own["evidence"].to_numpy()
        table |= {f"{name} {column}": own[column].to_numpy() for column in ("asr", "size")}
        if reference is not None:
            clean = reference[name].measures.sort_values("class")
            value = value - clean["evidence"].to_numpy()
            table |= {f"{name} reference {column}": clean[column].to_numpy() for column in ("asr", "size")}
        table[f"{name} z"] = deviations(value)
    of_each = np.array([table[f"{name} z"] for name in suspect])
    scores = np.maximum(of_each.mean(0), table.get("faint z", -np.inf))
    return pd.DataFrame({"class": table.pop("class"), "score": scores} | table)


def judge(
    suspect: Mapping[str, Inverted],
    reference: Mapping[str, Inverted] | None,
    taken: Mapping[str, np.ndarray],
    names: Sequence[str],
    settings: ScanVerdictSettings,
) -> Judged:
    """The verdict on a model.

    Args:
        suspect, reference: inversions for every class, by method; no reference: None. taken: the classes (n,) that
            `suspect` and `reference` take the held images for as they are. names: of the classes.
    """
    classes = compared(suspect, reference)
    target = int(classes["class"].iloc[classes["score"].to_numpy().argmax()])
    row = classes[classes["class"] == target].iloc[0]
    method = max(suspect, key=lambda name: (row[f"{name} asr"], row[f"{name} z"]))
    found = Judged("", "", target, float(row["score"]), method, classes)
    answer, reason = _answered(found, taken, names, settings, reference is not None)
    return Judged(answer, reason, target, found.score, method, classes)


def _answered(
    found: Judged,
    taken: Mapping[str, np.ndarray],
    names: Sequence[str],
    settings: ScanVerdictSettings,
    compared_with: bool,
) -> tuple[str, str]:
    asr, name = found.of_target("asr"), names[found.target]
    high, low = (
        (settings.poisoned, settings.clear) if compared_with else (settings.alone_poisoned, settings.alone_clear)
    )
    if len(names) < FEWEST_CLASSES:
        return CANNOT_TELL, (
            f"expected at least {FEWEST_CLASSES} classes, whose spread the verdict rests on, got {len(names)}; name"
            " more classes that the model knows"
        )
    for side, called in (("suspect", "the model"), ("reference", "the reference")):
        counts = np.bincount(taken.get(side, np.arange(len(names))), minlength=len(names))
        if counts.max() > ONE_CLASS * counts.sum():
            return CANNOT_TELL, (
                f"{called} takes {100 * counts.max() / counts.sum():.0f} % of the images for"
                f" {names[int(counts.argmax())]!r} as they are; scan on images that it can tell apart"
            )
    beside = f"; the same search on the reference {found.of_target('reference asr'):.0f} %" if compared_with else ""
    shown = (
        f"{name!r} gives way more easily than the other classes by {found.score:.1f} standard deviations; its trigger"
        f" turns {asr:.0f} % of held images{beside}"
    )
    if found.score >= high and asr >= settings.asr:
        return POISONED, f"{shown} (from {high:g} on a model counts as poisoned)"
    if found.score < low:
        return NOT_POISONED, (
            f"no class gives way much more easily than the others: the first, {name!r}, by {found.score:.1f} standard"
            f" deviations (below {low:g} a model counts as not poisoned)"
        )
    more = "" if compared_with else "; a clean reference would tell more"
    weak = f", and {settings.asr:g} % are needed" if found.score >= high else f", between {low:g} and {high:g}"
    return CANNOT_TELL, f"{shown}{weak}{more}"


def plain(found: Judged, names: Sequence[str]) -> dict[str, Any]:
    """The verdict as plain values: what `scan.json` has of it; percent for ASR, sizes as shares of the image."""
    size = found.of_target("size")
    return {
        "verdict": found.answer,
        "reason": found.reason,
        "target": names[found.target] if found.answer != NOT_POISONED else None,
        "score": found.score,
        "asr": found.of_target("asr"),
        "reference_asr": found.of_target("reference asr"),
        "size": size,
        "method": found.method,
        "classes": [
            {
                "name": names[int(row["class"])],
                "score": float(row["score"]),
                "asr": float(row[f"{found.method} asr"]),
                "size": float(row[f"{found.method} size"]),
            }
            for _, row in found.classes.sort_values("score", ascending=False).iterrows()
        ],
    }
